package lmtp

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

// How long a failing endpoint is avoided: the pause doubles from failure to failure.
const (
	avoidMin = time.Second
	avoidMax = time.Minute
)

// endpoint is one server and how it does.
type endpoint struct {
	pool *pool

	mu     sync.Mutex
	health health
}

// health says whether a server is worth asking. The zero one is.
type health struct {
	failures int       // in a row, those at one time counted once
	until    time.Time // it is avoided until then
	probing  bool      // one message finds out
}

// claim says whether the server is asked. Once its pause is over, one message is, until its fate is settled.
func (h *health) claim(now time.Time) bool {
	if h.failures == 0 {
		return true
	}
	if h.probing || now.Before(h.until) {
		return false
	}
	h.probing = true
	return true
}

// good and bad settle the fate of a message; neither is called of one that says nothing about the server.
func (h *health) good() { *h = health{} }

func (h *health) bad(now time.Time) {
	h.probing = false
	if now.Before(h.until) {
		return
	}
	h.until = now.Add(min(avoidMin<<min(h.failures, 10), avoidMax))
	h.failures++
}

// order returns the endpoints as they are asked: those that do well as they are configured, then the others, the one
// first whose pause ends first. That all fail is no reason not to ask.
func (c *Client) order() iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		avoided := make([]*endpoint, 0, len(c.endpoints))
		for _, e := range c.endpoints {
			if !e.claim() {
				avoided = append(avoided, e)
			} else if !yield(e) {
				return
			}
		}
		slices.SortStableFunc(avoided, func(a, b *endpoint) int { return a.pause().Compare(b.pause()) })
		for _, e := range avoided {
			if !yield(e) {
				return
			}
		}
	}
}

func (e *endpoint) claim() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health.claim(time.Now())
}

func (e *endpoint) pause() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health.until
}

// deliver hands over one message, and settles what that says of the endpoint.
func (e *endpoint) deliver(ctx context.Context, begin func() *transaction) (*transaction, error) {
	tx, err := e.attempt(ctx, begin)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		e.health.good()
	case tx.blameless, ctx.Err() != nil && !local.Uncertain(err):
		e.health.probing = false
	default:
		e.health.bad(time.Now())
	}
	return tx, err
}

func (e *endpoint) attempt(ctx context.Context, begin func() *transaction) (*transaction, error) {
	s := &seat{ctx: ctx, tx: begin()}
	cn, err := e.pool.take(s)
	if cn == nil {
		if !s.rode || err == nil || s.tx.sending || s.tx.blameless || ctx.Err() != nil {
			return s.tx, err
		}
		// The server gave the connection up before it had the whole message.
		s = &seat{ctx: ctx, tx: begin()}
		if cn, err = e.pool.take(s); cn == nil {
			return s.tx, err
		}
	}
	kept := cn.kept
	err = e.run(s, cn)
	if err != nil && (kept || cn.shy) && !s.tx.sending && !s.tx.blameless && ctx.Err() == nil {
		// The server gave a connection up before anything of the message was sent.
		if cn, err = e.pool.renew(ctx, cn); err != nil {
			return s.tx, err
		}
		s = &seat{ctx: ctx, tx: begin()}
		err = e.run(s, cn)
	}
	e.pool.give(cn)
	return s.tx, err
}

func (e *endpoint) run(s *seat, cn *conn) error {
	return s.tx.run(s.ctx, cn, func() error {
		e.pool.wait(cn.ride(e.pool.board(s, cn)))
		return s.err
	})
}
