package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals turns SIGTERM and SIGINT into the steps of a stop: drain, end at once, give up waiting. It
// keeps contexts because they are what the steps end.
type Signals struct {
	ctx   context.Context // ends with the first signal
	stop  context.CancelFunc
	hard  context.Context // ends with the second
	given chan struct{}   // closed by the third

	signals chan os.Signal
	closed  chan struct{}
	done    chan struct{}
}

// NotifySignals takes over SIGTERM and SIGINT until Close. The end of ctx counts as the first signal.
func NotifySignals(ctx context.Context) *Signals {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return newSignals(ctx, c)
}

func newSignals(parent context.Context, c chan os.Signal) *Signals {
	s := &Signals{signals: c, given: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(parent)
	hard, end := context.WithCancel(context.WithoutCancel(parent))
	s.hard = hard
	steps := []func(){s.stop, end, func() { close(s.given) }}
	go func() {
		defer close(s.done)
		defer end()
		select {
		case <-s.closed:
			return
		case <-s.ctx.Done():
		case <-c:
		}
		s.stop()
		for _, step := range steps[1:] {
			select {
			case <-s.closed:
				return
			case <-c:
				step()
			}
		}
	}()
	return s
}

// Context ends with the first signal; it is the context of everything before Run.
func (s *Signals) Context() context.Context { return s.ctx }

// Close gives the signals back.
func (s *Signals) Close() {
	signal.Stop(s.signals)
	close(s.closed)
	<-s.done
	s.stop()
}
