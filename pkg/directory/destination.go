package directory

import (
	"context"
	"errors"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// DestinationFor returns where mail for a target is handed over by the accounts of a domain: at the destination of the
// domain of the target's address, of the accounts' domain, or at the global one, the first that is set. For a mailbox
// path it is the mailbox destination. That none is set is a temporary fault.
func (d *Directory) DestinationFor(ctx context.Context, domain string, t account.Target) (string, error) {
	of, what := func(destination, _ string) string { return destination }, "destination"
	if t.Mailbox != nil {
		of, what = func(_, mailbox string) string { return mailbox }, "mailbox destination"
	}
	for _, name := range []string{t.Domain(), domain} {
		dom, err := d.Domain(ctx, name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		if dest := of(dom.Destination, dom.MailboxDestination); dest != "" {
			return dest, nil
		}
	}
	s, err := d.Settings(ctx)
	if err != nil {
		return "", err
	}
	dest := of(s.Destination, s.MailboxDestination)
	if dest == "" {
		return "", fault.Errorf(fault.DestinationTemporary, "route", "no %s for %s: set one with 'mailferry settings set %s=…' or 'mailferry domain edit'",
			what, fault.Clean(t.String()), strings.ReplaceAll(what, " ", "_"))
	}
	return dest, nil
}

// DomainOrDefault returns a domain with the global postmaster where it has none of its own; one that was never added is
// not an error.
func (d *Directory) DomainOrDefault(ctx context.Context, name string) (Domain, error) {
	dom, err := d.Domain(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		dom.Name = name
	case err != nil || dom.Postmaster != "":
		return dom, err
	}
	s, err := d.Settings(ctx)
	dom.Postmaster = s.Postmaster
	return dom, err
}
