package worker

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// target returns where a session of the account goes, and under which rules: those of the fleet, of the
// domain and of the account itself.
func (w *Worker) target(ctx context.Context, a account.Account) (remote.Target, error) {
	t := remote.Target{TLS: a.TLS, Username: a.Username, APOP: a.APOP, Auth: a.Auth, LenientDot: a.LenientDot}
	var err error
	if t.Host, t.Port, err = a.HostPort(); err != nil {
		return t, fault.New(fault.Policy, "account", err)
	}
	if a.Auth == account.OAuth2 {
		return t, fault.Errorf(fault.ConsentNeeded, "oauth2", "nobody has given consent for this account yet")
	}
	if t.Password, err = w.Vault.Unseal(a.SealedPassword, a.SealContext()); err != nil {
		return t, err
	}
	domain, err := w.policies.domain(ctx, a.Domain)
	if err != nil {
		return t, err
	}
	t.Trust.Pins = a.TLSPins
	t.Trust.Any = a.TLSAllowInvalid && domain.AllowInvalidTLS
	if a.TLSCA != "" {
		t.Trust.CA = x509.NewCertPool()
		t.Trust.CA.AppendCertsFromPEM([]byte(a.TLSCA))
	}
	t.Plaintext = func(ctx context.Context) error { return w.plaintext(ctx, a, domain) }
	return t, nil
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
	if version == "none" || w.policies.recorded(a) {
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
		w.policies.record(a)
	}
	return err
}

// policies keeps what the directory says of domains for a few seconds, and which accounts are on record as
// seen with TLS, so that a poll costs nothing.
type policies struct {
	dir     *directory.Directory
	mu      sync.Mutex
	domains map[string]keptDomain
	tls     map[string]uint64 // account uid → its revision
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
	return &policies{dir: dir, domains: map[string]keptDomain{}, tls: map[string]uint64{}}
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

func (p *policies) recorded(a account.Account) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	revision, ok := p.tls[a.UID]
	return ok && revision == a.Revision
}

func (p *policies) record(a account.Account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tls) >= keptMost {
		clear(p.tls)
	}
	p.tls[a.UID] = a.Revision
}
