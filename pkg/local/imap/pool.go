package imap

import (
	"context"
	"sync"
	"time"
)

// pool keeps the connections to one server. Places are counted: those in use, and idle ones while there is room.
type pool struct {
	cfg Config

	mu      sync.Mutex
	busy    map[string]int // by user
	inUse   int
	idle    []*conn       // by time of last use, the oldest first
	freed   chan struct{} // closed and made anew when a place was freed
	sweeper *time.Timer   // set while there are idle connections
	closed  bool
}

func newPool(cfg Config) *pool {
	return &pool{cfg: cfg, busy: map[string]int{}, freed: make(chan struct{})}
}

// reserve takes a place for each of the users, all at once, so that nobody waits while holding some. There must not
// be more than Config.MaxConns.
func (p *pool) reserve(ctx context.Context, users []string) error {
	for {
		p.mu.Lock()
		free := p.inUse+len(users) <= p.cfg.MaxConns
		for _, u := range users {
			free = free && p.busy[u] < p.cfg.PerUser
		}
		if free {
			p.inUse += len(users)
			for _, u := range users {
				p.busy[u]++
			}
			p.mu.Unlock()
			return nil
		}
		freed := p.freed
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return canceled(ctx, "imap wait for a connection")
		}
	}
}

// release gives a place back.
func (p *pool) release(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse--
	if p.busy[user]--; p.busy[user] == 0 {
		delete(p.busy, user)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}

// take returns a connection of the user in a place that is held: the one used last, or a new one.
func (p *pool) take(ctx context.Context, user string) (*conn, error) {
	if cn := p.pop(user); cn != nil {
		return cn, nil
	}
	for _, cn := range p.crowd() {
		cn.leave()
	}
	return connect(ctx, p.cfg, user)
}

// pop takes out the idle connection of a user that was used last.
func (p *pool) pop(user string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if cn := p.idle[i]; cn.user == user {
			p.idle = append(p.idle[:i:i], p.idle[i+1:]...)
			return cn
		}
	}
	return nil
}

// crowd takes out the oldest idle connections that leave no room for those in use.
func (p *pool) crowd() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.idle), max(0, p.inUse+len(p.idle)-p.cfg.MaxConns))
	return p.cut(n)
}

// cut takes out the n oldest idle connections. p.mu is held.
func (p *pool) cut(n int) []*conn {
	old := p.idle[:n:n]
	p.idle = append([]*conn(nil), p.idle[n:]...)
	return old
}

// give takes a connection back and closes it unless it may be kept.
func (p *pool) give(cn *conn) {
	if cn.broken || !p.push(cn) {
		_ = cn.Close()
	}
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
		cn.leave()
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
	old := p.cut(n)
	if len(p.idle) == 0 {
		p.sweeper = nil
	} else {
		p.sweeper.Reset(p.idle[0].usedAt.Sub(limit))
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
		cn.leave()
	}
}

// leave ends an idle connection and takes the word at once.
func (cn *conn) leave() {
	if cn.command("LOGOUT\r\n") == nil {
		_ = cn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = cn.Write(cn.out)
	}
	_ = cn.Close()
}
