package worker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// target returns where a session of the account goes, and under which rules: those of the fleet, of the
// domain, which it returns as well, and of the account itself.
func (w *Worker) target(ctx context.Context, a account.Account) (remote.Target, directory.Domain, error) {
	t := remote.Target{TLS: a.TLS, Username: a.Username, APOP: a.APOP, Auth: a.Auth, LenientDot: a.LenientDot,
		Mailboxes: remote.Mailboxes{Names: a.Mailboxes, Exclude: a.ExcludeMailboxes, MoveTo: a.MoveTo, Tree: a.ForwardsToMailbox()}}
	var domain directory.Domain
	var err error
	if t.Host, t.Port, err = a.HostPort(); err != nil {
		return t, domain, fault.New(fault.Policy, "account", err)
	}
	if a.Auth == account.OAuth2 {
		t.Token, err = w.OAuth.Token(ctx, a.UID)
	} else {
		t.Password, err = w.Vault.Unseal(a.SealedPassword, a.SealContext())
	}
	if err != nil {
		return t, domain, err
	}
	domain, err = w.policies.domain(ctx, a.Domain)
	if err != nil {
		return t, domain, err
	}
	if a.ForwardsToMailbox() && domain.MailboxDestination == "" && w.settings.Load().MailboxDestination == "" {
		return t, domain, fault.Errorf(fault.Policy, "forward to", "%s is a mailbox path, and there is no mailbox destination: 'mailferry settings set mailbox_destination=…' "+
			"or 'mailferry domain edit %s --mailbox-destination …'", fault.Clean(a.ForwardTo), a.Domain)
	}
	egress, err := w.egress(domain)
	if err != nil {
		return t, domain, err
	}
	t.DialContext = egress.DialContext
	t.Trust.Pins = a.TLSPins
	t.Trust.Any = a.TLSAllowInvalid && domain.AllowInvalidTLS
	if a.TLSCA != "" {
		t.Trust.CA = x509.NewCertPool()
		t.Trust.CA.AppendCertsFromPEM([]byte(a.TLSCA))
	}
	t.Plaintext = func(ctx context.Context) error { return w.plaintext(ctx, a, domain) }
	return t, domain, nil
}

// egress is how sessions of a domain leave the house.
func (w *Worker) egress(d directory.Domain) (remote.Guard, error) {
	g := w.cfg.Egress
	g.Ports = []account.Ports{w.settings.Load().EgressPorts, d.EgressPorts}
	var err error
	if d.EgressProxy != "" {
		g.Proxy, err = account.ProxyAddress(d.EgressProxy)
	}
	if err == nil && d.ProxyLogin.Username != "" {
		g.ProxyUsername = d.ProxyLogin.Username
		g.ProxyPassword, err = w.Vault.Unseal([]byte(d.ProxyLogin.Sealed), directory.LoginContext(d.Name, d.EgressProxy))
	}
	if err == nil && d.EgressSource != "" {
		g.Source, err = account.SourceAddress(d.EgressSource)
	}
	return g, fault.New(fault.Policy, "domain "+d.Name, err)
}

// plaintext says why the account must not sign in without TLS, or nil.
func (w *Worker) plaintext(ctx context.Context, a account.Account, domain directory.Domain) error {
	const op = "sign in"
	offers := a.Host + " offers no TLS here"
	if a.TLS == account.Disable {
		offers = "the TLS mode is disable"
	}
	switch {
	case w.settings.Load().RequireTLS:
		return fault.Errorf(fault.Policy, op, "%s, and nobody signs in without it (setting require_tls)", offers)
	case domain.RequireTLS:
		return fault.Errorf(fault.Policy, op, "%s, and nobody of %s signs in without it (its require-tls)", offers, domain.Name)
	case a.KnowsCertificate():
		return fault.Errorf(fault.TLS, op, "%s, and the account has a rule for its certificate", offers)
	case a.TLS == account.Disable:
		return nil
	}
	target, err := a.Target()
	if err != nil {
		return fault.New(fault.Policy, op, err)
	}
	c, err := w.Directory.Collection(ctx, a.UID)
	if err != nil {
		return err
	}
	if c.TLSTarget == target {
		return fault.Errorf(fault.TLS, op, "%s, and it did before (%s since %s): somebody on the way may hide it; the password was not sent. "+
			"If the server has given up TLS for good: mailferry account edit %s --forget-tls", offers, c.TLSVersion, c.TLSSince.Format(time.DateOnly), a.Ref())
	}
	return nil
}

// sawTLS records that the account was seen with TLS at its server.
func (w *Worker) sawTLS(ctx context.Context, a account.Account, version string) error {
	if version == "none" || w.policies.known(w.policies.tls, a) {
		return nil
	}
	target, err := a.Target()
	if err != nil {
		return fault.New(fault.Policy, "account", err)
	}
	err = w.Directory.UpdateCollection(ctx, a.UID, func(c *directory.Collection) {
		if c.TLSTarget != target {
			c.TLSTarget, c.TLSSince = target, time.Now()
		}
		c.TLSVersion = version
	})
	if err == nil {
		w.policies.keep(w.policies.tls, a)
	}
	return err
}

// signIn opens a session, unless the domain has failed to sign in at this mailbox too often of late: what is
// said of passwords must not help to find one. Credentials that were good before are not asked about.
func (w *Worker) signIn(ctx context.Context, a account.Account, d remote.Dialer, t remote.Target) (remote.Session, error) {
	if !w.policies.known(w.policies.good, a) {
		until, err := w.Ledger.LoginBlocked(ctx, a.Domain, t.Host, t.Username)
		if err == nil && !until.IsZero() {
			err = &fault.Error{Kind: fault.Throttled, Op: "sign in", Until: until, Err: fmt.Errorf("the server has refused %s too often of late; "+
				"nothing was sent, and it is not tried before %s", fault.Clean(t.Username), until.UTC().Format(time.RFC3339))}
		}
		if err != nil {
			return nil, err
		}
	}
	s, err := dial(ctx, a.Protocol, d, t)
	if fault.KindOf(err) == fault.Auth {
		w.policies.forget(a)
		if _, err := w.Ledger.LoginFailed(context.WithoutCancel(ctx), a.Domain, t.Host, t.Username); err != nil {
			return nil, err
		}
	}
	if err == nil {
		w.policies.keep(w.policies.good, a)
	}
	return s, err
}

// policies keeps what the directory says of domains for a few seconds, and which accounts are on record as
// seen with TLS, so that a poll costs nothing.
type policies struct {
	dir     *directory.Directory
	mu      sync.Mutex
	domains map[string]keptDomain
	// Revisions of accounts by uid: on record as seen with TLS; signed in well when last seen.
	tls, good map[string]uint64
}

type keptDomain struct {
	domain directory.Domain
	until  time.Time
}

const (
	domainFor = 5 * time.Second
	keptMost  = 100_000
)

func newPolicies(dir *directory.Directory) *policies {
	return &policies{dir: dir, domains: map[string]keptDomain{}, tls: map[string]uint64{}, good: map[string]uint64{}}
}

// domain returns the rules of a domain, none where it has no record.
func (p *policies) domain(ctx context.Context, name string) (directory.Domain, error) {
	now := time.Now()
	p.mu.Lock()
	k, ok := p.domains[name]
	p.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.domain, nil
	}
	d, err := p.dir.Domain(ctx, name)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return d, err
	}
	d.Name = name
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.domains) >= keptMost {
		clear(p.domains)
	}
	p.domains[name] = keptDomain{domain: d, until: now.Add(domainFor)}
	return d, nil
}

// known says whether m holds the account as it is.
func (p *policies) known(m map[string]uint64, a account.Account) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	revision, ok := m[a.UID]
	return ok && revision == a.Revision
}

func (p *policies) keep(m map[string]uint64, a account.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(m) >= keptMost {
		clear(m)
	}
	m[a.UID] = a.Revision
}

// forget takes the account off those that signed in well.
func (p *policies) forget(a account.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.good, a.UID)
}
