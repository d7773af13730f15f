package ledger

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

func doomEverybody(h *house) error {
	one := h.open("a1", "e1")
	h.collect("a1", h.uid(1), h.uid(2), h.uid(3), h.uid(4))
	h.release(one)
	two := h.open("a2", "e9")
	h.collect("a2", h.uid(1))
	h.ok(two.Skip(ctx, []Item{{h.uid(3), 10}}))
	// Under the same unique-id the other account has another message.
	le := h.deliver("a2", h.uid(4))
	le.Listed = 11
	h.commit(le)
	h.release(two)
	one = h.again(one)
	doomed := []Doomed{{h.uid(1), 10, nil}, {h.uid(2), 10, nil}, {h.uid(3), 10, nil}, {h.uid(4), 10, nil}, {h.uid(5), 10, nil}}
	allowed, err := one.Doom(ctx, doomed)
	h.ok(err)
	if !slices.Equal(allowed, []Key{h.uid(1)}) {
		return broken("allowed %v", allowed)
	}
	h.ok(h.Withdraw(ctx, h.slot, "a2"))
	allowed, err = one.Doom(ctx, doomed)
	h.ok(err)
	if err := is("allowed without the other", len(allowed), 4); err != nil {
		return err
	}
	h.release(one)
	two = h.again(two)
	return is("deleting for the other too", two.Index().State(h.uid(1)), StateDeleting)
}

func doomEnrolled(h *house) error {
	hold := h.acquire("a1", "j")
	h.ok(hold.OpenEpoch(ctx, "e1"))
	h.collect("a1", h.uid(1))
	_, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1)}})
	if err := isErr("not enrolled", err, ErrNotEnrolled); err != nil {
		return err
	}
	h.ok(h.Enroll(ctx, h.slot, "a1"))
	if allowed, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1)}}); err != nil || len(allowed) != 1 {
		return broken("enrolled: %v, %v", allowed, err)
	}
	// An account that comes after the others were read is seen by the script.
	h.ok(h.Enroll(ctx, h.slot, "a2"))
	_, known, err := hold.doom(ctx, []Doomed{{Key: h.uid(1)}}, nil)
	if err != nil || known {
		return fmt.Errorf("a new account: known %v, %w", known, err)
	}
	allowed, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1)}})
	h.ok(err)
	return is("allowed with a new account", len(allowed), 0)
}

// doomed brings a collected key of 10 octets to deleting.
func (h *house) doomed(hold *Hold, k Key) {
	h.t.Helper()
	h.collect(hold.req.Account, k)
	allowed, err := hold.Doom(ctx, []Doomed{{Key: k, Listed: 10}})
	h.ok(err)
	h.ok(is("allowed", len(allowed), 1))
	h.reload(hold)
}

func seenGone(h *house) error {
	hold := h.open("a1", "e1")
	h.doomed(hold, h.uid(1))
	h.ok(hold.Seen(ctx, nil))
	if err := is("a listing that is not complete", h.state(hold, h.uid(1)), StateDeleting); err != nil {
		return err
	}
	h.ok(hold.Seen(ctx, []Item{{h.uid(1), 10}}, Maildrop))
	if err := is("listed again", h.state(hold, h.uid(1)), StateDeleting); err != nil {
		return err
	}
	h.ok(hold.Seen(ctx, nil, Maildrop))
	if err := is("gone", h.state(hold, h.uid(1)), StateNew); err != nil {
		return err
	}
	if c := hold.Index().Counts(); c.Collected+c.Deleting != 0 {
		return broken("%+v", c)
	}
	h.pass(h.cfg.Ghost + time.Second)
	hold = h.again(hold)
	h.ok(hold.Seen(ctx, nil, Maildrop))
	n, err := h.rdb.HLen(ctx, h.slot.accountKeys("a1")[4]).Result()
	h.ok(err)
	return is("ghosts left", n, 0)
}

func seenOtherSize(h *house) error {
	hold := h.open("a1", "e1")
	h.doomed(hold, h.uid(1))
	h.ok(hold.Seen(ctx, []Item{{h.uid(1), 11}}, Maildrop))
	if err := is("state", h.state(hold, h.uid(1)), StateNew); err != nil {
		return err
	}
	return is("mark", h.mark(hold, h.uid(1), 11), Marked)
}

func seenVanished(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1), h.uid(2))
	h.ok(hold.Skip(ctx, []Item{{h.uid(3), 10}}))
	listing := func(items ...Item) {
		hold = h.again(hold)
		h.ok(hold.Seen(ctx, items, Maildrop))
	}
	for range 5 { // often, but not for long
		listing(Item{h.uid(2), 10})
	}
	if err := is("within the grace", h.state(hold, h.uid(1)), StateCollected); err != nil {
		return err
	}
	listing(Item{h.uid(1), 10}, Item{h.uid(2), 10}) // it is back: all begins anew
	h.pass(h.cfg.Grace)
	listing(Item{h.uid(2), 10})
	h.pass(h.cfg.Grace + time.Minute)
	listing(Item{h.uid(2), 10})
	if err := is("after two listings", h.state(hold, h.uid(1)), StateCollected); err != nil {
		return err
	}
	listing(Item{h.uid(2), 10})
	for i, want := range []State{StateNew, StateCollected, StateSkipped} {
		if err := is(fmt.Sprint("in the end ", i+1), h.state(hold, h.uid(i+1)), want); err != nil {
			return err
		}
	}
	return nil
}

func reusedIsNew(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	if size, _ := hold.Index().Listed(h.uid(1)); size != 0 {
		return broken("the snapshot changed: %d", size)
	}
	size, ok := h.reload(hold).Listed(h.uid(1))
	if err := is("listed size", size, FoldSize(10)); err != nil || !ok {
		return errors.Join(err, errors.New("not listed"))
	}
	h.ok(hold.Reused(ctx, []Key{h.uid(1), h.uid(2)}))
	if err := is("state", h.state(hold, h.uid(1)), StateNew); err != nil {
		return err
	}
	if err := is("a late copy", h.take("a1", h.uid(1)).Verdict, Repeat); err != nil {
		return err
	}
	return is("mark", h.mark(hold, h.uid(1), 12), Marked)
}

func deferredInTime(h *house) error {
	hold := h.open("a1", "e1")
	h.ok(h.Defer(ctx, h.deliver("a1", h.uid(1)), 10*time.Second))
	if err := is("at once", h.state(hold, h.uid(1)), StateDeferred); err != nil {
		return err
	}
	h.pass(11 * time.Second)
	if err := is("in time", h.state(hold, h.uid(1)), StateNew); err != nil {
		return err
	}
	if err := is("deferred", hold.Index().Counts().Deferred, 0); err != nil {
		return err
	}
	h.ok(hold.Seen(ctx, nil, Maildrop))
	n, err := h.rdb.HLen(ctx, h.slot.accountKeys("a1")[4]).Result()
	h.ok(err)
	return is("kept though it is gone", n, 0)
}

func resumeDeferred(h *house) error {
	hold := h.open("a1", "e1")
	le := h.deliver("a1", h.uid(1))
	h.ok(h.Pause(ctx, le, Pause{Reason: "full"}, time.Hour))
	h.ok(h.Record(ctx, le, nil, []string{"bob"}))
	h.ok(h.Defer(ctx, le, time.Hour))
	for i := 100; i < 100+maxBatch; i++ { // a second batch
		h.ok(h.Defer(ctx, h.deliver("a1", h.uid(i)), time.Hour))
	}
	h.park("a1", h.uid(2))
	h.collect("a1", h.uid(3))
	h.reload(hold)
	if _, paused := hold.Index().Pause(); !paused {
		return broken("not paused")
	}
	h.ok(hold.Resume(ctx))
	ix := h.reload(hold)
	if _, paused := ix.Pause(); paused {
		return broken("still paused")
	}
	if err := is("deferred", ix.Counts().Deferred, 0); err != nil {
		return err
	}
	for i, want := range []State{StateNew, StateParked, StateCollected} {
		if err := is(fmt.Sprint("state of ", i+1), ix.State(h.uid(i+1)), want); err != nil {
			return err
		}
	}
	if err := is("mark", h.mark(hold, h.uid(1), 10), Marked); err != nil {
		return err
	}
	m, _ := h.reload(hold).Mark(h.uid(1))
	return is("served", fmt.Sprint(m.Served), "[bob]")
}

func retryParked(h *house) error {
	hold := h.open("a1", "e1")
	retry := func(i int) UnparkResult {
		res, err := h.Retry(ctx, h.slot, "a1", h.uid(i), 10, 10)
		h.ok(err)
		return res
	}
	h.collect("a1", h.uid(1))
	h.mark(hold, h.uid(2), 10)
	h.park("a1", h.uid(3))
	h.park("a1", h.uid(4))
	for i, want := range []UnparkResult{RetryCollected, RetryInFlight, RetryMarked} {
		if err := is(fmt.Sprint("retry ", i+1), retry(i+1), want); err != nil {
			return err
		}
	}
	if err := is("again", retry(3), RetryInFlight); err != nil {
		return err
	}
	if err := is("unknown", retry(5), NotParked); err != nil {
		return err
	}
	h.collect("a1", h.uid(3))
	if err := is("state", h.state(hold, h.uid(3)), StateCollected); err != nil {
		return err
	}
	for _, want := range []UnparkResult{Unparked, NotParked} {
		res, err := h.Unpark(ctx, h.slot, "a1", h.uid(4))
		h.ok(err)
		if err := is("unpark", res, want); err != nil {
			return err
		}
	}
	return is("state", h.state(hold, h.uid(4)), StateNew)
}
