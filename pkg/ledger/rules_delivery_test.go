package ledger

import (
	"errors"
	"fmt"
	"time"
)

func takeRepeats(h *house) error {
	if err := is("without an index", h.take("a1", h.uid(1)).Verdict, NoEpoch); err != nil {
		return err
	}
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1), h.uid(5), h.uid(6))
	h.ok(hold.Skip(ctx, []Item{{h.uid(2), 1}}))
	h.park("a1", h.uid(3))
	h.ok(h.Defer(ctx, h.deliver("a1", h.uid(4)), time.Minute))
	if _, err := hold.Doom(ctx, []Doomed{{Key: h.uid(5), Listed: 10}, {Key: h.uid(6), Listed: 10}}); err != nil {
		return err
	}
	h.reload(hold)
	h.ok(hold.Seen(ctx, []Item{{h.uid(5), 10}, {h.uid(1), 10}}, Maildrop)) // 6 is gone: a ghost
	for i := 1; i <= 6; i++ {
		if err := is(fmt.Sprint("take ", i), h.take("a1", h.uid(i)).Verdict, Repeat); err != nil {
			return err
		}
	}
	// A copy of an earlier message, which had another size, is not the one that is marked.
	if err := is("a ghost is new", h.mark(hold, h.uid(6), 11), Marked); err != nil {
		return err
	}
	if err := is("an old copy", h.take("a1", h.uid(6)).Verdict, Repeat); err != nil {
		return err
	}
	h.ok(hold.Unmark(ctx, []Key{h.uid(6)}))
	return is("an old copy without a mark", h.take("a1", h.uid(6)).Verdict, Repeat)
}

func leaseForOne(h *house) error {
	h.open("a1", "e1")
	first := h.deliver("a1", h.uid(1))
	busy := h.take("a1", h.uid(1))
	if busy.Verdict != Busy || busy.Wait <= 0 || busy.Wait > h.cfg.DeliveryLease {
		return broken("a second delivery: %v, %v", busy.Verdict, busy.Wait)
	}
	if first.Left() > h.cfg.DeliveryLease || first.Left() < h.cfg.DeliveryLease-time.Minute/6 {
		return broken("%v left", first.Left())
	}
	h.pass(h.cfg.DeliveryLease + time.Second)
	if err := h.Renew(ctx, first); err != nil {
		return fmt.Errorf("a lease nobody took: %w", err)
	}
	h.pass(h.cfg.DeliveryLease + time.Second)
	second := h.deliver("a1", h.uid(1))
	for what, err := range map[string]error{"renew": h.Renew(ctx, first), "record": h.Record(ctx, first, nil, []string{"x"}),
		"return": h.Return(ctx, first), "defer": h.Defer(ctx, first, time.Minute), "park": h.Park(ctx, first)} {
		if err := isErr(what, err, ErrLeaseLost); err != nil {
			return err
		}
	}
	h.ok(h.Renew(ctx, second))
	h.ok(h.Return(ctx, second))
	return isErr("renew what was returned", h.Renew(ctx, second), ErrLeaseLost)
}

func takesCounted(h *house) error {
	h.open("a1", "e1")
	for i := 1; i <= 4; i++ {
		taken := h.take("a1", h.uid(1))
		if err := is("attempts", taken.Attempts, i); err != nil {
			return err
		}
		if err := is("poison", taken.Poison, i == 4); err != nil {
			return err
		}
		h.pass(h.cfg.DeliveryLease + time.Second)
	}
	for range 5 {
		le := h.deliver("a1", h.uid(2))
		h.ok(h.Return(ctx, le))
	}
	return is("given back", h.take("a1", h.uid(2)).Attempts, 1)
}

func servedSurvive(h *house) error {
	hold := h.open("a1", "e1")
	h.mark(hold, h.uid(1), 10)
	le := h.deliver("a1", h.uid(1))
	h.ok(h.Record(ctx, le, []byte("route"), []string{"bob"}))
	h.ok(h.Record(ctx, le, nil, []string{"eve", "bob"}))
	for _, step := range []struct {
		what string
		do   func(le *Lease)
	}{
		{"return", func(le *Lease) { h.ok(h.Return(ctx, le)) }},
		{"fetch again", func(le *Lease) { h.ok(h.Return(ctx, le)); h.mark(hold, h.uid(1), 10) }},
		{"defer", func(le *Lease) {
			h.ok(h.Defer(ctx, le, time.Second))
			h.pass(2 * time.Second)
			h.mark(hold, h.uid(1), 10)
		}},
		{"defer, then a copy", func(le *Lease) { h.ok(h.Defer(ctx, le, time.Second)); h.pass(2 * time.Second) }},
		{"park and retry", func(le *Lease) {
			h.ok(h.Park(ctx, le))
			_, err := h.Retry(ctx, h.slot, "a1", h.uid(1), 10, 10)
			h.ok(err)
		}},
		{"park and unpark", func(le *Lease) {
			h.ok(h.Park(ctx, le))
			_, err := h.Unpark(ctx, h.slot, "a1", h.uid(1))
			h.ok(err)
			h.mark(hold, h.uid(1), 10)
		}},
	} {
		step.do(le)
		taken := h.take("a1", h.uid(1))
		if err := is(step.what, fmt.Sprintf("%v %s %v", taken.Verdict, taken.Route, taken.Served), "deliver route [bob eve]"); err != nil {
			return err
		}
		le = taken.Lease
	}
	return nil
}

func servedOfOneMessage(h *house) error {
	hold := h.open("a1", "e1")
	le := h.deliver("a1", h.uid(1))
	h.ok(h.Record(ctx, le, []byte("route"), []string{"bob"}))
	h.ok(h.Return(ctx, le))
	if err := is("listed with another size", h.mark(hold, h.uid(1), 11), Marked); err != nil {
		return err
	}
	m, _ := h.reload(hold).Mark(h.uid(1))
	if err := is("served", len(m.Served), 0); err != nil {
		return err
	}
	le = h.deliver("a1", h.uid(2))
	h.ok(h.Record(ctx, le, []byte("route"), []string{"bob"}))
	h.ok(h.Return(ctx, le))
	_, err := h.Reset(ctx, h.slot, "a1", "e2")
	h.ok(err)
	taken := h.take("a1", h.uid(2))
	if err := is("adopted", taken.Adopted, true); err != nil {
		return err
	}
	return is("served under another epoch", len(taken.Served), 0)
}

func commitNeedsNothing(h *house) error {
	hold := h.open("a1", "e1")
	le := h.deliver("a1", h.uid(1))
	h.pass(h.cfg.DeliveryLease + time.Second)
	hold = h.again(hold)
	second := h.deliver("a1", h.uid(1))
	if err := is("after another took it", h.commit(le), true); err != nil {
		return err
	}
	if err := isErr("the other one", h.Renew(ctx, second), ErrLeaseLost); err != nil {
		return err
	}
	if err := is("the other's commit", h.commit(second), false); err != nil {
		return err
	}
	// No mark at all, and over parked and deferred.
	for i := 2; i <= 4; i++ {
		le := h.deliver("a1", h.uid(i))
		switch i {
		case 2:
			h.ok(h.rdb.HDel(ctx, h.slot.accountKeys("a1")[5], h.uid(i).raw()).Err())
		case 3:
			h.ok(h.Park(ctx, le))
		case 4:
			h.ok(h.Defer(ctx, le, time.Hour))
		}
		if err := is(fmt.Sprint("commit ", i), h.commit(le), true); err != nil {
			return err
		}
		if err := is(fmt.Sprint("state ", i), h.state(hold, h.uid(i)), StateCollected); err != nil {
			return err
		}
	}
	return is("parked and deferred", h.reload(hold).Counts().Parked+hold.Index().Counts().Deferred, 0)
}

func commitOtherMessage(h *house) error {
	hold := h.open("a1", "e1")
	old := h.deliver("a1", h.uid(1)) // listed with 10 octets
	h.pass(h.cfg.DeliveryLease + time.Second)
	hold = h.again(hold)
	h.collect("a1", h.uid(1))
	if _, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1), Listed: 10}}); err != nil {
		return err
	}
	h.reload(hold)
	h.ok(hold.Seen(ctx, nil, Maildrop))
	if err := is("a late commit after the deletion", h.commit(old), false); err != nil {
		return err
	}
	h.reload(hold)
	h.mark(hold, h.uid(1), 11)
	if err := is("a late commit over a new message", h.commit(old), false); err != nil {
		return err
	}
	if _, marked := h.reload(hold).Mark(h.uid(1)); !marked {
		return errors.New("the new message lost its mark")
	}
	return is("state", hold.Index().State(h.uid(1)), StateNew)
}

func passSkips(h *house) error {
	pass := func(le *Lease) bool {
		wrote, err := h.Pass(ctx, le)
		h.ok(err)
		return wrote
	}
	hold := h.open("a1", "e1")
	for i, k := range []Key{h.uid(1), h.keyer.IMAP("INBOX", 7, 5)} {
		h.mark(hold, k, 10)
		le := h.deliver("a1", k)
		if err := errors.Join(is(fmt.Sprint("pass ", i), pass(le), true), is("again", pass(le), false), is("state", h.state(hold, k), StateSkipped)); err != nil {
			return err
		}
		if err := errors.Join(is("a copy", h.take("a1", k).Verdict, Repeat), is("a mark on it", h.mark(hold, k, 10), Skipped)); err != nil {
			return err
		}
	}
	lost := h.deliver("a1", h.uid(2)) // listed with 10 octets
	h.pass(h.cfg.DeliveryLease + time.Second)
	hold = h.again(hold)
	h.collect("a1", h.uid(2))
	if err := errors.Join(is("after it was collected", pass(lost), false), is("state", h.state(hold, h.uid(2)), StateCollected)); err != nil {
		return err
	}
	late := h.deliver("a1", h.uid(3))
	h.ok(h.Return(ctx, late))
	h.ok(h.rdb.HDel(ctx, h.slot.accountKeys("a1")[5], h.uid(3).raw()).Err())
	h.mark(hold, h.uid(3), 11)
	if err := is("over the mark of another message", pass(late), false); err != nil {
		return err
	}
	old := h.deliver("a1", h.uid(4))
	old.Epoch = "e0"
	return errors.Join(is("of an epoch that is over", pass(old), false), is("state", h.state(hold, h.uid(4)), StateNew))
}

// again takes the lock anew after time has passed.
func (h *house) again(hold *Hold) *Hold {
	h.t.Helper()
	_, _ = hold.Release(ctx)
	return h.acquire(hold.req.Account, "again")
}

func commitEpoch(h *house) error {
	hold := h.open("a1", "e1")
	le := h.deliver("a1", h.uid(1))
	_, err := h.Reset(ctx, h.slot, "a1", "e2")
	h.ok(err)
	h.ok(h.Renew(ctx, le)) // a lease outlives the reset
	if err := is("busy for the new epoch", h.take("a1", h.uid(1)).Verdict, Busy); err != nil {
		return err
	}
	if err := is("wrote", h.commit(le), false); err != nil {
		return err
	}
	hold = h.again(hold)
	if _, marked := hold.Index().Mark(h.uid(1)); marked {
		return errors.New("the mark of the old epoch stays")
	}
	return is("state", hold.Index().State(h.uid(1)), StateNew)
}

func commitValidity(h *house) error {
	hold := h.open("a1", "e1")
	key := func(validity, uid uint32) Key { return h.keyer.IMAP("INBOX", validity, uid) }
	h.mark(hold, key(7, 1), 10)
	h.collect("a1", key(7, 1), key(7, 2))
	h.ok(hold.Skip(ctx, []Item{{Key: key(7, 3)}}))
	late := h.deliver("a1", key(7, 4))
	if err := is("another UIDVALIDITY", h.mark(hold, key(8, 1), 10), Marked); err != nil {
		return err
	}
	h.commit(late)
	if err := is("repeat of an old one", h.take("a1", key(7, 4)).Verdict, Repeat); err != nil {
		return err
	}
	h.commitAll("a1", "e1", 140, func(i int) Key { return key(8, uint32(100+i)) }) // folds
	ix := h.reload(hold)
	for uid := uint32(1); uid <= 4; uid++ {
		if err := is(fmt.Sprint("UID ", uid), ix.State(key(8, uid)), StateNew); err != nil {
			return err
		}
	}
	return is("validity", ix.Validity(key(8, 1)), 8)
}
