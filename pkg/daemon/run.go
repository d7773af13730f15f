package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Part is one piece of work of a process.
type Part interface {
	// Run works until ctx ends and returns after its goroutines did. It may return earlier only because it
	// cannot go on; the process then stops.
	Run(ctx context.Context) error
	// Drain takes no more work and returns when what was open is finished, or with an error when ctx ends
	// before. Run goes on meanwhile.
	Drain(ctx context.Context) error
}

// Named gives a part the name it has in logs and errors.
func Named(name string, p Part) Part { return named{p, name} }

type named struct {
	Part
	name string
}

func nameOf(p Part) string {
	if n, ok := p.(named); ok {
		return n.name
	}
	return fmt.Sprintf("%T", p)
}

// maxReserve is what each drain leaves at most of the grace to the parts after it.
const maxReserve = 3 * time.Second

// Run is [Signals.Run] for a process that needs no signals before.
func Run(ctx context.Context, log *zap.Logger, grace time.Duration, parts ...Part) error {
	s := NotifySignals(ctx)
	defer s.Close()
	return s.Run(log, grace, parts...)
}

// Run runs the parts until the first signal, the end of the context, or the return of one of them.
// Then it drains one after another in the order given, ends each one's context and waits for its Run;
// so whoever needs another part to finish its work comes before it. It returns the first error that is
// not just the end of a context.
func (s *Signals) Run(log *zap.Logger, grace time.Duration, parts ...Part) error {
	all, ended := start(parts)
	var first *running
	select {
	case <-s.ctx.Done():
		log.Info("draining", zap.Duration("grace", grace))
	case first = <-ended:
		log.Error("a part ended, draining the others", zap.String("part", nameOf(first.part)), zap.Error(first.err))
		s.stop()
	}
	return s.finish(log, grace, all, first)
}

// running is one part on its way.
type running struct {
	part   Part
	cancel context.CancelFunc
	done   chan struct{}
	err    error // to be read after done
}

func start(parts []Part) ([]*running, <-chan *running) {
	ended := make(chan *running, len(parts))
	all := make([]*running, len(parts))
	for i, p := range parts {
		// Not the context of the signals: a part outlives the first one.
		ctx, cancel := context.WithCancel(context.Background())
		r := &running{part: p, cancel: cancel, done: make(chan struct{})}
		all[i] = r
		go func() {
			r.err = p.Run(ctx)
			close(r.done)
			ended <- r
		}()
	}
	return all, ended
}

func (s *Signals) finish(log *zap.Logger, grace time.Duration, all []*running, first *running) error {
	until := time.Now().Add(grace)
	hard := context.AfterFunc(s.hard, func() {
		for _, r := range all {
			r.cancel()
		}
	})
	defer hard()
	for i, r := range all {
		s.drain(log, r, until, i == len(all)-1)
		r.cancel()
		select {
		case <-r.done:
		case <-s.given:
			return fmt.Errorf("gave up waiting for %s", nameOf(r.part))
		}
	}
	log.Info("stopped")
	if first != nil && first.err != nil {
		return fmt.Errorf("%s: %w", nameOf(first.part), first.err)
	}
	for _, r := range all {
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			return fmt.Errorf("%s: %w", nameOf(r.part), r.err)
		}
	}
	return nil
}

// drain gives a part what is left of the grace but for a reserve for those after it.
func (s *Signals) drain(log *zap.Logger, r *running, until time.Time, last bool) {
	left := time.Until(until)
	if !last {
		left -= min(left/4, maxReserve)
	}
	ctx, cancel := context.WithTimeout(s.hard, left)
	defer cancel()
	began := time.Now()
	returned := make(chan error, 1)
	go func() { returned <- r.part.Drain(ctx) }()
	select {
	case err := <-returned:
		if err != nil {
			log.Warn("open work is handed back", zap.String("part", nameOf(r.part)),
				zap.Duration("after", time.Since(began)), zap.Error(err))
		}
	case <-r.done:
		cancel()
		if err := <-returned; err != nil {
			log.Debug("drain of a part that has ended", zap.String("part", nameOf(r.part)), zap.Error(err))
		}
	case <-s.given:
	}
}
