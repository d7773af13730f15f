package delivery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/local"
)

var (
	errDown = fault.Errorf(fault.DestinationTemporary, "lmtp", "connection refused")
	begun   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func newTestBreaker() *breaker {
	return newBreaker(Config{Handlers: 8, RetryMin: 2 * time.Second, RetryMax: 10 * time.Second, Lease: 30 * time.Second})
}

// in asks for one hand-over and returns how it was answered: "in", "turn", or "blocked".
func in(b *breaker, now time.Time) string {
	turn, err := b.ask(now)
	switch {
	case turn != nil:
		return "turn"
	case err != nil && errors.As(err, new(*errBlocked)) && fault.KindOf(err) == fault.DestinationTemporary:
		return "blocked"
	case err != nil:
		return err.Error()
	}
	return "in"
}

func TestBreakerTriesOneAtATimeWithGrowingPauses(t *testing.T) {
	t.Parallel()
	b, now := newTestBreaker(), begun
	want := func(what string, at time.Time) {
		t.Helper()
		if got := in(b, at); got != what {
			t.Fatalf("%v: %s, want %s", at.Sub(begun), got, what)
		}
	}
	for range opens {
		want("in", now)
	}
	for range opens {
		b.leave(now, errDown)
	}
	for _, pause := range []time.Duration{2, 4, 8, 10, 10} {
		pause *= time.Second
		want("blocked", now)
		want("blocked", now.Add(pause-time.Millisecond))
		now = now.Add(pause)
		want("in", now)
		want("blocked", now) // while one tries
		b.leave(now, errDown)
	}
	now = now.Add(10 * time.Second)
	want("in", now)
	b.leave(now, fault.New(fault.Canceled, "deliver", ledger.ErrLeaseLost)) // says nothing
	want("in", now)
	b.leave(now, nil)
	if b.open() {
		t.Fatal("open after a success")
	}
	want("in", now)
	b.leave(now, errDown)
	want("in", now) // one failure is none
}

func TestSuccessesBetweenFailuresKeepABreakerClosed(t *testing.T) {
	t.Parallel()
	b := newTestBreaker()
	for i := range 100 {
		if got := in(b, begun); got != "in" {
			t.Fatal(i, got)
		}
		var err error
		if i%3 > 0 {
			err = errDown
		}
		b.leave(begun, err)
	}
}

func TestHungDestinationTakesNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	b := newTestBreaker()
	for range 4 {
		if got := in(b, begun); got != "in" {
			t.Fatal(got)
		}
	}
	if got := in(b, begun.Add(time.Second)); got != "turn" {
		t.Fatal("a busy destination:", got)
	}
	turn, _ := b.ask(begun.Add(time.Second))
	b.leave(begun.Add(time.Second), nil)
	<-turn
	if got := in(b, begun.Add(time.Second)); got != "in" {
		t.Fatal("after its turn came:", got)
	}
	if got := in(b, begun.Add(2500*time.Millisecond)); got != "turn" {
		t.Fatal("a destination that moves:", got)
	}
	if got := in(b, begun.Add(3*time.Second)); got != "blocked" {
		t.Fatal("a destination that hangs:", got)
	}
}

func TestWaitingAccounts(t *testing.T) {
	t.Parallel()
	b := newTestBreaker()
	w := waiting{m: map[string]wait{}}
	if !w.set("a", wait{b, begun.Add(time.Second)}) || w.set("a", wait{b, begun.Add(2 * time.Second)}) {
		t.Error("set does not tell news")
	}
	if by, got := w.left("a", begun); by != b || got != 2*time.Second {
		t.Error(by, got)
	}
	for account, at := range map[string]time.Time{"b": begun, "a": begun.Add(2 * time.Second)} {
		if by, got := w.left(account, at); by != nil || got > 0 {
			t.Error(account, "waits without a reason")
		}
	}
	if len(w.m) != 0 {
		t.Error("accounts are kept that do not wait")
	}
}

// However many messages are blocked, comebacks of them come back in a second, those of a beat together.
func TestBlockedMessagesComeBackInTurn(t *testing.T) {
	t.Parallel()
	b := newTestBreaker()
	perSecond := map[int]int{}
	for range 10 * comebacks {
		w := b.back(begun, 2*time.Second)
		if at := begun.Add(w); w < 2*time.Second || w > 10*time.Second+beat || !at.Equal(at.Truncate(beat)) {
			t.Fatal(w)
		}
		perSecond[int(w/time.Second)]++
	}
	if len(perSecond) < 8 || perSecond[9] > comebacks+comebacks/10 {
		t.Error(perSecond)
	}
	if w := b.back(begun.Add(time.Minute), time.Second); w > 1500*time.Millisecond+beat {
		t.Error("what was blocked long ago holds others up:", w)
	}
}

// A connection that broke under several hand-overs is one failure.
func TestBreakerCountsASharedFailureOnce(t *testing.T) {
	t.Parallel()
	b := newTestBreaker()
	for n := range 4 {
		if got := in(b, begun); got != "in" {
			t.Fatal(got)
		}
		b.leave(begun, fmt.Errorf("lmtp: %w", &local.UncertainError{Err: errDown, Shared: n > 0}))
	}
	if b.open() {
		t.Error("it is open")
	}
}
