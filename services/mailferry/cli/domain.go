package cli

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// DomainCmd administers domains.
type DomainCmd struct {
	Add    DomainPutCmd    `cmd:"" help:"Add a domain with a destination or rules of its own."`
	List   DomainListCmd   `cmd:"" help:"List domains."`
	Edit   DomainEditCmd   `cmd:"" help:"Change a domain."`
	Remove DomainRemoveCmd `cmd:"" help:"Remove a domain."`
}

// DomainPutCmd adds a domain.
type DomainPutCmd struct {
	Client `embed:""`

	Name        string `arg:"" help:"The domain."`
	Destination string `placeholder:"DEST" help:"Where its mail is handed over; default: the global destination."`

	DomainPolicy     `embed:""`
	DestinationLogin `embed:""`
	ProxyLogin       `embed:""`
	Notify           `embed:""`
	DomainMail       `embed:""`
}

// DomainPolicy is what a domain demands of the sessions of its accounts.
type DomainPolicy struct {
	RequireTLS          *bool   `name:"require-tls" negatable:"" help:"None of its accounts signs in at a remote server without TLS."`
	AllowInvalidTLS     *bool   `name:"allow-invalid-tls" negatable:"" help:"Its accounts may take invalid certificates (--tls-allow-invalid)."`
	EgressPorts         *string `placeholder:"PORTS" help:"Ports its accounts may point to, for instance 110,143,993,995, or with ! what they may not: !25,!8000-8999. Empty: whatever the installation lets pass."`
	EgressProxy         *string `placeholder:"URL" help:"SOCKS5 proxy that its sessions go through: socks5://HOST:PORT. Empty: none."`
	EgressProxyUsername *string `placeholder:"NAME" help:"User name at that proxy; its password comes from --egress-proxy-password-file or --egress-proxy-password-stdin. Empty: nobody signs in."`
	EgressSource        *string `placeholder:"ADDR" help:"Address of the workers' hosts that its sessions come from. Empty: the system's choice."`

	MailboxDestination         *string `placeholder:"DEST" help:"Where mail for mailbox paths (--forward-to alice@example.com/Imported) is handed over. Empty: the global one."`
	DestinationUsername        *string `placeholder:"NAME" help:"User name that its destination is signed in to with; its password comes from --destination-password-file or --destination-password-stdin. Empty: nobody signs in."`
	MailboxDestinationUsername *string `placeholder:"NAME" help:"The same for its mailbox destination."`

	Calendar    `embed:""`
	MinInterval *time.Duration `placeholder:"DURATION" help:"None of its accounts is run by its schedule more often; one that asks for that is raised to it. 0: as the settings say."`
	Weight      *int32         `placeholder:"N" help:"How many slots of the workers its runs have, next to the weights of other domains, when slots are short. 0: 1."`
	DomainCaps  `embed:""`
	Postmaster  *string `placeholder:"ADDRESS" help:"Who gets what every recipient refused for good, instead of 'mailferry dead list'. Empty: the global one."`
}

// DomainCaps bound what the accounts of a domain do over the whole fleet.
type DomainCaps struct {
	MaxRuns          *int32 `placeholder:"N" help:"Runs at a time of its accounts, over the whole fleet. 0: as the settings say; -1: not bounded."`
	MaxJobsPerMinute *int32 `placeholder:"N" help:"Runs of its accounts that begin in a minute; at most two above it in one. 0: as the settings say; -1: not bounded."`
	MaxAccounts      *int32 `placeholder:"N" help:"How many accounts it may have. 0: as the settings say; -1: not bounded."`
	MaxBytesPerDay   *Bound `placeholder:"SIZE" help:"Octets that are fetched for its accounts in a day (UTC), over the whole fleet, for instance 20GB. 0: as the settings say; -1: not bounded."`
}

// Bound is a size, or -1 for none.
type Bound int64

// UnmarshalText reads -1 or a size.
func (b *Bound) UnmarshalText(text []byte) error {
	if string(text) == "-1" {
		*b = -1
		return nil
	}
	n, err := account.ParseOctets(string(text))
	*b = Bound(n)
	return err
}

func (c *DomainCaps) apply(d *mailferryv1.Domain) {
	for _, f := range []struct{ to, from *int32 }{{&d.MaxRuns, c.MaxRuns}, {&d.MaxJobsPerMinute, c.MaxJobsPerMinute}, {&d.MaxAccounts, c.MaxAccounts}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	change(&d.MaxOctetsPerDay, (*int64)(c.MaxBytesPerDay))
}

// capsOf says what is capped of a domain, "" for as the settings say.
func capsOf(d *mailferryv1.Domain) string {
	var out []string
	for _, f := range []struct {
		what string
		n    int32
	}{{"weight", d.GetWeight()}, {"runs", d.GetMaxRuns()}, {"jobs a minute", d.GetMaxJobsPerMinute()}, {"accounts", d.GetMaxAccounts()}} {
		switch {
		case f.n > 0:
			out = append(out, fmt.Sprintf("%s %d", f.what, f.n))
		case f.n < 0:
			out = append(out, f.what+" not bounded")
		}
	}
	switch n := d.GetMaxOctetsPerDay(); {
	case n > 0:
		out = append(out, size(n)+" a day")
	case n < 0:
		out = append(out, "octets a day not bounded")
	}
	return strings.Join(out, ", ")
}

func (p *DomainPolicy) named() bool {
	rest := *p
	rest.Calendar = Calendar{}
	return p.Calendar.named() || !reflect.DeepEqual(rest, DomainPolicy{})
}

func (p *DomainPolicy) apply(d *mailferryv1.Domain) {
	if p.RequireTLS != nil {
		d.RequireTls = *p.RequireTLS
	}
	if p.AllowInvalidTLS != nil {
		d.AllowInvalidTls = *p.AllowInvalidTLS
	}
	change(&d.EgressPorts, p.EgressPorts)
	change(&d.EgressProxy, p.EgressProxy)
	change(&d.EgressSource, p.EgressSource)
	text := account.ScheduleFromProto(d.GetSchedule())
	p.Calendar.apply(&text)
	d.Schedule = account.ScheduleProto(text)
	if p.MinInterval != nil {
		d.MinInterval = durationpb.New(*p.MinInterval)
	}
	if p.Weight != nil {
		d.Weight = *p.Weight
	}
	p.DomainCaps.apply(d)
	change(&d.EgressProxyUsername, p.EgressProxyUsername)
	change(&d.MailboxDestination, p.MailboxDestination)
	change(&d.Postmaster, p.Postmaster)
	change(&d.DestinationUsername, p.DestinationUsername)
	change(&d.MailboxDestinationUsername, p.MailboxDestinationUsername)
}

// Help explains destinations.
func (*DomainPutCmd) Help() string {
	return `A destination is one of
  lmtp:HOST:PORT, lmtp:unix:/PATH  LMTP (RFC 2033); lmtp+tls:HOST:PORT with TLS or not at all
  smtp:HOST[:PORT]                 SMTP, port 25; TLS where the server offers it
  smtp+tls:HOST[:PORT]             SMTP, port 587; TLS by STARTTLS, with a valid certificate, or not at all
  smtps:HOST[:PORT]                SMTP, port 465; TLS from the first octet on
  maildir:/PATH                    a Maildir; %d stands for the domain, %n for the local part and %u for the whole
                                   address of the recipient
More servers follow behind commas: each takes over where those before it fail. See docs/destinations.md.

One for mailbox paths is one of
  imap:HOST[:PORT]                 IMAP, port 143; TLS where the server offers it
  imaps:HOST[:PORT]                IMAP, port 993; TLS from the first octet on
  maildir:/PATH                    folders of Maildir++

Examples:
  mailferry domain add example.com --destination lmtp:unix:/run/dovecot/lmtp
  mailferry domain add example.org --destination smtp+tls:relay.example.org --destination-username ferry \
      --destination-password-file relay-password`
}

// Run adds the domain.
func (c *DomainPutCmd) Run(ctx context.Context, env *Env) error {
	d := &mailferryv1.Domain{Name: c.Name, Destination: c.Destination}
	c.DomainPolicy.apply(d)
	c.DomainMail.apply(d)
	req := &mailferryv1.PutDomainRequest{Domain: d, Create: true}
	if err := c.DestinationLogin.read(env, &req.DestinationPassword, &req.MailboxDestinationPassword); err != nil {
		return err
	}
	if err := c.ProxyLogin.read(env, &req.EgressProxyPassword); err != nil {
		return err
	}
	if err := c.Notify.apply(req); err != nil {
		return err
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.fleet.PutDomain(ctx, req)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res.GetDomain())
	}
	_, _ = fmt.Fprintf(env.Stdout, "added domain %s\n", res.GetDomain().GetName())
	return nil
}

// DomainEditCmd changes a domain.
type DomainEditCmd struct {
	Client `embed:""`

	Name        string  `arg:"" help:"The domain."`
	Destination *string `placeholder:"DEST" help:"Where its mail is handed over; empty for the global destination."`

	DomainPolicy     `embed:""`
	DestinationLogin `embed:""`
	ProxyLogin       `embed:""`
	Notify           `embed:""`
	DomainMail       `embed:""`
}

// Run changes the domain at the revision it was read at.
func (c *DomainEditCmd) Run(ctx context.Context, env *Env) error {
	if c.Destination == nil && !c.DomainPolicy.named() && !c.DomainMail.named() && !c.DestinationLogin.given() && !c.ProxyLogin.given() && !c.Notify.named() {
		return usage("domain %s: nothing to change is named; see 'mailferry domain edit --help'", c.Name)
	}
	req := &mailferryv1.PutDomainRequest{}
	if err := c.DestinationLogin.read(env, &req.DestinationPassword, &req.MailboxDestinationPassword); err != nil {
		return err
	}
	if err := c.ProxyLogin.read(env, &req.EgressProxyPassword); err != nil {
		return err
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	all, err := to.fleet.ListDomains(ctx, &mailferryv1.ListDomainsRequest{})
	if err != nil {
		return err
	}
	for _, d := range all.GetDomains() {
		if d.GetName() != strings.ToLower(c.Name) {
			continue
		}
		if c.Destination != nil {
			d.Destination = *c.Destination
		}
		c.DomainPolicy.apply(d)
		c.DomainMail.apply(d)
		req.Domain = d
		if err := c.Notify.apply(req); err != nil {
			return err
		}
		res, err := to.fleet.PutDomain(ctx, req)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.Stdout, res.GetDomain())
		}
		_, _ = fmt.Fprintf(env.Stdout, "changed domain %s%s%s\n", d.GetName(), dropped(d.GetDestinationUsername(), res.GetDomain().GetDestinationUsername()),
			dropped(d.GetMailboxDestinationUsername(), res.GetDomain().GetMailboxDestinationUsername()))
		return nil
	}
	return &failure{"not-found", fmt.Sprintf("domain %s does not exist", c.Name), "see 'mailferry domain list', or add it with 'mailferry domain add'"}
}

// DomainListCmd lists domains.
type DomainListCmd struct {
	Client `embed:""`
}

// Run prints the domains.
func (c *DomainListCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.fleet.ListDomains(ctx, &mailferryv1.ListDomainsRequest{})
	if err != nil {
		return err
	}
	t := newTable(env, table.Row{"domain", "destination", "schedule", "tls", "egress", "caps"})
	for _, d := range res.GetDomains() {
		if c.JSON {
			if err := printJSON(env.Stdout, d); err != nil {
				return err
			}
			continue
		}
		dest := cmp.Or(d.GetDestination(), "(global)") + asUser(d.GetDestinationUsername())
		if m := d.GetMailboxDestination(); m != "" {
			dest += ", mailbox paths: " + m + asUser(d.GetMailboxDestinationUsername())
		}
		if pm := d.GetPostmaster(); pm != "" {
			dest += ", refused: " + pm
		}
		dest += mailOf(d)
		tls := ""
		if d.GetRequireTls() {
			tls = "required"
		}
		if d.GetAllowInvalidTls() {
			tls = strings.TrimPrefix(tls+", certificates may be invalid", ", ")
		}
		t.AppendRow(table.Row{d.GetName(), dest, cmp.Or(calendarOf(d.GetSchedule()), "(global)"), tls, egressOf(d), capsOf(d)})
	}
	switch {
	case c.JSON:
	case len(res.GetDomains()) == 0:
		_, _ = fmt.Fprintln(env.Stdout, "no domain has a destination or rules of its own; all mail goes to the global one (see 'mailferry settings show')")
	default:
		t.Render()
	}
	return nil
}

// asUser says who signs in, "" for nobody.
func asUser(name string) string {
	if name == "" {
		return ""
	}
	return " as " + name
}

// egressOf says how sessions of a domain leave the house, "" for as all do.
func egressOf(d *mailferryv1.Domain) string {
	var out []string
	for _, part := range [][2]string{{"ports ", d.GetEgressPorts()}, {"through ", d.GetEgressProxy()}, {"from ", d.GetEgressSource()}} {
		if part[1] != "" {
			out = append(out, part[0]+part[1])
		}
	}
	return strings.Join(out, ", ")
}

// DomainRemoveCmd removes a domain.
type DomainRemoveCmd struct {
	Client `embed:""`

	Name string `arg:"" help:"The domain."`
}

// Run removes the domain.
func (c *DomainRemoveCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	if _, err := to.fleet.DeleteDomain(ctx, &mailferryv1.DeleteDomainRequest{Name: c.Name}); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, &mailferryv1.DeleteDomainResponse{})
	}
	_, _ = fmt.Fprintf(env.Stdout, "removed domain %s\n", c.Name)
	return nil
}
