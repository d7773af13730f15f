package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Recipients says who gets the messages of an account (Domain POP).
type Recipients struct {
	Mode       *string  `name:"recipients" enum:"forward-to,headers" placeholder:"forward-to|headers" group:"recipients" help:"Who gets the mail: forward-to, or headers, those whom the header of each message names (Domain POP); --forward-to gets what is left."`
	Header     *Nth     `name:"recipients-header" placeholder:"NAME[:N]" group:"recipients" help:"The field that the provider writes: the Nth from the top, or from the bottom where N is negative. Empty: none."`
	Headers    []string `name:"recipients-headers" sep:"," placeholder:"NAME" group:"recipients" help:"Fields of the envelope that are believed. none: none. Empty: X-Original-To, Delivered-To, X-Envelope-To, Envelope-To, X-RCPT-TO."`
	Received   *string  `name:"recipients-received" enum:"declared,off,first" placeholder:"declared|off|first" group:"recipients" help:"Which Received line tells the recipient: declared, the topmost of a host of --recipients-received-by; off, none; first, the topmost whose recipient is local, which a sender can forge."`
	ReceivedBy []string `name:"recipients-received-by" sep:"," placeholder:"HOST" group:"recipients" help:"The provider's hosts that take mail from outside, as they name themselves behind by; * stands for anything. What came with the message is not believed then."`
	Resent     *bool    `name:"recipients-resent" negatable:"" group:"recipients" help:"Resent-To, Resent-Cc and Resent-Bcc tell recipients."`
	ToCc       *bool    `name:"recipients-to-cc" negatable:"" group:"recipients" help:"To and Cc tell recipients. They do not name blind copies and members of lists, and do not say who else got a copy of his own."`
	Strip      []string `name:"recipients-strip" sep:"none" placeholder:"PREFIX" group:"recipients" help:"Take this off the front of addresses (qmail's virtual domains); may be repeated. Empty: nothing."`
	Rewrite    []string `name:"recipients-rewrite" sep:"none" placeholder:"FROM=TO" group:"recipients" help:"Another address for FROM, in which one * stands for anything that a * in TO repeats; may be repeated, the first that fits counts. Empty: none."`
	Match      []string `name:"recipients-match" sep:"none" placeholder:"PATTERN" group:"recipients" help:"Only such addresses are recipients, for instance *@example.com; may be repeated. Empty: all that are local."`
	Domains    []string `name:"recipients-domains" sep:"," placeholder:"DOMAIN" group:"recipients" help:"Domains that are local for this account, besides those of its domain. Empty: none."`
}

// Nth is a header field on a command line and which one of several.
type Nth struct {
	name  string
	index int
}

// UnmarshalText reads NAME, NAME:1 or NAME:-1.
func (n *Nth) UnmarshalText(text []byte) error {
	name, index, given := strings.Cut(string(text), ":")
	*n = Nth{name: name, index: 1}
	if name == "" {
		n.index = 0
	}
	if !given {
		return nil
	}
	var err error
	if n.index, err = strconv.Atoi(index); err != nil || n.index == 0 {
		return fmt.Errorf("%q is not like X-Envelope-To, X-Envelope-To:2 or X-Envelope-To:-1", text)
	}
	return nil
}

func (c *Recipients) named() bool {
	return c.Mode != nil || c.Header != nil || c.Headers != nil || c.Received != nil || c.ReceivedBy != nil || c.Resent != nil ||
		c.ToCc != nil || c.Strip != nil || c.Rewrite != nil || c.Match != nil || c.Domains != nil
}

// apply writes what was named into the account.
func (c *Recipients) apply(a *account.Account) error {
	r := &a.Recipients
	set(&r.Mode, c.Mode)
	set(&r.Received, c.Received)
	change(&r.Resent, c.Resent)
	change(&r.ToCc, c.ToCc)
	if c.Header != nil {
		r.Header, r.HeaderIndex = c.Header.name, c.Header.index
	}
	replace(&r.Headers, c.Headers)
	replace(&r.ReceivedBy, c.ReceivedBy)
	replace(&r.StripPrefixes, c.Strip)
	replace(&r.Match, c.Match)
	replace(&r.Domains, c.Domains)
	if c.Rewrite != nil {
		r.Rewrites = nil
	}
	for _, s := range c.Rewrite {
		from, to, ok := strings.Cut(s, "=")
		if s == "" {
			continue
		}
		if !ok {
			return usage("--recipients-rewrite %q is not like info@example.com=alice@example.com", s)
		}
		r.Rewrites = append(r.Rewrites, account.Rewrite{From: strings.TrimSpace(from), To: strings.TrimSpace(to)})
	}
	return nil
}

// replace writes a list that was named over another; an empty entry is none.
func replace(list *[]string, named []string) {
	if named == nil {
		return
	}
	*list = nil
	for _, s := range named {
		if s = strings.TrimSpace(s); s != "" {
			*list = append(*list, s)
		}
	}
}

// DomainMail says which addresses are those of a domain.
type DomainMail struct {
	LocalDomains []string `sep:"," placeholder:"DOMAIN" help:"Domains that are local besides it, for accounts that find recipients in headers. Empty: none."`
	AliasDomains []string `sep:"," placeholder:"DOMAIN" help:"Domains whose addresses stand for the same ones of this domain. Empty: none."`

	ReceivedBy    []string `sep:"," placeholder:"HOST" help:"Hosts of the remote provider that take mail from outside, for accounts that name none (--recipients-received-by). Empty: none."`
	ClientAddress *string  `enum:"off,xclient,header,auto" placeholder:"off|xclient|header|auto" help:"Whether and how its destination learns which host gave a message to the remote server, for accounts that do not say so themselves (--client-address)."`
}

func (m *DomainMail) named() bool {
	return m.LocalDomains != nil || m.AliasDomains != nil || m.ReceivedBy != nil || m.ClientAddress != nil
}

func (m *DomainMail) apply(d *mailferryv1.Domain) {
	replace(&d.LocalDomains, m.LocalDomains)
	replace(&d.AliasDomains, m.AliasDomains)
	replace(&d.ReceivedBy, m.ReceivedBy)
	if m.ClientAddress != nil {
		d.ClientAddress = account.ClientAddress(*m.ClientAddress).Proto()
	}
}

// recipientsOf says who gets the mail of an account, "" if Forward to gets all of it.
func recipientsOf(a *mailferryv1.Account) string {
	r := a.GetRecipients()
	if r.GetMode() != mailferryv1.RecipientMode_RECIPIENT_MODE_HEADERS {
		return ""
	}
	var by []string
	if r.GetHeader() != "" {
		by = append(by, fmt.Sprintf("%s:%d", r.GetHeader(), r.GetHeaderIndex()))
	}
	switch h := r.GetHeaders(); {
	case len(h) == 0:
		by = append(by, account.EnvelopeHeaders()...)
	case !slices.Equal(h, []string{account.NoHeaders}):
		by = append(by, h...)
	}
	switch {
	case r.GetReceived() == mailferryv1.ReceivedMode_RECEIVED_MODE_FIRST:
		by = append(by, "Received of anybody")
	case r.GetReceived() != mailferryv1.ReceivedMode_RECEIVED_MODE_OFF && len(r.GetReceivedBy()) > 0:
		by = append(by, "Received by "+strings.Join(r.GetReceivedBy(), " or "))
	}
	if r.GetResent() {
		by = append(by, "Resent-To, Resent-Cc, Resent-Bcc")
	}
	if r.GetToCc() {
		by = append(by, "To, Cc")
	}
	out := "by " + strings.Join(by, ", ")
	if len(r.GetStripPrefixes()) > 0 {
		out += "; without " + strings.Join(r.GetStripPrefixes(), ", ")
	}
	for _, w := range r.GetRewrites() {
		out += "; " + w.GetFrom() + " is " + w.GetTo()
	}
	if len(r.GetMatch()) > 0 {
		out += "; only " + strings.Join(r.GetMatch(), ", ")
	}
	if len(r.GetDomains()) > 0 {
		out += "; also of " + strings.Join(r.GetDomains(), ", ")
	}
	return out
}

// mailOf says which addresses a domain has besides its own, and how many rules.
func mailOf(d *mailferryv1.Domain) string {
	out := ""
	if l := d.GetLocalDomains(); len(l) > 0 {
		out += ", also local: " + strings.Join(l, " ")
	}
	if l := d.GetAliasDomains(); len(l) > 0 {
		out += ", aliases: " + strings.Join(l, " ")
	}
	if l := d.GetReceivedBy(); len(l) > 0 {
		out += ", takes mail at " + strings.Join(l, " ")
	}
	if by := account.ClientAddressFromProto(d.GetClientAddress()); by != "" {
		out += ", client address: " + string(by)
	}
	if n := len(d.GetRules()); n > 0 {
		out += ", " + count(int64(n), "rule")
	}
	return out
}
