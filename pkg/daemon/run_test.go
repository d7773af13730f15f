package daemon_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/daemon"
)

// diary records what happens to parts, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

// part has open work that takes a while to finish once it is drained.
type part struct {
	name  string
	work  time.Duration
	fail  chan error    // makes Run return
	stuck chan struct{} // Run returns only when it is closed, whatever its context says
	diary *diary
}

func (p *part) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case err := <-p.fail:
		return err
	}
	if p.stuck != nil {
		<-p.stuck
	}
	p.diary.add(p.name + " ended")
	return ctx.Err()
}

func (p *part) Drain(ctx context.Context) error {
	p.diary.add(p.name + " drains")
	select {
	case <-time.After(p.work):
		p.diary.add(p.name + " finished")
		return nil
	case <-ctx.Done():
		p.diary.add(p.name + " handed back")
		return ctx.Err()
	}
}

func TestFirstSignalDrainsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		c := make(chan os.Signal, 3)
		s := daemon.SignalsOn(t.Context(), c)
		defer s.Close()
		c <- syscall.SIGTERM
		err := s.Run(zap.NewNop(), 20*time.Second,
			&part{name: "worker", work: 5 * time.Second, diary: &d}, &part{name: "delivery", work: time.Second, diary: &d})
		if err != nil {
			t.Error(err)
		}
		want := []string{"worker drains", "worker finished", "worker ended", "delivery drains", "delivery finished", "delivery ended"}
		if !slices.Equal(d.lines, want) {
			t.Errorf("got %q", d.lines)
		}
	})
}

func TestGraceEndsAndLeavesSomeToTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		c := make(chan os.Signal, 3)
		s := daemon.SignalsOn(t.Context(), c)
		defer s.Close()
		c <- syscall.SIGINT
		began := time.Now()
		err := s.Run(zap.NewNop(), 20*time.Second,
			&part{name: "worker", work: time.Hour, diary: &d}, &part{name: "delivery", work: 2 * time.Second, diary: &d})
		if err != nil {
			t.Error(err)
		}
		want := []string{"worker drains", "worker handed back", "worker ended", "delivery drains", "delivery finished", "delivery ended"}
		if !slices.Equal(d.lines, want) {
			t.Errorf("got %q", d.lines)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		c := make(chan os.Signal, 3)
		s := daemon.SignalsOn(t.Context(), c)
		defer s.Close()
		c <- syscall.SIGTERM
		time.AfterFunc(time.Second, func() { c <- syscall.SIGTERM })
		began := time.Now()
		err := s.Run(zap.NewNop(), 20*time.Second, &part{name: "worker", work: time.Hour, diary: &d}, &part{name: "b", work: time.Hour, diary: &d})
		if err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestThirdSignalGivesUpWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		c := make(chan os.Signal, 3)
		s := daemon.SignalsOn(t.Context(), c)
		defer s.Close()
		stuck := make(chan struct{})
		defer close(stuck)
		for range 3 {
			c <- syscall.SIGTERM
		}
		err := s.Run(zap.NewNop(), 20*time.Second, daemon.Named("worker", &part{stuck: stuck, diary: &d}))
		if err == nil || !strings.Contains(err.Error(), "worker") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAPartThatEndsStopsTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		s := daemon.SignalsOn(t.Context(), make(chan os.Signal))
		defer s.Close()
		boom := errors.New("boom")
		fail := make(chan error, 1)
		fail <- boom
		err := s.Run(zap.NewNop(), time.Second,
			&part{name: "a", diary: &d}, daemon.Named("b", &part{name: "b", work: time.Hour, fail: fail, diary: &d}))
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "b: ") {
			t.Errorf("got %v", err)
		}
		if !slices.Contains(d.lines, "a finished") {
			t.Errorf("a was not drained: %q", d.lines)
		}
		if s.Context().Err() == nil {
			t.Error("the context of the process lives on")
		}
	})
}

func TestRealSignal(t *testing.T) {
	var d diary
	s := daemon.NotifySignals(t.Context())
	defer s.Close()
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	if err := s.Run(zap.NewNop(), time.Second, &part{name: "a", diary: &d}); err != nil {
		t.Error(err)
	}
}
