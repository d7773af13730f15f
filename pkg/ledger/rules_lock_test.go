package ledger

import (
	"errors"
	"fmt"
	"time"
)

// try asks for the lock of the mailbox.
func (h *house) try(account, job string) (*Hold, *BusyError) {
	h.t.Helper()
	hold, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: account, Job: job, Owner: "w"})
	var busy *BusyError
	if err != nil && !errors.As(err, &busy) {
		h.t.Fatal(err)
	}
	return hold, busy
}

func staleRefused(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	writes := func() map[string]error {
		_, mark := hold.Mark(ctx, []MarkRequest{{Key: h.uid(9), Size: 1}})
		_, doom := hold.Doom(ctx, []Doomed{{Key: h.uid(1)}})
		_, reload := hold.Reload(ctx)
		_, again := hold.Again(ctx)
		_, watch := hold.Watch(ctx)
		return map[string]error{"mark": mark, "unmark": hold.Unmark(ctx, []Key{h.uid(9)}), "doom": doom, "reload": reload,
			"skip": hold.Skip(ctx, []Item{{Key: h.uid(9)}}), "seen": hold.Seen(ctx, nil, Maildrop), "again": again,
			"open": hold.OpenEpoch(ctx, "e3"), "finish": hold.Finish(ctx), "resume": hold.Resume(ctx), "watch": watch, "renew": hold.renew(ctx), "reused": hold.Reused(ctx, []Key{h.uid(1)})}
	}
	h.reload(hold)
	h.pass(h.cfg.TTL + time.Second)
	for what, err := range writes() {
		if err := isErr(what+" after the lock ran out", err, ErrStale); err != nil {
			return err
		}
	}
	other := h.acquire("a1", "j2")
	for what, err := range writes() {
		if err := isErr(what+" while another holds the lock", err, ErrStale); err != nil {
			return err
		}
	}
	h.ok(other.Finish(ctx))
	c := h.reload(other).Counts()
	return is("what was written", c, Counts{Collected: 1, Epoch: "e1"})
}

func startsCounted(h *house) error {
	for i := 1; i <= 3; i++ {
		hold := h.acquire("a1", "j1")
		if err := is("starts", hold.Starts(), i); err != nil {
			return err
		}
		if _, busy := h.try("a1", "j1"); busy == nil { // counts nothing
			return errors.New("two have the lock")
		}
		h.release(hold)
	}
	hold := h.acquire("a1", "j1")
	h.ok(hold.Finish(ctx))
	h.release(hold)
	hold = h.acquire("a1", "j1")
	if err := is("after a finish", hold.Starts(), 1); err != nil {
		return err
	}
	_, err := hold.Done(ctx)
	h.ok(err)
	if err := is("after it was done", h.acquire("a1", "j1").Starts(), 1); err != nil {
		return err
	}
	h.pass(h.cfg.TTL + time.Second)
	return is("of another job", h.acquire("a1", "j2").Starts(), 1)
}

func waitersInOrder(h *house) error {
	hold := h.acquire("a1", "j1")
	for i, a := range []string{"a2", "a3"} {
		_, busy := h.try(a, "j")
		if busy == nil || busy.Same || busy.Queued || busy.Account != "a1" || busy.Job != "j1" || busy.TTL <= 0 || busy.TTL > h.cfg.TTL {
			return broken("waiter %d: %+v", i, busy)
		}
		h.pass(2 * time.Second)
	}
	h.release(hold)
	for _, a := range []string{"a3", "a1"} {
		if _, busy := h.try(a, "j"); busy == nil || !busy.Queued || busy.Account != "a2" {
			return broken("%s before the one that waits longest: %+v", a, busy)
		}
		h.pass(2 * time.Second)
	}
	h.pass(50 * time.Second)
	if _, busy := h.try("a2", "j"); busy != nil { // it keeps its place for a minute after its last try
		return broken("the one that waits longest: %+v", busy)
	}
	h.pass(h.cfg.TTL + h.cfg.Waiter)
	// All others are dead by now: nobody waits for them.
	if _, busy := h.try("a1", "j"); busy != nil {
		return broken("behind dead waiters: %+v", busy)
	}
	return nil
}

// testLooks tests an account while a run of it goes on, and runs it while a test goes on.
func testLooks(h *house) error {
	test := func(account string) (*Hold, *BusyError) {
		hold, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: account, Job: "t", Owner: "w", Test: true})
		var busy *BusyError
		if err != nil && !errors.As(err, &busy) {
			h.t.Fatal(err)
		}
		return hold, busy
	}
	run := h.open("a1", "e1")
	for _, a := range []string{"a1", "new"} {
		if _, busy := test(a); busy == nil || busy.Same != (a == "a1") || busy.Since.IsZero() == busy.Same {
			return broken("a test of %s during a run: %+v", a, busy)
		}
	}
	if again, err := run.Release(ctx); err != nil || again {
		return fmt.Errorf("a test has the run repeat: %v %w", again, err)
	}
	run, busy := h.try("a1", "j1")
	if busy != nil {
		return broken("a run after a test that found the mailbox in use: %+v", busy)
	}
	starts := run.Starts()
	h.release(run)
	hold, busy := test("a1")
	if busy != nil || hold.Epoch() != "e1" || hold.Trusted() != nil {
		return broken("a test of a free mailbox: %+v", busy)
	}
	if _, busy = h.try("a1", "j1"); busy == nil || busy.Same {
		return broken("a run during a test: %+v", busy) // it waits, for it would be lost otherwise
	}
	h.release(hold)
	if _, busy = test("a2"); busy == nil || !busy.Queued {
		return broken("a test before a run that waits: %+v", busy)
	}
	if hold, busy = test("a1"); busy != nil {
		return broken("a test of the account that waits: %+v", busy)
	}
	h.release(hold)
	if _, busy = h.try("a3", "j"); busy == nil || !busy.Queued {
		return broken("a run before one that waits, after a test of it: %+v", busy)
	}
	run, _ = h.try("a1", "j1")
	if err := is("starts", run.Starts(), starts+1); err != nil {
		return err
	}
	keys, err := h.rdb.Keys(ctx, "*new*").Result()
	h.ok(err)
	return is("keys of an account that was only tested", len(keys), 0)
}

func againIsSet(h *house) error {
	hold := h.acquire("a1", "j1")
	if again, err := hold.Again(ctx); err != nil || again {
		return fmt.Errorf("again %v, %w", again, err)
	}
	if _, busy := h.try("a1", "j2"); busy == nil || !busy.Same || busy.Job != "j1" {
		return broken("%+v", busy)
	}
	for _, want := range []bool{true, false} {
		again, err := hold.Again(ctx)
		h.ok(err)
		if err := is("again", again, want); err != nil {
			return err
		}
	}
	_, _ = h.try("a1", "j3")
	again, err := hold.Release(ctx)
	h.ok(err)
	if err := is("again at the release", again, true); err != nil {
		return err
	}
	hold = h.acquire("a1", "j3")
	again, err = hold.Release(ctx)
	h.ok(err)
	return is("again of a new lock", again, false)
}

func locksOfAccounts(h *house) error {
	one := func(account string) error {
		hold, err := h.Acquire(ctx, AcquireRequest{Slot: h.slot, Account: account, Job: "j", PerAccount: true})
		if err == nil {
			h.t.Cleanup(func() { _, _ = hold.Release(ctx) })
			err = hold.OpenEpoch(ctx, "e1")
		}
		return err
	}
	if err := errors.Join(one("a1"), one("a2")); err != nil {
		return err
	}
	var busy *BusyError
	if err := one("a1"); !errors.As(err, &busy) || !busy.Same {
		return broken("the same account twice: %v", err)
	}
	c, err := h.State(ctx, h.slot, "a1")
	h.ok(err)
	return is("job", c.Job, "j")
}

func staleRelease(h *house) error {
	first := h.acquire("a1", "j1")
	h.pass(h.cfg.TTL + time.Second)
	second := h.acquire("a1", "j2")
	_, err := first.Release(ctx)
	if err := isErr("release of the old one", err, ErrStale); err != nil {
		return err
	}
	if err := second.renew(ctx); err != nil {
		return fmt.Errorf("the new one lost its lock: %w", err)
	}
	h.release(second)
	_, err = second.Release(ctx)
	return isErr("release twice", err, ErrStale)
}

// sentTwice runs a journey on a client that sends every script twice and keeps the second answer.
func sentTwice(h *house) error {
	for _, s := range h.scripts {
		h.ok(s.Load(ctx, h.rdb).Err())
	}
	h.rdb = &stutter{UniversalClient: h.env.Client, twice: func() bool { return true }}
	hold := h.open("a1", "e1")
	if err := is("starts", hold.Starts(), 1); err != nil {
		return err
	}
	if err := is("mark", h.mark(hold, h.uid(1), 10), Marked); err != nil {
		return err
	}
	m, _ := h.reload(hold).Mark(h.uid(1))
	if err := is("attempts", m.Attempts, 1); err != nil {
		return err
	}
	taken := h.take("a1", h.uid(1))
	if err := is("take", fmt.Sprint(taken.Verdict, taken.Attempts), "deliver 1"); err != nil {
		return err
	}
	h.ok(h.Renew(ctx, taken.Lease))
	h.ok(h.Record(ctx, taken.Lease, []byte("r"), []string{"bob"}))
	_, err := h.Commit(ctx, taken.Lease)
	h.ok(err)
	if err := is("counts", h.reload(hold).Counts(), Counts{Collected: 1, Epoch: "e1"}); err != nil {
		return err
	}
	if err := is("take of another", h.take("a1", h.uid(2)).Verdict, Deliver); err != nil {
		return err
	}
	h.ok(hold.Finish(ctx))
	_, err = h.Reset(ctx, h.slot, "a1", "e2")
	h.ok(err)
	to := SlotOf("imap", "x", 1, "y")
	h.ok(h.Copy(ctx, h.slot, to, "a1"))
	c, err := h.State(ctx, to, "a1")
	h.ok(err)
	return is("after the move", c, Counts{Marked: 1, Epoch: "e2"})
}

func flagRunsOut(h *house) error {
	h.acquire("a1", "j1")
	_, _ = h.try("a1", "j2") // sets again for a holder that died
	h.pass(h.cfg.TTL + time.Second)
	again, err := h.acquire("a1", "j2").Again(ctx)
	h.ok(err)
	return is("again of the next holder", again, false)
}

func watcherYields(h *house) error {
	hold := h.acquire("a1", "j1")
	if _, busy := h.try("a1", "j2"); busy == nil || !busy.Same || busy.Watched {
		return broken("a run is no watcher: %v", busy)
	}
	kept, err := hold.Watch(ctx)
	h.ok(err)
	if err := is("watches although a run was asked for", kept, false); err != nil {
		return err
	}
	_, err = hold.Again(ctx)
	h.ok(err)
	kept, err = hold.Watch(ctx)
	h.ok(err)
	if err := is("watches", kept, true); err != nil {
		return err
	}
	c, err := h.State(ctx, h.slot, "a1")
	h.ok(err)
	if err := is("state", fmt.Sprint(c.Job == "", c.Watcher != "", c.Since.IsZero()), "true true false"); err != nil {
		return err
	}
	h.ok(hold.renew(ctx))
	if err := is("wanted by nobody", closed(hold.Wanted()), false); err != nil {
		return err
	}
	for _, account := range []string{"a1", "a2"} {
		if _, busy := h.try(account, "j3"); busy == nil || !busy.Watched || busy.Same || busy.Account != "a1" {
			return broken("%s meets the watcher: %v", account, busy)
		}
	}
	h.ok(hold.renew(ctx))
	if err := is("wanted", closed(hold.Wanted()), true); err != nil {
		return err
	}
	h.release(hold)
	if err := is("starts of the next run", h.acquire("a2", "j3").Starts(), 1); err != nil {
		return err
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
