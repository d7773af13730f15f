package lmtp

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// pool keeps the connections to one server, and those waiting for one.
//
// A message waits if there are MaxConns in use. It waits, too, for one that is in use rather than take another where the
// server is fast, the messages that wait are fewer than fit into one write, and only for maxWait: those that come at the same
// time ride together then, at a fraction of the cost, and a server that takes its time with each is given as many at once
// as ever.
type pool struct {
	cfg    Config
	at     Endpoint
	server habits

	mu      sync.Mutex
	inUse   int
	queue   []*seat
	hurry   *time.Timer   // set while messages wait that could have a connection of their own
	pace    time.Duration // of the server for one message, 0 while it is not known
	fast    time.Duration // a pace at which messages ride together
	calm    time.Time     // none do until then
	idle    []*conn       // by time of last use, the oldest first
	sweeper *time.Timer   // set while there are idle connections
	closed  bool
}

const (
	// fastPace is what a server that is fast takes for a message at most, and maxWait what one waits for a ride.
	fastPace = time.Millisecond
	maxWait  = 10 * time.Millisecond
	// slowRide is how long a write may wait for its answers. After a longer one nobody rides for calmFor times as long: who
	// gets mail that takes long must not have others wait for it again and again.
	slowRide = 100 * time.Millisecond
	calmFor  = 20
)

func newPool(cfg Config, at Endpoint) *pool { return &pool{cfg: cfg, at: at, fast: fastPace} }

// take returns a connection that is greeted and between two messages: the one used last that is still fine, or a new
// one. It returns none where the message was taken along by another, and s knows what became of it.
func (p *pool) take(s *seat) (*conn, error) {
	p.mu.Lock()
	if p.inUse < p.cfg.MaxConns && !p.joins(s) {
		p.inUse++
		p.mu.Unlock()
		return p.find(s.ctx, nil)
	}
	s.ready, s.since = make(chan struct{}, 1), time.Now()
	p.queue = append(p.queue, s)
	p.hasten(0)
	p.mu.Unlock()
	select {
	case <-s.ready:
	case <-s.ctx.Done():
		if p.leave(s) {
			return nil, p.canceled(s.ctx)
		}
		<-s.ready
	}
	if s.rode {
		return nil, s.err
	}
	s.ready = nil
	if s.ctx.Err() != nil {
		p.pass(s.cn)
		return nil, p.canceled(s.ctx)
	}
	return p.find(s.ctx, s.cn)
}

func (p *pool) canceled(ctx context.Context) error {
	return fault.Wrap(fault.Canceled, string(p.cfg.Protocol)+" wait for a connection", context.Cause(ctx))
}

// find returns cn if it is fine, or another, for who holds a slot.
func (p *pool) find(ctx context.Context, cn *conn) (*conn, error) {
	if cn == nil {
		cn = p.pop()
	}
	for ; cn != nil; cn = p.pop() {
		if cn.quiet() {
			return cn, nil
		}
		_ = cn.Close()
	}
	return p.open(ctx)
}

// joins says that a message waits for a ride though it could have a connection of its own.
func (p *pool) joins(s *seat) bool {
	return s.rides() && p.inUse > 0 && p.isFast() && len(p.queue) < maxRide
}

func (p *pool) isFast() bool {
	return p.pace > 0 && p.pace <= p.fast && (p.calm.IsZero() || time.Now().After(p.calm))
}

// hasten sees to it that nobody waits long who could have a connection of their own. Who gets one takes others along: the
// next is not looked at before a while.
func (p *pool) hasten(least time.Duration) {
	if p.hurry != nil || len(p.queue) == 0 || p.inUse >= p.cfg.MaxConns {
		return
	}
	p.hurry = time.AfterFunc(max(least, time.Until(p.queue[0].since.Add(maxWait))), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hurry = nil
		least := time.Duration(0)
		if len(p.queue) > 0 && p.inUse < p.cfg.MaxConns && time.Since(p.queue[0].since) >= maxWait {
			p.inUse++
			p.call(nil)
			least = maxWait
		}
		p.hasten(least)
	})
}

// call gives the one who waits longest their turn.
func (p *pool) call(cn *conn) {
	s := p.queue[0]
	p.queue = slices.Delete(p.queue, 0, 1)
	s.cn = cn
	s.ready <- struct{}{}
}

// leave takes one out of the queue that is still there.
func (p *pool) leave(s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := slices.Index(p.queue, s)
	if n >= 0 {
		p.queue = slices.Delete(p.queue, n, n+1)
	}
	return n >= 0
}

// board returns those who ride with s, which is the last of them: it reads the answers, and the others need not wait for it.
func (p *pool) board(s *seat, cn *conn) []*seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cn.client != "" || !s.rides() || !p.isFast() {
		return []*seat{s}
	}
	seats, octets := make([]*seat, 0, maxRide), len(s.tx.body)
	p.queue = slices.DeleteFunc(p.queue, func(w *seat) bool {
		if len(seats) == maxRide-1 || !w.rides() || octets+len(w.tx.body) > maxRideOctets {
			return false
		}
		octets += len(w.tx.body)
		seats = append(seats, w)
		return true
	})
	return append(seats, s)
}

// wait puts those back who were not taken along after all.
func (p *pool) wait(seats []*seat) {
	if len(seats) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(seats, p.queue...)
	p.hasten(0)
}

// renew gives up a connection and returns a new one in its slot.
func (p *pool) renew(ctx context.Context, old *conn) (*conn, error) {
	_ = old.Close()
	return p.open(ctx)
}

// open connects in a slot that is held, and gives the slot back on failure.
func (p *pool) open(ctx context.Context) (*conn, error) {
	cn, err := connect(ctx, p.cfg, p.at, &p.server)
	if err != nil {
		p.pass(nil)
		return nil, err
	}
	return cn, nil
}

// give takes a connection back and closes it unless it may be kept.
func (p *pool) give(cn *conn) {
	if cn.broken {
		_ = cn.Close()
		cn = nil
	}
	p.pass(cn)
}

// pass hands a slot on to the next one, with its connection, if there is one.
func (p *pool) pass(cn *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cn != nil {
		now := time.Now()
		p.learn(now, cn.took, cn.rode)
		cn.kept, cn.usedAt, cn.rode = true, now, 0
		if p.closed {
			_ = cn.Close()
			cn = nil
		}
	}
	switch {
	case len(p.queue) > 0:
		p.call(cn)
		return
	case cn != nil:
		p.push(cn)
	}
	p.inUse--
}

// learn notes how long the server took for a write of n messages. Once it was seen to be fast it has to be slow for a while.
func (p *pool) learn(now time.Time, took time.Duration, n int) {
	if n == 0 {
		return
	}
	if took > slowRide {
		p.calm = now.Add(calmFor * took)
	}
	each := max(1, took/time.Duration(n))
	if p.pace == 0 || each < p.pace {
		p.pace = each
	} else {
		p.pace += (each - p.pace) / 16
	}
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

func (p *pool) push(cn *conn) {
	p.idle = append(p.idle, cn)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(p.cfg.Timeouts.Idle, p.sweep)
	}
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
