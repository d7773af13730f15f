package route

import (
	"slices"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// The tiers of trust, in the order in which they are asked. The first that names a local recipient decides.
const (
	TierForwardTo = "forward-to" // the recipients are not looked for
	TierHeader    = "header"     // the field that the provider writes
	TierEnvelope  = "envelope"   // X-Original-To, Delivered-To and their kind
	TierReceived  = "received"   // the "for" of a Received field
	TierResent    = "resent"     // Resent-To, Resent-Cc, Resent-Bcc
	TierToCc      = "to-cc"      // To, Cc
	TierNone      = "none"       // none named a local recipient: Forward to
)

// MaxRecipients bounds those that one message can have. What names more goes to Forward to.
const MaxRecipients = 200

// Found is who gets a message, as its header tells.
type Found struct {
	// Recipients are addresses, each once, in the order they are named; none where Forward to gets the message.
	Recipients []string
	// Tier decided, by the header field Field.
	Tier, Field string
}

// Step is one thing that was looked at on the way to a route.
type Step struct {
	// Tier or stage it belongs to.
	Tier string
	// Field of the header, and what was found in it: an address, or a host.
	Field, Value string
	// Verdict says what follows.
	Verdict string
}

// finder looks for recipients in a header.
type finder struct {
	*house
	fields []field
	note   func(Step)
}

// Find looks for the recipients of a message in its header (Domain POP). header is the beginning of the message; note,
// if it is not nil, is told each step.
//
// Fields are believed by who wrote them: servers put theirs in front of what they got. What lies beneath the topmost
// Received field of a declared host came with the message and can be forged; so can what lies beneath the lowest
// Received field, where none is declared.
func Find(a account.Account, t Tenant, header []byte, note func(Step)) Found {
	if note == nil {
		note = func(Step) {}
	}
	if a.Recipients.Mode != account.FromHeaders {
		return Found{Tier: TierForwardTo}
	}
	f := &finder{house: newHouse(a, t), fields: parseFields(header), note: note}
	for _, tier := range []struct {
		name string
		ask  func() ([]string, string)
	}{
		{TierHeader, f.configured}, {TierEnvelope, f.envelope}, {TierReceived, f.received}, {TierResent, f.resent}, {TierToCc, f.toCc},
	} {
		recipients, by := tier.ask()
		if len(recipients) > MaxRecipients {
			note(Step{Tier: tier.name, Field: by, Verdict: "names too many recipients: Forward to gets the message"})
			return Found{Tier: TierNone}
		}
		if len(recipients) > 0 {
			return Found{Recipients: recipients, Tier: tier.name, Field: by}
		}
	}
	return Found{Tier: TierNone}
}

// judge adds the local recipients among the addr-specs to those found already.
func (f *finder) judge(tier string, in field, specs, found []string) []string {
	if len(specs) == 0 {
		f.note(Step{Tier: tier, Field: in.name, Verdict: "holds no address"})
	}
	for _, spec := range specs {
		address, how := f.local(spec)
		f.note(Step{Tier: tier, Field: in.name, Value: spec, Verdict: how})
		if address != "" && len(found) <= MaxRecipients && !containsFold(found, address) {
			found = append(found, address)
		}
	}
	return found
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(s, t) })
}

// configured reads the field that the provider writes, counted from the top or from the bottom.
func (f *finder) configured() ([]string, string) {
	name, index := f.r.Header, f.r.HeaderIndex
	if name == "" {
		return nil, ""
	}
	all := f.named(name)
	i := index - 1
	if index < 0 {
		i = len(all) + index
	}
	if i < 0 || i >= len(all) {
		f.note(Step{Tier: TierHeader, Field: name, Verdict: "there are not so many of it"})
		return nil, ""
	}
	return f.judge(TierHeader, all[i], addresses(all[i].value), nil), all[i].name
}

func (f *finder) named(name string) []field {
	var out []field
	for _, x := range f.fields {
		if x.is(name) {
			out = append(out, x)
		}
	}
	return out
}

// envelope reads the fields in which servers note the recipient of the envelope: of the nearest hop that has one with
// a local recipient; within a hop, in the order of their names.
func (f *finder) envelope() ([]string, string) {
	names := f.r.Headers
	switch {
	case len(names) == 0:
		names = account.EnvelopeHeaders()
	case len(names) == 1 && strings.EqualFold(names[0], account.NoHeaders):
		return nil, ""
	}
	believed := f.believed()
	for hop := 0; hop <= hops(f.fields); hop++ {
		for _, name := range names {
			var found []string
			by := ""
			for _, x := range f.fields {
				if x.hop != hop || !x.is(name) {
					continue
				}
				if hop > believed {
					f.note(Step{Tier: TierEnvelope, Field: x.name, Value: x.value, Verdict: "not believed: the sender can have written it"})
					continue
				}
				by = x.name
				found = f.judge(TierEnvelope, x, addresses(x.value), found)
			}
			if len(found) > 0 {
				return found, by
			}
		}
	}
	return nil, ""
}

// believed returns the last hop whose fields the provider wrote.
func (f *finder) believed() int {
	if x, _, ok := f.declared(); ok || x.name != "" {
		return x.hop
	}
	return max(hops(f.fields)-1, 0)
}

// declared returns the topmost Received field that a declared host wrote, see [topmost].
func (f *finder) declared() (field, received, bool) { return topmost(f.fields, f.r.ReceivedBy) }

// received reads the "for" of the topmost line of a declared host, or of the first that is local.
func (f *finder) received() ([]string, string) {
	switch f.r.Received {
	case account.ReceivedOff:
		return nil, ""
	case account.ReceivedFirst:
		for _, x := range f.named("Received") {
			r := parseReceived(x.value)
			if found := f.judge(TierReceived, x, r.whom, nil); len(found) > 0 {
				return found, x.name
			}
		}
		return nil, ""
	default:
	}
	x, r, ok := f.declared()
	if !ok {
		verdict := "no line was written by a declared host"
		if len(f.r.ReceivedBy) == 0 {
			verdict = "not read: no host of the provider is declared"
		} else if x.name != "" {
			verdict = "the topmost line that names a declared host cannot be read: the client gave itself a name that hides who wrote it"
		}
		f.note(Step{Tier: TierReceived, Field: "Received", Verdict: verdict})
		return nil, ""
	}
	f.note(Step{Tier: TierReceived, Field: x.name, Value: r.by, Verdict: "the topmost line of a declared host"})
	return f.judge(TierReceived, x, r.whom, nil), x.name
}

// resent reads the newest resending (RFC 5322 §3.6.6).
func (f *finder) resent() ([]string, string) {
	if !f.r.Resent {
		return nil, ""
	}
	isResent := func(x field) bool { return x.is("Resent-To") || x.is("Resent-Cc") || x.is("Resent-Bcc") }
	i := slices.IndexFunc(f.fields, isResent)
	if i < 0 {
		return nil, ""
	}
	hop := f.fields[i].hop
	return f.first(TierResent, func(x field) bool { return x.hop == hop && isResent(x) })
}

// toCc reads To and Cc.
func (f *finder) toCc() ([]string, string) {
	if !f.r.ToCc {
		return nil, ""
	}
	return f.first(TierToCc, func(x field) bool { return x.is("To") || x.is("Cc") })
}

// first returns the local recipients of all fields that count, and the first field that named one.
func (f *finder) first(tier string, counts func(field) bool) (found []string, by string) {
	for _, x := range f.fields {
		if !counts(x) {
			continue
		}
		if found = f.judge(tier, x, addresses(x.value), found); len(found) > 0 && by == "" {
			by = x.name
		}
	}
	return found, by
}
