package lmtp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// pool keeps the connections to one server. A slot is held by each connection in use; idle ones need
// none, because whoever takes a slot takes an idle connection first.
type pool struct {
	cfg   Config
	at    Endpoint
	slots chan struct{}
	// noBDAT says that the server offers BDAT and refuses it.
	noBDAT atomic.Bool

	mu      sync.Mutex
	idle    []*conn     // by time of last use, the oldest first
	sweeper *time.Timer // set while there are idle connections
	closed  bool
}

func newPool(cfg Config, at Endpoint) *pool {
	return &pool{cfg: cfg, at: at, slots: make(chan struct{}, cfg.MaxConns)}
}

// take returns a connection that is greeted and between two messages: the one used last that is still
// fine, or a new one.
func (p *pool) take(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Canceled, string(p.cfg.Protocol)+" wait for a connection", context.Cause(ctx))
	}
	for {
		cn := p.pop()
		if cn == nil {
			break
		}
		if cn.quiet() {
			return cn, nil
		}
		_ = cn.Close()
	}
	return p.open(ctx)
}

// renew gives up a connection and returns a new one in its slot.
func (p *pool) renew(ctx context.Context, old *conn) (*conn, error) {
	_ = old.Close()
	return p.open(ctx)
}

// open connects in a slot that is held, and gives the slot back on failure.
func (p *pool) open(ctx context.Context) (*conn, error) {
	cn, err := connect(ctx, p.cfg, p.at)
	if err != nil {
		<-p.slots
		return nil, err
	}
	cn.noBDAT = &p.noBDAT
	return cn, nil
}

// give takes a connection back and closes it unless it may be kept.
func (p *pool) give(cn *conn) {
	if cn.broken || !p.push(cn) {
		_ = cn.Close()
	}
	<-p.slots
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	cn := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return cn
}

func (p *pool) push(cn *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	cn.kept, cn.usedAt = true, time.Now()
	p.idle = append(p.idle, cn)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(p.cfg.Timeouts.Idle, p.sweep)
	}
	return true
}

// sweep ends the connections that were idle for long enough, and comes back for the rest.
func (p *pool) sweep() {
	for _, cn := range p.expired(time.Now().Add(-p.cfg.Timeouts.Idle)) {
		cn.quit()
	}
}

// expired takes out the connections that were last used at the limit or before.
func (p *pool) expired(limit time.Time) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	n := 0
	for n < len(p.idle) && !p.idle[n].usedAt.After(limit) {
		n++
	}
	old, rest := p.idle[:n:n], p.idle[n:]
	p.idle = append([]*conn(nil), rest...)
	if len(rest) == 0 {
		p.sweeper = nil
	} else {
		p.sweeper.Reset(rest[0].usedAt.Sub(limit))
	}
	return old
}

func (p *pool) close() {
	p.mu.Lock()
	old := p.idle
	p.idle, p.closed = nil, true
	if p.sweeper != nil {
		p.sweeper.Stop()
		p.sweeper = nil
	}
	p.mu.Unlock()
	for _, cn := range old {
		cn.quit()
	}
}
