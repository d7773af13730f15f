package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
)

// Errors of settling a claim.
var (
	// ErrStale says that the claim was not kept in time, or could not be settled while it was: the
	// job is or will be delivered again, and nothing (more) was sent about it.
	ErrStale = errors.New("the claim has lapsed: the job may be with another worker")
	// ErrSettled says that the claim was settled before.
	ErrSettled = errors.New("the claim is settled")
)

// Claim is a job in the hands of this worker, until it is settled by exactly one of Ack, Nak and Term.
type Claim struct {
	Job
	// Delivered counts the deliveries of the job, 1 at the first one.
	Delivered int
	// Err is set for poison: the payload cannot be read, and Job holds no more than the subject says.
	Err error

	claims *Claims
	src    *source
	reply  string

	mu      sync.Mutex
	trusted time.Time // until then the job is surely with no other worker
	settled bool
	stop    chan struct{} // closed when settled
	keeping sync.WaitGroup
}

func newClaim(c *Claims, h held) *Claim {
	j, err := decode(h.msg.Subject, h.msg.Data)
	if err != nil {
		err = fault.New(fault.Internal, "job", err)
	}
	claim := &Claim{
		Job: j, Err: err, Delivered: 1, claims: c, src: h.src, reply: h.msg.Reply,
		trusted: h.trusted(), stop: make(chan struct{}),
	}
	if meta, err := h.msg.Metadata(); err == nil {
		claim.Delivered = int(meta.NumDelivered)
	}
	return claim
}

// Keep tells the server every third of AckWait that the job is being worked on, and returns when the
// claim is settled or has lapsed, or ctx ends. Settling waits for it to return.
func (c *Claim) Keep(ctx context.Context) {
	c.mu.Lock()
	if c.settled {
		c.mu.Unlock()
		return
	}
	c.keeping.Add(1)
	c.mu.Unlock()
	defer c.keeping.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait := c.claims.q.cfg.AckWait
	for pause := wait / 3; jsapi.Sleep(ctx, pause); {
		start := time.Now()
		if c.lapsed(start) {
			return
		}
		if pause = wait / 3; !c.touch(ctx, start) {
			pause = wait / 12
		}
	}
}

// touch says once that the job is being worked on, and trusts the claim anew if the server heard it.
func (c *Claim) touch(ctx context.Context, start time.Time) bool {
	if c.send(ctx, c.claims.q.cfg.AckWait/6, "+WPI") != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted = start.Add(c.claims.q.trust())
	return true
}

// send says body about the job once, and waits for the server's confirmation.
func (c *Claim) send(ctx context.Context, limit time.Duration, body string) error {
	if err := jsapi.Online(c.claims.q.nc); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := c.claims.q.nc.RequestWithContext(ctx, c.reply, []byte(body))
	return err
}

func (c *Claim) lapsed(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !now.Before(c.trusted)
}

// Ack says that the job is done, and returns once the server has confirmed it. The slot is free again
// whatever it returns; after an error the job will be delivered again.
func (c *Claim) Ack(ctx context.Context) error { return c.settle(ctx, "ack job", "+ACK") }

// Nak gives the job back; it is delivered again after delay.
func (c *Claim) Nak(ctx context.Context, delay time.Duration) error {
	body := "-NAK"
	if delay > 0 {
		body = fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds())
	}
	return c.settle(ctx, "nak job", body)
}

// maxReason bounds the reason of a Term, in bytes.
const maxReason = 200

// Term removes the job for good: it cannot be executed. The reason goes into an advisory of the server.
func (c *Claim) Term(ctx context.Context, reason string) error {
	return c.settle(ctx, "term job", strings.TrimSpace("+TERM "+fault.Clean(reason[:min(len(reason), maxReason)])))
}

// settle ends the keeping, sends body until the server confirms it, and gives the slot back. It gives
// up when ctx ends, the claim lapses, or after half of AckWait.
func (c *Claim) settle(ctx context.Context, op, body string) error {
	c.mu.Lock()
	if c.settled {
		c.mu.Unlock()
		return fault.New(fault.Internal, op, ErrSettled)
	}
	c.settled = true
	close(c.stop)
	c.mu.Unlock()
	c.keeping.Wait()
	defer c.claims.release(c.src)

	wait := c.claims.q.cfg.AckWait
	limited, cancel := context.WithTimeout(ctx, wait/2)
	defer cancel()
	for pause := jsapi.MinPause; ; pause = min(2*pause, jsapi.MaxPause) {
		if c.lapsed(time.Now()) {
			return fault.New(fault.Canceled, op, ErrStale)
		}
		err := c.send(limited, min(jsapi.AttemptLimit, wait/4), body)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, nats.ErrConnectionClosed):
			return fault.New(fault.Internal, op, err)
		case ctx.Err() != nil:
			return jsapi.Ended(ctx, op, err)
		case !jsapi.Sleep(limited, pause):
			return fault.New(fault.Internal, op, fmt.Errorf("the server does not confirm it: %w", err))
		}
	}
}
