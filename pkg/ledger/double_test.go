package ledger

import (
	"fmt"
	"testing"
	"time"
)

// claims asks for digest d with a lease, and says what the answer was.
func (h *house) claims(le *Lease, d string) Claimed {
	h.t.Helper()
	c, wait, err := h.Claim(ctx, le, []byte(d), time.Hour)
	h.ok(err)
	if (c == Undecided) != (wait > 0) {
		h.t.Errorf("%v after %v", c, wait)
	}
	return c
}

func (h *house) want(got, want Claimed, what string) {
	h.t.Helper()
	if got != want {
		h.t.Errorf("%s: %d, want %d", what, got, want)
	}
}

// A message is a double once another with its digest was accepted, and never before.
func TestDoubles(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.open("a1", "e1")
	first, second, other := h.deliver("a1", h.uid(1)), h.deliver("a1", h.uid(2)), h.deliver("a1", h.uid(3))
	h.want(h.claims(first, "d"), First, "the first")
	h.want(h.claims(first, "d"), First, "the same again")
	h.want(h.claims(second, "d"), Undecided, "another, while the first is handed over")
	h.want(h.claims(other, "e"), First, "another digest")
	h.ok(h.Own(ctx, first, []byte("d"), time.Hour))
	h.want(h.claims(second, "d"), Double, "another, after the first was accepted")
	h.commit(first)
	h.want(h.claims(second, "d"), Double, "another, after the first is collected")
	h.pass(time.Minute)
	h.commit(second)
	third := h.deliver("a1", h.uid(4))
	h.want(h.claims(third, "d"), Double, "a third")
	h.pass(time.Hour)
	h.want(h.claims(third, "d"), First, "after the window")
}

// What died, was given back, deferred or parked hinders nobody; what was accepted and not committed is no double of itself.
func TestDoublesOfWhatWasNotAccepted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	hold := h.open("a1", "e1")
	for i, end := range map[int]func(le *Lease){
		1: func(le *Lease) { h.ok(h.Return(ctx, le)) },
		2: func(le *Lease) { h.ok(h.Defer(ctx, le, time.Hour)) },
		3: func(le *Lease) { h.ok(h.Park(ctx, le)) },
		4: func(*Lease) { h.pass(time.Minute) }, // its delivery died
	} {
		d := fmt.Sprint("d", i)
		first := h.deliver("a1", h.uid(10*i))
		h.want(h.claims(first, d), First, "the first")
		end(first)
		second := h.deliver("a1", h.uid(10*i+1))
		h.want(h.claims(second, d), First, fmt.Sprint("another after ", i))
		h.ok(h.Own(ctx, second, []byte(d), time.Hour))
	}
	// accepted, and then its delivery died: it is no double of itself
	first := h.deliver("a1", h.uid(50))
	h.want(h.claims(first, "d5"), First, "the first")
	h.ok(h.Own(ctx, first, []byte("d5"), time.Hour))
	h.pass(time.Minute)
	h.want(h.claims(h.deliver("a1", h.uid(50)), "d5"), Accepted, "itself")
	// A reset asks for everything again.
	_, err := h.Reset(ctx, h.slot, "a1", "e2")
	h.ok(err)
	h.release(hold)
	h.want(h.claims(h.deliver("a1", h.uid(41)), "d4"), First, "after a reset")
}

// Doubles are bounded, end by themselves, and go with their account.
func TestDoublesAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.open("a1", "e1")
	le := h.deliver("a1", h.uid(1))
	key := h.slot.doublesKey("a1")
	for i := range 25 {
		if _, err := h.doubles(ctx, "claim", le, []byte(fmt.Sprintf("d%02d", i)), time.Hour+time.Duration(i)*time.Second, 10); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := h.rdb.HKeys(ctx, key).Result()
	h.ok(err)
	for _, d := range kept {
		if d < "d15" {
			t.Errorf("%s was kept, of %q", d, kept)
		}
	}
	if len(kept) < 5 || len(kept) > 10 {
		t.Errorf("%d are kept: %q", len(kept), kept)
	}
	if ttl := h.rdb.PTTL(ctx, key).Val(); ttl <= 0 || ttl > 2*time.Hour {
		t.Errorf("they live for %v", ttl)
	}
	h.ok(h.Erase(ctx, h.slot, "a1"))
	if n := h.rdb.Exists(ctx, key).Val(); n != 0 {
		t.Error("they are left when the account is erased")
	}
	if _, _, err := h.Claim(ctx, le, []byte("d"), time.Hour); err == nil || h.rdb.Exists(ctx, key).Val() != 0 {
		t.Errorf("a claim for an account that is gone: %v", err)
	}
}
