package ledger

import (
	"errors"
	"fmt"
	"time"
)

func resetForgets(h *house) error {
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 300, func(i int) Key { return h.uid(i) })
	h.park("a1", h.uid(1000))
	h.mark(hold, h.uid(1001), 10)
	for _, want := range []int{300, 0} {
		n, err := h.Reset(ctx, h.slot, "a1", "e2")
		h.ok(err)
		if err := is("forgotten", n, want); err != nil {
			return err
		}
	}
	_, err := hold.Mark(ctx, []MarkRequest{{Key: h.uid(1)}})
	if err := isErr("the run that was on", err, ErrStale); err != nil {
		return err
	}
	if err := isErr("its renewal", hold.renew(ctx), ErrStale); err != nil {
		return err
	}
	if err := isErr("its trust", hold.Trusted(), ErrStale); err != nil {
		return err
	}
	hold = h.again(hold)
	if c := hold.Index().Counts(); c != (Counts{Marked: 1, Epoch: "e2"}) {
		return broken("%+v", c)
	}
	return is("mark of the old epoch", h.mark(hold, h.uid(1001), 10), Marked)
}

func moveTakesAll(h *house) error {
	to := SlotOf("pop3", "pop2.example.net", 110, "alice")
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 300, func(i int) Key { return h.uid(i) })
	h.park("a1", h.uid(1000))
	le := h.deliver("a1", h.uid(1001))
	before := h.reload(hold).Counts()
	for range 2 {
		h.ok(h.Copy(ctx, h.slot, to, "a1"))
	}
	if err := isErr("the run that was on", hold.Finish(ctx), ErrStale); err != nil {
		return err
	}
	taken := h.take("a1", h.uid(2000))
	if taken.Verdict != Moved || taken.Slot != to {
		return broken("take: %v to %q", taken.Verdict, taken.Slot)
	}
	var moved *MovedError
	if _, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"}); !errors.As(err, &moved) || moved.To != to || moved.Moving {
		return broken("acquire: %v", err)
	}
	h.ok(h.Renew(ctx, le)) // follows
	if err := is("commit follows", h.commit(le), true); err != nil {
		return err
	}
	if err := is("slot of the lease", le.Slot(), to); err != nil {
		return err
	}
	c, err := h.State(ctx, to, "a1")
	h.ok(err)
	before.Collected, before.Marked = before.Collected+1, 0
	if err := is("counts", c, before); err != nil {
		return err
	}
	h.ok(h.Copy(ctx, to, h.slot, "a1"))
	hold = h.again(hold)
	if err := is("there and back", hold.Index().Counts().Collected, 301); err != nil {
		return err
	}
	if _, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1)}}); err != nil {
		return fmt.Errorf("enrolment did not move along: %w", err)
	}
	return nil
}

func moveBrokenOff(h *house) error {
	to := SlotOf("pop3", "pop2.example.net", 110, "alice")
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	le := h.deliver("a1", h.uid(2))
	h.release(hold)
	_, err := h.adminAt(ctx, "export", h.slot, "a1", "a1", string(to), "n1", 60000, "", "")
	h.ok(err)
	var moved *MovedError
	if _, err := h.Commit(ctx, le); !errors.As(err, &moved) || !moved.Moving {
		return broken("a commit in the middle of a move: %v", err)
	}
	if err := is("take", h.take("a1", h.uid(3)).Verdict, NoEpoch); err != nil {
		return err
	}
	if _, err := h.Reset(ctx, h.slot, "a1", "e2"); !errors.As(err, &moved) {
		return broken("a reset in the middle of a move: %v", err)
	}
	h.ok(h.Reclaim(ctx, h.slot, "a1"))
	if err := is("commit", h.commit(le), true); err != nil {
		return err
	}
	hold = h.acquire("a1", "j2")
	return is("collected", hold.Index().Counts().Collected, 2)
}

func emptyMoveBrokenOff(h *house) error {
	to := SlotOf("pop3", "pop2.example.net", 110, "alice")
	h.release(h.acquire("a1", "j1"))
	h.ok(h.Copy(ctx, h.slot, to, "a1"))
	there, err := h.site(ctx, h.slot, "a1")
	h.ok(err)
	if err := is("signpost", there.moved, to); err != nil {
		return err
	}
	_, err = h.adminAt(ctx, "export", to, "a1", "a1", string(h.slot), "n1", 60000, "", "")
	h.ok(err)
	if _, err := h.Reset(ctx, h.slot, "a1", "e2"); err != nil {
		return broken("signposts in a circle: %v", err)
	}
	return is("epoch", h.acquire("a1", "j2").Epoch(), "e2")
}

func eraseIsGone(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	le := h.deliver("a1", h.uid(2))
	h.ok(h.Erase(ctx, h.slot, "a1"))
	h.ok(h.Erase(ctx, h.slot, "a1"))
	if err := is("take", h.take("a1", h.uid(3)).Verdict, Gone); err != nil {
		return err
	}
	if err := is("commit", h.commit(le), false); err != nil {
		return err
	}
	if err := isErr("renew", h.Renew(ctx, le), ErrLeaseLost); err != nil {
		return err
	}
	if err := isErr("the run that was on", hold.Finish(ctx), ErrStale); err != nil {
		return err
	}
	h.release(hold)
	_, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"})
	if err := isErr("acquire", err, ErrGone); err != nil {
		return err
	}
	h.ok(h.Enroll(ctx, h.slot, "a1")) // told of late: nobody waits for it
	keys, err := h.rdb.Keys(ctx, h.slot.key("*")).Result()
	h.ok(err)
	return is("keys left", fmt.Sprint(keys), fmt.Sprint([]string{h.slot.key("a1:meta")}))
}

func wrongKeyRefused(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	le := h.deliver("a1", h.uid(2))
	h.release(hold)
	h.cfg.KeyID = NewKeyer([]byte("another")).ID()
	_, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: "a1", Job: "j"})
	_, err2 := h.Take(ctx, TakeRequest{Slot: h.slot, Account: "a1", Key: h.uid(3)})
	_, err3 := h.Commit(ctx, le)
	_, err4 := h.State(ctx, h.slot, "a1")
	for _, err := range []error{err, err2, err3, err4} {
		if err := isErr("with another key", err, ErrWrongKey); err != nil {
			return err
		}
	}
	n, err := h.rdb.Exists(ctx, h.slot.key("lock")).Result()
	h.ok(err)
	return is("locks taken", n, 0)
}

func countsAreRight(h *house) error {
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 200, func(i int) Key { return h.uid(i) })
	for i := 200; i < 400; i += 50 {
		h.ok(hold.Skip(ctx, []Item{{h.uid(i), 1}}))
	}
	h.park("a1", h.uid(1000))
	h.ok(h.Defer(ctx, h.deliver("a1", h.uid(1001)), time.Minute))
	h.mark(hold, h.uid(1002), 10)
	h.doomed(hold, h.uid(1003))
	want := Counts{Collected: 201, Skipped: 4, Parked: 1, Deferred: 1, Deleting: 1, Marked: 1, Epoch: "e1"}
	if err := is("of the index", h.reload(hold).Counts(), want); err != nil {
		return err
	}
	want.Job = "job-a1"
	got, err := h.State(ctx, h.slot, "a1")
	h.ok(err)
	return is("without the index", got, want)
}

func batchesAreCut(h *house) error {
	hold := h.open("a1", "e1")
	const n = 2*maxBatch + 50
	var reqs []MarkRequest
	var keys []Key
	var items []Item
	var doomed []Doomed
	for i := range n {
		k := h.uid(i)
		keys, items = append(keys, k), append(items, Item{k, 10})
		reqs, doomed = append(reqs, MarkRequest{Key: k, Size: 10, Listed: 10}), append(doomed, Doomed{Key: k, Listed: 10})
	}
	res, err := hold.Mark(ctx, reqs)
	h.ok(err)
	for i, r := range res {
		if err := is(fmt.Sprint("mark ", i), r, Marked); err != nil {
			return err
		}
	}
	if err := is("marks", h.reload(hold).Counts().Marked, n); err != nil {
		return err
	}
	h.ok(hold.Unmark(ctx, keys))
	h.commitAll("a1", "e1", n, h.uid)
	allowed, err := hold.Doom(ctx, doomed)
	h.ok(err)
	if err := is("doomed", len(allowed), n); err != nil {
		return err
	}
	h.reload(hold)
	h.ok(hold.Seen(ctx, nil, Maildrop))
	if c := h.reload(hold).Counts(); c.Collected+c.Deleting != 0 {
		return broken("%+v", c)
	}
	h.ok(hold.Skip(ctx, items))
	return is("skipped", h.reload(hold).Counts().Skipped, n)
}

func damagedMark(h *house) error {
	hold := h.open("a1", "e1")
	h.ok(h.rdb.HSet(ctx, h.slot.accountKeys("a1")[5], h.uid(1).raw(), "what is this", h.uid(2).raw(), "\n\n").Err())
	if err := is("mark", h.mark(hold, h.uid(1), 10), Marked); err != nil {
		return err
	}
	return is("take", h.take("a1", h.uid(2)).Verdict, Deliver)
}
