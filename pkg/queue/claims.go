package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
)

// ErrStopped says that [Claims.Stop] was called.
var ErrStopped = errors.New("no more jobs are claimed")

// ClaimConfig says how much one worker takes.
type ClaimConfig struct {
	// Slots is how many claims may be open at a time.
	Slots int
	// Reserved is how many of them take manual jobs only.
	Reserved int
}

// How long a scheduled job in hand waits at most for manual ones that may be on their way: until the server has
// said whether there are any, and after one that says that there are more.
const (
	manualAnswer = 500 * time.Millisecond
	manualMore   = 100 * time.Millisecond
)

// Claims hands the jobs of the queue to one worker.
//
// It asks the server only for what it has slots for, with requests that stand until a job comes, and
// only while somebody is in [Claims.Next] or was there lately. At most a quarter of the slots (and at
// least one job of each consumer) is in hand without being claimed, and not for longer than a third of
// AckWait; a manual job for which there is no slot goes back at once, to a worker that has one.
type Claims struct {
	q   *Queue
	cfg ClaimConfig

	mu            sync.Mutex
	manual        *source
	scheduled     *source
	open          int // claims that are not settled
	openScheduled int // of them, those not manual
	waiting       int // calls of Next
	lastNext      time.Time
	manualUntil   time.Time // scheduled jobs wait until then for manual ones
	made          int64     // Queue.made when requests were last voided for it
	stopped       bool
	failed        error
	wake          chan struct{} // closed and replaced when a call of Next may go on

	kick chan struct{} // for the loop: there may be something to ask for
	quit context.CancelFunc
	done chan struct{} // closed when the loop has ended
}

// Claims starts to claim jobs. ctx bounds the opening only; the claims end with [Claims.Stop].
func (q *Queue) Claims(ctx context.Context, cfg ClaimConfig) (*Claims, error) {
	if cfg.Slots < 1 || cfg.Reserved < 0 || cfg.Reserved > cfg.Slots {
		return nil, fault.Errorf(fault.Internal, "claim jobs", "%d slots with %d reserved", cfg.Slots, cfg.Reserved)
	}
	if err := q.caller().Do(ctx, "claim jobs", jsapi.MakeLimit, func(ctx context.Context) error { return q.make(ctx, false) }); err != nil {
		return nil, err
	}
	c := &Claims{q: q, cfg: cfg, made: q.made.Load(), wake: make(chan struct{}), kick: make(chan struct{}, 1), done: make(chan struct{})}
	prefetch := max(1, cfg.Slots/8)
	c.manual = newSource(c, manualConsumer, prefetch)
	c.scheduled = newSource(c, scheduledConsumer, max(1, cfg.Slots/4-prefetch))
	for _, s := range c.sources() {
		if err := s.subscribe(); err != nil {
			c.unsubscribe()
			return nil, fault.Wrap(fault.Internal, "claim jobs", err)
		}
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.quit = cancel
	go c.loop(run)
	return c, nil
}

func (c *Claims) sources() [2]*source { return [2]*source{c.manual, c.scheduled} }

// Next waits for a job and claims it; manual jobs come first. It returns [ErrStopped] after Stop, and
// otherwise an error only when ctx has ended or the connection was closed for good. Several calls may
// wait at a time. Each claim has to be settled.
func (c *Claims) Next(ctx context.Context) (*Claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	defer func() { c.waiting-- }()
	for {
		switch {
		case c.stopped:
			return nil, ErrStopped
		case c.failed != nil:
			return nil, c.failed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		now := time.Now()
		c.lastNext = now
		claim, pause := c.take(now)
		c.nudge()
		if claim != nil {
			return claim, nil
		}
		c.await(ctx, pause)
	}
}

// await gives up the lock until something has happened, pause is over (0: none), or ctx ends.
func (c *Claims) await(ctx context.Context, pause time.Duration) {
	wake := c.wake
	var after <-chan time.Time
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		after = t.C
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-wake:
	case <-after:
	case <-ctx.Done():
	}
}

// take claims a job that is in hand, if there is a slot for it. With none it says when to look again,
// whatever happens.
func (c *Claims) take(now time.Time) (*Claim, time.Duration) {
	if c.open >= c.cfg.Slots {
		return nil, 0
	}
	if h, ok := c.manual.pop(now); ok {
		c.open++
		return newClaim(c, h), 0
	}
	if c.freeScheduled() == 0 || len(c.scheduled.held) == 0 {
		return nil, 0
	}
	if wait := c.manualUntil.Sub(now); wait > 0 {
		return nil, wait
	}
	h, ok := c.scheduled.pop(now)
	if !ok {
		return nil, 0
	}
	c.open++
	c.openScheduled++
	return newClaim(c, h), 0
}

// freeScheduled is how many more scheduled jobs may be claimed.
func (c *Claims) freeScheduled() int {
	return max(0, min(c.cfg.Slots-c.open, c.cfg.Slots-c.cfg.Reserved-c.openScheduled))
}

// free is how many more jobs of s may be claimed.
func (c *Claims) free(s *source) int {
	if s == c.scheduled {
		return c.freeScheduled()
	}
	return c.cfg.Slots - c.open
}

// release gives the slot of a claim back.
func (c *Claims) release(t *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if t == c.scheduled {
		c.openScheduled--
	}
	c.broadcast()
	c.nudge()
}

// broadcast lets all calls of Next look again.
func (c *Claims) broadcast() {
	if c.waiting > 0 {
		close(c.wake)
		c.wake = make(chan struct{})
	}
}

// nudge lets the loop look again.
func (c *Claims) nudge() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Stop takes no more jobs: calls of Next return [ErrStopped], and what is in hand without being claimed
// goes back to the server at once. Open claims are not touched. It returns when nothing more can
// arrive, after 2 s at the latest, and may be called more than once.
func (c *Claims) Stop() {
	c.mu.Lock()
	first := !c.stopped
	c.stopped = true
	c.broadcast()
	c.mu.Unlock()
	if first {
		c.quit()
	}
	<-c.done
}

// loop asks for jobs until ctx ends.
func (c *Claims) loop(ctx context.Context) {
	defer close(c.done)
	defer c.unsubscribe()
	status := c.q.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.q.nc.RemoveStatusListener(status)
	tick := time.NewTicker(c.q.tick())
	defer tick.Stop()
	pause := jsapi.MinPause
	for {
		c.renew()
		switch {
		case !c.broken():
			pause = jsapi.MinPause
			c.ask()
		case c.repair(ctx):
			continue
		default:
			jsapi.Sleep(ctx, pause)
			pause = min(2*pause, jsapi.MaxPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		case <-tick.C:
			c.tidy(time.Now())
		case s := <-status:
			c.statusChanged(s)
		}
	}
}

// tick is how often the loop looks for jobs to give back and requests that got lost.
func (q *Queue) tick() time.Duration { return min(time.Second, q.cfg.AckWait/6) }

// statusChanged forgets requests that stood at a server that is gone.
func (c *Claims) statusChanged(s nats.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == nats.CLOSED {
		c.failed = fault.New(fault.Internal, "claim jobs", nats.ErrConnectionClosed)
		c.broadcast()
	}
	for _, s := range c.sources() {
		s.forget()
	}
}

// renew voids all requests when a consumer was made anew: one that was on its way when the old consumer went
// is lost without a word.
func (c *Claims) renew() {
	made := c.q.made.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if made == c.made {
		return
	}
	c.made = made
	for _, s := range c.sources() {
		s.forget()
	}
}

func (c *Claims) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return (c.manual.broken || c.scheduled.broken) && c.failed == nil
}

// repair makes what is missing on the server and lets requests be sent anew.
func (c *Claims) repair(ctx context.Context) bool {
	if jsapi.Attempt(ctx, jsapi.MakeLimit, func(ctx context.Context) error { return c.q.make(ctx, false) }) != nil {
		c.nudge()
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources() {
		if s.broken {
			s.forget()
		}
	}
	return true
}

// ask sends requests for as many jobs as there are slots and hands for.
func (c *Claims) ask() {
	if jsapi.Online(c.q.nc) != nil {
		return
	}
	for _, s := range c.sources() {
		c.mu.Lock()
		n := c.wants(s)
		inbox, probe := s.inbox(), s.probe
		c.mu.Unlock()
		if n > 0 {
			s.request(n, inbox, probe)
		}
	}
}

// wants books a request of s and says for how many jobs. The first one for manual jobs asks what is there
// now; the next one stands until more come.
func (c *Claims) wants(s *source) int {
	now := time.Now()
	idle := c.waiting == 0 && now.Sub(c.lastNext) > c.q.cfg.AckWait/3
	if c.stopped || c.failed != nil || idle || s.probe {
		return 0
	}
	room := min(s.prefetch, c.free(s))
	n := room - s.asked - len(s.held)
	if n < 1 || 2*n < room && s.asked > 0 { // few requests for many rather than many for one
		return 0
	}
	if s.asked == 0 {
		s.heard = now
		if s == c.manual && now.Sub(s.drained) > manualMore {
			s.probe = true
			c.manualUntil = now.Add(manualAnswer)
		}
	}
	s.asked += n
	return n
}

// tidy gives back what nobody claims, and finds requests that got lost.
func (c *Claims) tidy(now time.Time) {
	var back []held
	c.mu.Lock()
	for _, s := range c.sources() {
		back = append(back, s.surplus(now, c.free(s))...)
		if s.asked > 0 && now.Sub(s.heard) > 2*c.q.heartbeat()+c.q.tick() && jsapi.Online(c.q.nc) == nil {
			s.broken = true
		}
	}
	c.mu.Unlock()
	giveBack(back)
}

// unsubscribe ends the subscriptions in order: what arrives until then goes back at once.
func (c *Claims) unsubscribe() {
	c.mu.Lock()
	c.stopped = true
	var back []held
	for _, s := range c.sources() {
		back = append(back, s.held...)
		s.held = nil
	}
	c.mu.Unlock()
	giveBack(back)
	limit := time.After(2 * time.Second)
	for _, s := range c.sources() {
		s.drain(limit)
	}
}
