package delivery

import (
	"context"
	"errors"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
)

// site is a destination and what its owner says of it.
type site struct {
	destination string
	owner       string // the domain whose destination it is, "" for the settings
	login       directory.Login
}

// site returns the site of a leg of the mail of a domain: that of the first whose destination it is, in the order
// that destinations are looked up in. One that is nobody's any more is signed in to by nobody.
func (a *accounts) site(ctx context.Context, domain string, leg route.Leg) (site, error) {
	domains := make([]string, 0, len(leg.To)+1)
	for _, to := range leg.To {
		domains = append(domains, account.Target{Address: to}.Domain())
	}
	domains = append(domains, domain)
	path := "filters"
	if leg.Mailbox != nil {
		path = "mailbox"
	}
	key := strings.Join(append([]string{path, leg.Destination}, domains...), " ")
	return cached(a, a.sites, key, func(site) bool { return true }, func() (site, error) { return a.findSite(ctx, domains, leg) })
}

func (a *accounts) findSite(ctx context.Context, domains []string, leg route.Leg) (site, error) {
	for _, name := range domains {
		d, err := a.dir.Domain(ctx, name)
		switch {
		case err != nil && !errors.Is(err, directory.ErrNotFound):
			return site{}, err
		case leg.Mailbox == nil && d.Destination == leg.Destination:
			return site{leg.Destination, name, d.Login}, nil
		case leg.Mailbox != nil && d.MailboxDestination == leg.Destination:
			return site{leg.Destination, name, d.MailboxLogin}, nil
		}
	}
	s, err := a.dir.Settings(ctx)
	switch {
	case err != nil:
		return site{}, err
	case leg.Mailbox == nil && s.Destination == leg.Destination:
		return site{leg.Destination, "", s.Login}, nil
	case leg.Mailbox != nil && s.MailboxDestination == leg.Destination:
		return site{leg.Destination, "", s.MailboxLogin}, nil
	}
	return site{destination: leg.Destination}, nil
}

// password opens the password of the site's login. That it cannot be opened is mended by an administrator: the
// messages wait for it.
func (s site) password(v Vault) (string, error) {
	if s.login.Username == "" {
		return "", nil
	}
	password, err := v.Unseal([]byte(s.login.Sealed), directory.LoginContext(s.owner, s.destination))
	if err != nil {
		return "", fault.New(fault.DestinationTemporary, "password of the destination", err)
	}
	return password, nil
}
