package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// DomainCmd administers domains.
type DomainCmd struct {
	Add    DomainPutCmd    `cmd:"" help:"Add a domain with a destination of its own."`
	List   DomainListCmd   `cmd:"" help:"List domains."`
	Edit   DomainEditCmd   `cmd:"" help:"Change a domain's destination."`
	Remove DomainRemoveCmd `cmd:"" help:"Remove a domain."`
}

// DomainPutCmd adds a domain.
type DomainPutCmd struct {
	Client `embed:""`

	Name        string `arg:"" help:"The domain."`
	Destination string `placeholder:"DEST" help:"Where its mail is handed over; default: the global destination."`
}

// Help explains destinations.
func (*DomainPutCmd) Help() string {
	return `A destination is lmtp:HOST:PORT, lmtp:unix:/PATH or maildir:/PATH, where %d in the path stands for the domain,
%n for the local part and %u for the whole address of the recipient.

Example:
  mailferry domain add example.com --destination lmtp:unix:/run/dovecot/lmtp`
}

// Run adds the domain.
func (c *DomainPutCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{
		Domain: &mailferryv1.Domain{Name: c.Name, Destination: c.Destination}, Create: true,
	})
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
	Destination *string `required:"" placeholder:"DEST" help:"Where its mail is handed over; empty for the global destination."`
}

// Run changes the domain at the revision it was read at.
func (c *DomainEditCmd) Run(ctx context.Context, env *Env) error {
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
		d.Destination = *c.Destination
		res, err := to.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: d})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.Stdout, res.GetDomain())
		}
		_, _ = fmt.Fprintf(env.Stdout, "changed domain %s\n", d.GetName())
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
	t := newTable(env, table.Row{"domain", "destination"})
	for _, d := range res.GetDomains() {
		if c.JSON {
			if err := printJSON(env.Stdout, d); err != nil {
				return err
			}
			continue
		}
		dest := d.GetDestination()
		if dest == "" {
			dest = "(global)"
		}
		t.AppendRow(table.Row{d.GetName(), dest})
	}
	switch {
	case c.JSON:
	case len(res.GetDomains()) == 0:
		_, _ = fmt.Fprintln(env.Stdout, "no domain has a destination of its own; all mail goes to the global one (see 'mailferry settings show')")
	default:
		t.Render()
	}
	return nil
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
