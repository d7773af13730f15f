package delivery

import (
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/local/maildir"
	"github.com/mailferry/mailferry/pkg/route"
)

// destinations keeps one client for each site in use, so that no owner's connections serve another.
type destinations struct {
	cfg   Config
	vault Vault
	mu    sync.Mutex
	m     map[site]*client
}

type client struct {
	local.Destination
	breaker *breaker
	used    time.Time
}

// unused is how long the client of a site is kept that nothing goes to.
const unused = time.Hour

func newDestinations(cfg Config, v Vault) *destinations {
	return &destinations{cfg: cfg, vault: v, m: map[site]*client{}}
}

// get returns the client of a site.
func (d *destinations) get(s site) (*client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if c, ok := d.m[s]; ok {
		c.used = now
		return c, nil
	}
	dest, err := d.open(s)
	if err != nil {
		return nil, err
	}
	for old, c := range d.m {
		if now.Sub(c.used) > unused {
			_ = c.Close()
			delete(d.m, old)
		}
	}
	c := &client{dest, newBreaker(d.cfg), now}
	d.m[s] = c
	return c, nil
}

// down counts the destinations that are not tried for now.
func (d *destinations) down() (n float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.m {
		if c.breaker.open() {
			n++
		}
	}
	return n
}

func (d *destinations) open(s site) (local.Destination, error) {
	p, err := route.ParseDestination(s.destination)
	if err != nil {
		return nil, fault.New(fault.Policy, "destination", err)
	}
	password, err := s.password(d.vault)
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case route.Maildir:
		m, err := maildir.New(maildir.Config{Path: p.Path})
		if err != nil {
			return nil, fault.New(fault.Policy, "destination", err)
		}
		return m, nil
	case route.IMAP, route.IMAPS:
		return imap.New(imap.Config{
			Address: p.Address, TLS: p.Kind == route.IMAPS, TLSConfig: d.cfg.TLS, MaxConns: d.cfg.MaxConns,
			Credentials: imap.Credentials{Username: s.login.Username, Password: password},
		}), nil
	}
	return d.transfer(p, s.login.Username, password), nil
}

func (d *destinations) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.m {
		_ = c.Close()
	}
}
