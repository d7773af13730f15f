package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// breaker keeps one destination from taking what others need. A hand-over passes it before anything is sent: at most share of
// them at once, and none while it is open. It opens when several hand-overs in a row found nobody who
// answers; after a pause that doubles, one of them tries.
//
// A destination that is slow, but does something, makes hand-overs wait their turn. One that finishes nothing for as long
// as stall has them come back later, so that handlers are free for others.
type breaker struct {
	share       int
	min, max    time.Duration // of the pause
	stall       time.Duration
	mu          sync.Mutex
	inside      int
	moved       time.Time     // when one came in while nobody was inside, or one went out
	turn        chan struct{} // closed when somebody goes out; nil while nobody waits
	failures    int           // in a row
	pause       time.Duration
	until       time.Time
	trying      bool
	lastFailure error
	turnBack    time.Time // when the message comes back that was blocked last
}

func newBreaker(cfg Config) *breaker {
	return &breaker{
		share: max(1, cfg.Handlers/2), min: cfg.RetryMin, max: cfg.RetryMax, stall: min(2*time.Second, cfg.Lease/4),
	}
}

// opens is how many failures in a row open a breaker.
const opens = 3

// comebacks is how many messages that were blocked come back each second at most, so that those of a destination that is down
// take little from others, however many TRANSIT holds.
const comebacks = 250

// beat has messages that were blocked come back together at its multiples: the server looks through all that a lane holds ten
// milliseconds after each that is given back, as long as there are any.
const beat = 100 * time.Millisecond

// errBlocked says that a hand-over was not tried. Its cause is another's: it is told, and not what became of this one.
type errBlocked struct {
	by    *breaker
	wait  time.Duration
	cause error
}

func (e *errBlocked) Error() string {
	if e.cause != nil {
		return "the destination is down and is not tried for now: " + e.cause.Error()
	}
	return "the destination is too slow for more messages at once"
}

func (g *breaker) blocked(wait time.Duration, cause error) error {
	return fault.New(fault.DestinationTemporary, "deliver", &errBlocked{g, max(wait, 100*time.Millisecond), cause})
}

// back returns when a message that was blocked comes back, wait from now at the earliest.
func (g *breaker) back(now time.Time, wait time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.turnBack.Before(now) {
		g.turnBack = now
	}
	g.turnBack = g.turnBack.Add(time.Second / comebacks)
	at := now.Add(max(spread(wait), g.turnBack.Sub(now)))
	return at.Truncate(beat).Add(beat).Sub(now)
}

// enter lets a hand-over in, or says why not; who was let in goes out by leave.
func (g *breaker) enter(ctx context.Context) error {
	for {
		turn, err := g.ask(time.Now())
		if turn == nil {
			return err
		}
		patience := time.NewTimer(g.stall)
		select {
		case <-turn:
		case <-patience.C:
		case <-ctx.Done():
		}
		patience.Stop()
		if ctx.Err() != nil {
			return fault.New(fault.Canceled, "deliver", context.Cause(ctx))
		}
	}
}

// ask lets in, refuses, or returns what to wait for before it is asked again.
func (g *breaker) ask(now time.Time) (turn <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failures >= opens && (g.trying || now.Before(g.until)):
		return nil, g.blocked(max(g.until.Sub(now), g.min), g.lastFailure)
	case g.failures >= opens:
		g.trying = true
	case g.inside >= g.share && now.Sub(g.moved) < g.stall:
		if g.turn == nil {
			g.turn = make(chan struct{})
		}
		return g.turn, nil
	case g.inside >= g.share:
		return nil, g.blocked(g.min, nil)
	}
	if g.inside == 0 {
		g.moved = now
	}
	g.inside++
	return nil, nil
}

// leave says what became of a hand-over that was let in: err where nobody answered for it.
func (g *breaker) leave(now time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.moved = now
	if g.turn != nil {
		close(g.turn)
		g.turn = nil
	}
	switch {
	case err == nil:
		g.failures, g.pause, g.trying, g.lastFailure = 0, 0, false, nil
	case !down(err):
		g.trying = false // it says nothing about the destination
	case g.failures >= opens && !g.trying: // one of those that were inside when it opened
	default:
		g.failures++
		g.trying, g.lastFailure = false, err
		if g.failures >= opens {
			g.pause = min(max(2*g.pause, g.min), g.max)
			g.until = now.Add(g.pause)
		}
	}
}

// open says whether the breaker is open.
func (g *breaker) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures >= opens
}

// down says that an error of a hand-over is about the destination: nobody is there, or who is there does not answer.
func down(err error) bool {
	var unsure *local.UncertainError
	if errors.As(err, &unsure) {
		return !unsure.Shared
	}
	if bodyFailed(err) {
		return false
	}
	kind := fault.KindOf(err)
	return kind == fault.DestinationTemporary && !errors.As(err, new(*errBlocked))
}

// spread makes a pause longer by up to a half, so that what was blocked together does not come back together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/2+1) }
