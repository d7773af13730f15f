package delivery

import (
	"sync"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/local/maildir"
	"github.com/mailferry/mailferry/pkg/route"
)

// destinations keeps one client for each destination in use.
type destinations struct {
	cfg Config
	mu  sync.Mutex
	m   map[string]local.Destination
}

func newDestinations(cfg Config) *destinations {
	return &destinations{cfg: cfg, m: map[string]local.Destination{}}
}

// get returns the client of a destination as domains and settings write it.
func (d *destinations) get(name string) (local.Destination, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.m[name]; ok {
		return c, nil
	}
	p, err := route.ParseDestination(name)
	if err != nil {
		return nil, fault.New(fault.Policy, "destination", err)
	}
	var c local.Destination
	switch p.Kind {
	case route.Maildir:
		c, err = maildir.New(maildir.Config{Path: p.Path})
	default:
		c = lmtp.New(lmtp.Config{Network: p.Network, Address: p.Address, MaxConns: d.cfg.MaxConns})
	}
	if err != nil {
		return nil, fault.New(fault.Policy, "destination", err)
	}
	d.m[name] = c
	return c, nil
}

func (d *destinations) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.m {
		_ = c.Close()
	}
}
