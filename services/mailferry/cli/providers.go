package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// ProvidersCmd shows the mail providers that are known.
type ProvidersCmd struct {
	List ProvidersListCmd `cmd:"" default:"withargs" help:"List the providers."`
	Show ProvidersShowCmd `cmd:"" help:"Show what is known of one."`
}

// ProvidersListCmd lists them.
type ProvidersListCmd struct {
	Client `embed:""`
}

// Run prints a table.
func (c *ProvidersListCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.fleet.ListProviders(ctx, &mailferryv1.ListProvidersRequest{})
	if err != nil {
		return err
	}
	t := newTable(env, table.Row{"name", "imap", "pop3", "addresses"})
	for _, p := range res.GetProviders() {
		if c.JSON {
			if err := printJSON(env.Stdout, p); err != nil {
				return err
			}
			continue
		}
		t.AppendRow(table.Row{p.GetName(), p.GetImap().GetHost(), p.GetPop3().GetHost(), domainsOf(p, 3)})
	}
	if !c.JSON {
		t.Render()
	}
	return nil
}

// domainsOf names the first n domains.
func domainsOf(p *mailferryv1.Provider, n int) string {
	d := p.GetDomains()
	switch {
	case len(d) == 0:
		return "of its customers' own domains: --preset " + p.GetName()
	case len(d) > n:
		return fmt.Sprintf("%s, %d more", strings.Join(d[:n], ", "), len(d)-n)
	}
	return strings.Join(d, ", ")
}

// ProvidersShowCmd shows one.
type ProvidersShowCmd struct {
	Client `embed:""`

	Name string `arg:"" name:"name|address" help:"Its name, or an address there."`
}

// Run prints what is known.
func (c *ProvidersShowCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	req := &mailferryv1.ListProvidersRequest{Name: c.Name}
	if strings.Contains(c.Name, "@") {
		req = &mailferryv1.ListProvidersRequest{Address: c.Name}
	}
	res, err := to.fleet.ListProviders(ctx, req)
	if err != nil {
		return err
	}
	for _, p := range res.GetProviders() {
		if c.JSON {
			if err := printJSON(env.Stdout, p); err != nil {
				return err
			}
			continue
		}
		showProvider(env, p)
	}
	return nil
}

func showProvider(env *Env, p *mailferryv1.Provider) {
	oauth := p.GetOauth()
	if p.GetOauthOnly() {
		oauth += ", and no password"
	}
	lines := []string{"name", p.GetName(), "provider", p.GetTitle(), "addresses", domainsOf(p, len(p.GetDomains())), "user name", p.GetUsername(), "oauth", oauth}
	notes := p.GetNotes()
	for _, e := range []struct {
		name string
		*mailferryv1.Endpoint
	}{{"imap", p.GetImap()}, {"pop3", p.GetPop3()}} {
		if e.Endpoint == nil {
			continue
		}
		lines = append(lines, e.name, endpointOf(e.Endpoint))
		for _, n := range e.GetNotes() {
			notes = append(notes, e.name+": "+n)
		}
	}
	for _, n := range notes {
		lines = append(lines, "note", n)
	}
	properties(env, append(lines, "closed", p.GetClosed())...)
}

func endpointOf(e *mailferryv1.Endpoint) string {
	s := e.GetHost() + ", TLS " + word(e.GetTls(), "TLS_MODE_")
	if d := interval(e.GetMinInterval()); d != "" {
		s += ", no more often than every " + d
	}
	if d := interval(e.GetIdle()); d != "" {
		s += ", IDLE for " + d
	}
	return s
}
