package account

import (
	"slices"
	"strings"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/proto"
)

// RecipientMode says who gets the messages of an account.
type RecipientMode string

// The modes: all messages go to Forward to; the recipients are found in the header of each message, and Forward
// to gets what is left (Domain POP, multidrop).
const (
	ForwardTo   RecipientMode = "forward-to"
	FromHeaders RecipientMode = "headers"
)

// ReceivedMode says which Received lines are believed.
type ReceivedMode string

// The modes: the topmost line that a host of Recipients.ReceivedBy wrote; none; the topmost line whose recipient is
// local, whoever wrote it.
const (
	ReceivedDeclared ReceivedMode = "declared"
	ReceivedOff      ReceivedMode = "off"
	ReceivedFirst    ReceivedMode = "first"
)

// EnvelopeHeaders are the fields in which servers note the recipient of the envelope.
func EnvelopeHeaders() []string {
	return []string{"X-Original-To", "Delivered-To", "X-Envelope-To", "Envelope-To", "X-RCPT-TO"}
}

// NoHeaders as the only one of Recipients.Headers means that none is believed.
const NoHeaders = "none"

// Recipients says how the recipients of a message are found in its header. The tiers are asked in this order, and
// the first that names a local address decides: the configured field; the fields of the envelope; Received; on
// request Resent-To, Resent-Cc and Resent-Bcc; on request To and Cc. Display names are never looked at.
type Recipients struct {
	Mode RecipientMode // "": ForwardTo
	// Header is the field that the provider writes, HeaderIndex which one of several: 1 is the topmost, -1 the lowest.
	Header      string
	HeaderIndex int
	// Headers are the fields of the envelope that are believed; empty: [EnvelopeHeaders].
	Headers  []string
	Received ReceivedMode // "": ReceivedDeclared
	// ReceivedBy are the provider's hosts that take mail from outside, as they name themselves behind "by"; * stands
	// for any run of characters. What lies beneath their topmost line was written by the sender.
	ReceivedBy []string
	Resent     bool
	ToCc       bool
	// StripPrefixes are taken off local parts (as qmail's virtual domains put them there), the first that fits.
	StripPrefixes []string
	// Rewrites replace addresses, the first that fits, once.
	Rewrites []Rewrite
	// Match are patterns of the addresses that count, one of which has to fit; empty: all.
	Match []string
	// Domains are local to this account besides those of its domain.
	Domains []string
}

// Rewrite replaces the address From by To. One * in From stands for any run of characters, which one in To repeats.
type Rewrite struct{ From, To string }

// Bounds of a configuration.
const (
	maxRecipientEntries = 100
	maxPattern          = 320
)

func (r Recipients) withDefaults() Recipients {
	if r.Header != "" && r.HeaderIndex == 0 {
		r.HeaderIndex = 1
	}
	r.Domains = lowered(r.Domains)
	return r
}

func lowered(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.ToLower(strings.TrimSpace(n)); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func (r Recipients) validate() error {
	switch {
	case r.Mode != "" && recipientModes[r.Mode] == 0:
		return invalid("recipients", "want forward-to or headers")
	case r.Received != "" && receivedModes[r.Received] == 0:
		return invalid("recipients_received", "want declared, off or first")
	case r.HeaderIndex < -maxRecipientEntries || r.HeaderIndex > maxRecipientEntries:
		return invalid("recipients_header", "want a number from -%d to %d", maxRecipientEntries, maxRecipientEntries)
	case (r.Header == "") != (r.HeaderIndex == 0):
		return invalid("recipients_header", "want the name of a field and which one it is, like X-Envelope-To:1")
	case r.Header != "" && !isFieldName(r.Header):
		return invalid("recipients_header", "%q is not the name of a header field", r.Header)
	case unsafeHeader(r.Header):
		return invalid("recipients_header", "%s has a tier of its own: see recipients_received, recipients_resent and recipients_to_cc", r.Header)
	}
	for _, h := range r.Headers {
		if !isFieldName(h) || unsafeHeader(h) {
			return invalid("recipients_headers", "%q is not a field of the envelope", h)
		}
	}
	for field, list := range map[string][]string{
		"recipients_headers": r.Headers, "recipients_received_by": r.ReceivedBy, "recipients_strip": r.StripPrefixes,
		"recipients_match": r.Match, "recipients_domains": r.Domains,
	} {
		if err := validateList(field, list); err != nil {
			return err
		}
	}
	for _, d := range r.Domains {
		if ValidateDomain(d) != nil {
			return invalid("recipients_domains", "%q is not a domain", d)
		}
	}
	return validateRewrites(r.Rewrites)
}

func validateList(field string, list []string) error {
	if len(list) > maxRecipientEntries {
		return invalid(field, "want at most %d", maxRecipientEntries)
	}
	for _, s := range list {
		if err := validateText(field, s, maxPattern); err != nil {
			return err
		}
	}
	return nil
}

func validateRewrites(list []Rewrite) error {
	if len(list) > maxRecipientEntries {
		return invalid("recipients_rewrite", "want at most %d", maxRecipientEntries)
	}
	for _, w := range list {
		if err := validateText("recipients_rewrite", w.From, maxPattern); err != nil {
			return err
		}
		from, to := strings.Count(w.From, "*"), strings.Count(w.To, "*")
		if from > 1 || to > from || !strings.Contains(w.From, "@") {
			return invalid("recipients_rewrite", "%q: want an address with at most one *, and to with one only where from has it", w.From)
		}
		if err := ValidateAddress("recipients_rewrite", strings.Replace(w.To, "*", "x", 1)); err != nil {
			return err
		}
	}
	return nil
}

// unsafeHeader says whether a field is written by the sender, or has a tier that knows how to read it.
func unsafeHeader(name string) bool {
	switch strings.ToLower(name) {
	case "received", "to", "cc", "bcc", "from", "sender", "reply-to", "subject", "resent-to", "resent-cc", "resent-bcc":
		return true
	}
	return false
}

// isFieldName says whether s can name a header field (RFC 5322 §2.2).
func isFieldName(s string) bool {
	return s != "" && len(s) <= MaxNameLen && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' })
}

var (
	recipientModes = map[RecipientMode]mailferryv1.RecipientMode{
		ForwardTo: mailferryv1.RecipientMode_RECIPIENT_MODE_FORWARD_TO, FromHeaders: mailferryv1.RecipientMode_RECIPIENT_MODE_HEADERS,
	}
	receivedModes = map[ReceivedMode]mailferryv1.ReceivedMode{
		ReceivedDeclared: mailferryv1.ReceivedMode_RECEIVED_MODE_DECLARED,
		ReceivedOff:      mailferryv1.ReceivedMode_RECEIVED_MODE_OFF,
		ReceivedFirst:    mailferryv1.ReceivedMode_RECEIVED_MODE_FIRST,
	}
)

// proto returns the wire form, nil for the zero value.
func (r Recipients) proto() *mailferryv1.Recipients {
	p := &mailferryv1.Recipients{
		Mode: recipientModes[r.Mode], Header: r.Header, HeaderIndex: int32(r.HeaderIndex), Headers: r.Headers,
		Received: receivedModes[r.Received], ReceivedBy: r.ReceivedBy, Resent: r.Resent, ToCc: r.ToCc,
		StripPrefixes: r.StripPrefixes, Match: r.Match, Domains: r.Domains,
	}
	for _, w := range r.Rewrites {
		p.Rewrites = append(p.Rewrites, &mailferryv1.Rewrite{From: w.From, To: w.To})
	}
	if proto.Size(p) == 0 {
		return nil
	}
	return p
}

// Proto returns the wire form.
func (c ClientAddress) Proto() mailferryv1.ClientAddress { return clientAddresses[c] }

// ClientAddressFromProto returns the word of the wire form, "" where it is not set.
func ClientAddressFromProto(p mailferryv1.ClientAddress) ClientAddress {
	return wordOf(clientAddresses, p)
}

// ValidateReceivedBy says whether the list can be that of a domain.
func ValidateReceivedBy(list []string) error { return validateList("received_by", list) }

func recipientsFromProto(p *mailferryv1.Recipients) Recipients {
	r := Recipients{
		Mode: wordOf(recipientModes, p.GetMode()), Header: p.GetHeader(), HeaderIndex: int(p.GetHeaderIndex()), Headers: p.GetHeaders(),
		Received: wordOf(receivedModes, p.GetReceived()), ReceivedBy: p.GetReceivedBy(), Resent: p.GetResent(), ToCc: p.GetToCc(),
		StripPrefixes: p.GetStripPrefixes(), Match: p.GetMatch(), Domains: p.GetDomains(),
	}
	for _, w := range p.GetRewrites() {
		r.Rewrites = append(r.Rewrites, Rewrite{From: w.GetFrom(), To: w.GetTo()})
	}
	return r
}
