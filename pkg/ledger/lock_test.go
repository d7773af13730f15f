package ledger

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// flaky fails a number of scripts, all while it is down, and counts them.
type flaky struct {
	redis.UniversalClient
	down    atomic.Bool
	failing atomic.Int64
	seen    atomic.Int64
}

func (f *flaky) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	f.seen.Add(1)
	if f.down.Load() || f.failing.Add(-1) >= 0 {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(os.ErrDeadlineExceeded)
		return cmd
	}
	return f.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// lively is a house whose locks are renewed by themselves, with a TTL short enough to watch and long enough for a
// busy machine.
func lively(t *testing.T) (*house, *flaky) {
	h := newHouse(t, Config{TTL: 4 * time.Second})
	f := &flaky{UniversalClient: h.env.Client}
	h.rdb, h.idle = f, false
	return h, f
}

func ended(t *testing.T, hold *Hold, cause error) {
	t.Helper()
	select {
	case <-hold.Context().Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the hold does not end")
	}
	if err := context.Cause(hold.Context()); !errors.Is(err, cause) || fault.KindOf(err) != fault.Canceled {
		t.Fatalf("it ended with %v (%v), want %v", err, fault.KindOf(err), cause)
	}
	if err := hold.Trusted(); !errors.Is(err, cause) {
		t.Fatalf("trusted: %v", err)
	}
}

func TestLockIsRenewed(t *testing.T) {
	t.Parallel()
	h, f := lively(t)
	hold := h.acquire("a1", "j1")
	before := f.seen.Load()
	f.failing.Store(3)
	testenv.Eventually(t, 30*time.Second, "renewals, of which three fail", func() bool {
		if err := hold.Trusted(); err != nil {
			t.Fatal(err)
		}
		return f.seen.Load() > before+5
	})
	if _, busy := h.try("a2", "j2"); busy == nil {
		t.Fatal("another got the lock")
	}
	h.release(hold)
	ended(t, hold, ErrReleased)
	after := f.seen.Load()
	if hold, busy := h.try("a2", "j2"); busy != nil {
		t.Fatal(busy)
	} else {
		h.release(hold)
	}
	if n := f.seen.Load() - after; n > 3 {
		t.Fatalf("%d scripts after the release: somebody still renews", n)
	}
}

func TestTrustEndsWithoutRenewal(t *testing.T) {
	t.Parallel()
	h, f := lively(t)
	began := time.Now()
	hold := h.acquire("a1", "j1")
	f.down.Store(true)
	ended(t, hold, ErrUntrusted)
	if d := time.Since(began); d < h.cfg.TTL-h.cfg.Margin {
		t.Errorf("trust ended after %v, with a TTL of %v", d, h.cfg.TTL)
	}
	f.down.Store(false)
	_, _ = hold.Release(context.Background())
}

func TestTokenOfAnotherEndsTheHold(t *testing.T) {
	t.Parallel()
	h, _ := lively(t)
	hold := h.acquire("a1", "j1")
	h.ok(h.env.Client.HSet(context.Background(), h.slot.key("lock"), "token", "other").Err())
	ended(t, hold, ErrStale)
	if _, err := hold.Release(context.Background()); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	if n := h.env.Client.Exists(context.Background(), h.slot.key("lock")).Val(); n != 1 {
		t.Fatal("the release freed the lock of another")
	}
}

// A process that was stopped must not trust its lock at the first instruction after waking, before any timer
// or goroutine of it has run.
func TestSleeperDoesNotTrust(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	hold := h.acquire("a1", "j1")
	h.pass(h.cfg.TTL - h.cfg.Margin - time.Second)
	if err := hold.Trusted(); err != nil {
		t.Fatalf("within the window: %v", err)
	}
	h.pass(2 * time.Second)
	if err := hold.Trusted(); !errors.Is(err, ErrUntrusted) {
		t.Fatalf("after the window: %v", err)
	}
	if hold.Context().Err() != nil {
		t.Fatal("a timer ran: this shows nothing")
	}
	// The lock itself still stands: trust ends before it does.
	if _, busy := h.try("a2", "j2"); busy == nil {
		t.Fatal("another got the lock while it stood")
	}
}

// Trust counts from the start of an attempt: an answer that took long earns less.
func TestTrustCountsFromTheAttempt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	slow := &slowed{UniversalClient: h.env.Client, by: func() { h.pass(15 * time.Second) }}
	hold := h.acquire("a1", "j1")
	h.rdb = slow
	h.ok(hold.renew(context.Background()))
	want := h.cfg.TTL - h.cfg.Margin - 15*time.Second
	if left := hold.left(); left > want || left < want-5*time.Second {
		t.Fatalf("%v left, want %v", left, want)
	}
}

// slowed lets time pass behind each script, as if its answer were late.
type slowed struct {
	redis.UniversalClient
	by func()
}

func (s *slowed) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := s.UniversalClient.EvalSha(ctx, sha, keys, args...)
	s.by()
	return cmd
}

func TestHoldEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h, f := lively(t)
	ctx, cancel := context.WithCancel(context.Background())
	hold, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"})
	h.ok(err)
	cancel()
	ended(t, hold, context.Canceled)
	h.release(hold) // what is open is handed back all the same
	if _, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"}); fault.KindOf(err) != fault.Canceled {
		t.Fatalf("with an ended context: %v", err)
	}
	f.down.Store(true)
	_, err = h.Acquire(context.Background(), AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"})
	if fault.KindOf(err) != fault.Internal {
		t.Fatalf("without Redis: %v is %v", err, fault.KindOf(err))
	}
}

func TestBusyIsInUse(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.acquire("a1", "j1")
	_, err := h.Acquire(context.Background(), AcquireRequest{Slot: h.slot, Account: "a2", Job: "j2"})
	if fault.KindOf(err) != fault.InUse {
		t.Fatalf("%v is %v", err, fault.KindOf(err))
	}
	if _, err := h.Acquire(context.Background(), AcquireRequest{Slot: "a}b", Account: "a2"}); fault.KindOf(err) != fault.Internal {
		t.Fatalf("a slot that is none: %v", err)
	}
}
