package route

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/account"
	"golang.org/x/net/idna"
)

// Tenant is what a domain says of its accounts' mail.
type Tenant struct {
	// Local are domains whose addresses are kept as they are, Aliases those whose addresses are the domain's own.
	Local, Aliases []string
	// Rules are applied behind those of the account.
	Rules []account.Rule
	// Postmaster gets what all others refused for good, "" for nobody.
	Postmaster string
	// ReceivedBy is Recipients.ReceivedBy, and ClientAddress that of accounts that have none of their own.
	ReceivedBy    []string
	ClientAddress account.ClientAddress
}

// house knows which addresses are local to an account.
type house struct {
	r       account.Recipients
	domains map[string]string // ASCII form of a domain: the domain whose addresses its own are
}

func newHouse(a account.Account, t Tenant) *house {
	h := &house{r: a.Recipients, domains: map[string]string{}}
	if len(h.r.ReceivedBy) == 0 {
		h.r.ReceivedBy = t.ReceivedBy
	}
	for _, d := range t.Aliases {
		h.domains[ascii(d)] = a.Domain
	}
	for _, list := range [][]string{t.Local, a.Recipients.Domains, {a.Domain}} {
		for _, d := range list {
			h.domains[ascii(d)] = d
		}
	}
	return h
}

// local returns the recipient that an addr-spec stands for, and what was done to it; "" and why it stands for none.
func (h *house) local(spec string) (address, how string) {
	name, domain, ok := splitSpec(spec)
	if !ok {
		return "", "not an address that mail can be handed over to"
	}
	var steps []string
	own, known := h.domains[ascii(domain)]
	if known {
		if ascii(own) != ascii(domain) {
			steps = append(steps, domain+" is an alias of "+own)
		}
		domain = own
	}
	for _, p := range h.r.StripPrefixes {
		if len(name) > len(p) && strings.EqualFold(name[:len(p)], p) {
			name = name[len(p):]
			steps = append(steps, "without prefix "+p)
			break
		}
	}
	address = name + "@" + domain
	for _, w := range h.r.Rewrites {
		to, fits := rewrite(w.From, w.To, address)
		if fits {
			address, known = to, true
			steps = append(steps, "rewritten by "+w.From+" -> "+w.To)
			break
		}
	}
	switch {
	case !known:
		return "", "not local"
	case account.ValidateAddress("", address) != nil:
		return "", "not an address that mail can be handed over to"
	case len(h.r.Match) > 0 && !matchesAny(h.r.Match, address):
		return "", "fits no pattern of those that count"
	}
	return address, strings.Join(append(steps, "local"), ", ")
}

// splitSpec splits an addr-spec into its local part, without quotes it does not need, and its domain.
func splitSpec(spec string) (name, domain string, ok bool) {
	spec = strings.TrimSuffix(spec, ".")
	if len(spec) > 2 && spec[0] == '\'' && spec[len(spec)-1] == '\'' {
		spec = spec[1 : len(spec)-1] // Outlook's habit
	}
	at := strings.LastIndexByte(spec, '@')
	if at < 1 {
		return "", "", false
	}
	name, domain = spec[:at], spec[at+1:]
	if name[0] == '"' {
		if len(name) < 3 || quoteEnd(name, 0) != len(name) {
			return "", "", false
		}
		name = unquote(name[1 : len(name)-1])
	}
	if word := strings.Index(name, "=?"); word >= 0 && strings.Contains(name[word+2:], "?=") {
		return "", "", false // an encoded word, which cannot stand here (RFC 2047 §5)
	}
	return name, domain, utf8.ValidString(spec) && account.ValidateAddress("", name+"@"+domain) == nil
}

// unquote takes the escapes out of a quoted string (RFC 5322 §3.2.4).
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ascii returns the form in which domains are compared: the one that DNS knows (RFC 5890 §2.3.2.1).
func ascii(domain string) string {
	if !strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) {
		return strings.ToLower(domain)
	}
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return a
	}
	return strings.ToLower(domain)
}
