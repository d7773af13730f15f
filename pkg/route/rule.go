package route

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// ruling applies rules to one message.
type ruling struct {
	rules     []account.Rule
	m         Message
	fields    []field
	forwarded bool // Forward to gets the message, so that its visible recipients count as its recipients
	note      func(Step)

	applied   bool
	discarded string // the rule that dropped a recipient last
}

func newRuling(rules []account.Rule, m Message, forwarded bool, note func(Step)) *ruling {
	r := &ruling{rules: rules, m: m, forwarded: forwarded, note: note}
	if len(rules) > 0 {
		r.fields = parseFields(m.Header)
	}
	return r
}

// apply returns who gets the message: each recipient is judged by itself, so that a rule for one leaves the others
// alone.
func (r *ruling) apply(recipients []account.Target) []account.Target {
	if len(r.rules) == 0 {
		return recipients
	}
	var out []account.Target
	seen := map[string]bool{}
	for _, t := range recipients {
		for _, to := range r.one(t) {
			if name := strings.ToLower(to.String()); !seen[name] {
				seen[name] = true
				out = append(out, to)
			}
		}
	}
	return out
}

// one returns who gets the message in place of one recipient.
func (r *ruling) one(recipient account.Target) []account.Target {
	now, copies := []account.Target{recipient}, []account.Target(nil)
	for i, rule := range r.rules {
		if !r.fits(rule, recipient) {
			continue
		}
		r.applied = true
		name := ruleName(rule, i)
		if rule.Discard {
			r.discarded = name
			r.note(Step{Tier: "rule", Field: name, Value: recipient.String(), Verdict: "discarded"})
			return copies
		}
		if to := parseTargets(rule.To); len(to) > 0 {
			now = to
		}
		if rule.Subfolder != "" {
			now = beneath(now, rule.Subfolder)
		}
		copies = append(copies, parseTargets(rule.Copy)...)
		r.note(Step{Tier: "rule", Field: name, Value: recipient.String(), Verdict: "goes to " + names(slices.Concat(now, copies))})
		if !rule.Continue {
			break
		}
	}
	return slices.Concat(now, copies)
}

func ruleName(rule account.Rule, i int) string {
	if rule.Name != "" {
		return rule.Name
	}
	return fmt.Sprintf("number %d", i+1)
}

func names(targets []account.Target) string {
	out := make([]string, len(targets))
	for i, t := range targets {
		out[i] = t.String()
	}
	return strings.Join(out, ", ")
}

// parseTargets reads what was checked when the rule was saved.
func parseTargets(list []string) []account.Target {
	var out []account.Target
	for _, s := range list {
		if t, err := account.ParseTarget("to", s); err == nil {
			out = append(out, t)
		}
	}
	return out
}

// beneath returns the mailbox of that path beneath each target; a target whose path would become too long stays.
func beneath(targets []account.Target, path string) []account.Target {
	var out []account.Target
	for _, t := range targets {
		if sub, err := account.ParseTarget("subfolder", t.String()+"/"+path); err == nil {
			t = sub
		}
		out = append(out, t)
	}
	return out
}

// fits says whether all conditions of a rule hold.
func (r *ruling) fits(rule account.Rule, recipient account.Target) bool {
	return (rule.Sender == "" || r.any(rule.Sender, r.senders())) &&
		(rule.Recipient == "" || r.any(rule.Recipient, r.recipients(recipient))) &&
		(rule.Subject == "" || r.any(rule.Subject, r.subjects())) &&
		(rule.Header == "" || r.header(rule.Header)) &&
		(rule.LargerThan == 0 || r.m.Size > rule.LargerThan) &&
		(rule.SmallerThan == 0 || r.m.Size < rule.SmallerThan) &&
		(rule.Mailbox == "" || matches(rule.Mailbox, r.m.Mailbox))
}

func (r *ruling) any(pattern string, values []string) bool {
	return slices.ContainsFunc(values, func(s string) bool { return matches(pattern, s) })
}

func (r *ruling) senders() []string { return append(r.in("From"), ReturnPath(r.m.Header)) }

func (r *ruling) recipients(decided account.Target) []string {
	if r.forwarded {
		return append(r.in("To", "Cc"), decided.Address)
	}
	return []string{decided.Address}
}

// in returns the addresses in the fields of these names.
func (r *ruling) in(names ...string) []string {
	var out []string
	for _, f := range r.fields {
		if slices.ContainsFunc(names, f.is) {
			out = append(out, addresses(f.value)...)
		}
	}
	return out
}

func (r *ruling) subjects() []string {
	var out []string
	for _, f := range r.fields {
		if f.is("Subject") {
			out = append(out, decoded(f.value))
		}
	}
	return out
}

// header says whether a field fits "NAME: PATTERN" or "NAME".
func (r *ruling) header(want string) bool {
	name, pattern, given := strings.Cut(want, ":")
	name, pattern = strings.TrimSpace(name), strings.TrimSpace(pattern)
	return slices.ContainsFunc(r.fields, func(f field) bool {
		return f.is(name) && (!given || matches(pattern, decoded(f.value)))
	})
}

// decoded returns s with its encoded words decoded (RFC 2047), or as it is where that fails.
func decoded(s string) string {
	d, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		return s
	}
	return d
}
