package ledger

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

func identity(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

func (h *house) collectAs(account string, k Key, identity []byte) error {
	taken, err := h.Take(ctx, TakeRequest{Slot: h.slot, Account: account, Epoch: "e1", Key: k, Size: 10, Listed: 10, Identity: identity})
	if err != nil || taken.Lease == nil {
		return broken("take: %v, %v", taken.Verdict, err)
	}
	h.commit(taken.Lease)
	h.commit(taken.Lease) // a commit may be repeated
	return nil
}

func digestsKept(h *house) error {
	h.commits = h.together("commit", 2) // chunks
	hold := h.open("a1", "e1")
	for i := 1; i <= 5; i++ {
		if err := h.collectAs("a1", h.uid(i), identity(i%5)); err != nil { // the fifth has none
			return err
		}
	}
	d, err := hold.Digests(ctx)
	h.ok(err)
	for i := range 7 {
		n, same := d.Of(identity(i), 10)
		if err := is(fmt.Sprint("collected as ", i), n == 1 && same, i <= 4); err != nil {
			return err
		}
	}
	if !d.Covers(h.reload(hold)) {
		return broken("an identity of each, and they do not cover the index")
	}
	if _, same := d.Of(identity(1), 11); same {
		return broken("another size is the same")
	}
	for i := 6; i <= 300; i++ {
		if err := h.collectAs("a1", h.uid(i), identity(i)); err != nil {
			return err
		}
	}
	d, err = hold.Digests(ctx)
	h.ok(err)
	first, _ := d.Of(identity(1), 10)
	last, _ := d.Of(identity(300), 10)
	return is("the oldest go, and do not cover the index any more", first == 0 && last == 1 && d.whole && !d.Covers(h.reload(hold)), true)
}

func digestsWhole(h *house) error {
	hold := h.open("a1", "e1")
	whole := func() bool {
		d, err := hold.Digests(ctx)
		h.ok(err)
		return d.whole
	}
	if err := is("at first", whole(), true); err != nil {
		return err
	}
	h.collect("a1", h.uid(1)) // by one that knows no identities
	if err := is("with one that has none", whole(), false); err != nil {
		return err
	}
	h.ok(h.collectAs("a1", h.uid(2), identity(2)))
	_, err := h.Reset(ctx, h.slot, "a1", "e2")
	h.ok(err)
	h.release(hold)
	hold = h.again(hold)
	d, err := hold.Digests(ctx)
	h.ok(err)
	n, _ := d.Of(identity(2), 10)
	return is("after a reset", n == 0 && d.whole, true)
}

func stormRemembered(h *house) error {
	hold := h.open("a1", "e1")
	news := []Key{h.uid(7)}
	for want := 1; want <= 2; want++ {
		runs, _, err := hold.Storm(ctx)
		h.ok(err)
		h.reload(hold)
		if err := is("a storm goes on", runs == want && hold.Index().Storm() && len(hold.Index().Renumbered(news, nil)) == 1, true); err != nil {
			return err
		}
	}
	h.ok(hold.Calm(ctx, false))
	h.reload(hold)
	if err := is("a storm may go on", hold.Index().Storm(), true); err != nil {
		return err
	}
	runs, _, err := hold.Storm(ctx)
	h.ok(err)
	if err := is("runs after one that came through", runs, 1); err != nil {
		return err
	}
	h.ok(hold.Calm(ctx, true))
	h.reload(hold)
	return is("a storm is over", hold.Index().Storm() || len(hold.Index().Renumbered(news, nil)) > 0, false)
}

// oursIsNoStorm deletes all that was collected: as long as the server has not confirmed it, other names are a storm.
func oursIsNoStorm(h *house) error {
	hold := h.open("a1", "e1")
	old, news := []Key{h.uid(1), h.uid(2), h.uid(3)}, []Key{h.uid(7)}
	h.collect("a1", old...)
	for _, confirmed := range []bool{false, true, false} {
		var doomed []Doomed
		for _, k := range old {
			doomed = append(doomed, Doomed{Key: k, Listed: 10})
		}
		allowed, err := hold.Doom(ctx, doomed)
		h.ok(err)
		if err := is("doomed", len(allowed), len(old)); err != nil {
			return err
		}
		if confirmed {
			hold.Confirm()
		}
		h.release(hold)
		hold = h.again(hold)
		if err := is("a storm", len(hold.Index().Renumbered(news, nil)) == 1, !confirmed); err != nil {
			return err
		}
	}
	return nil
}

// doubtIsSkipped doubts what is collected, in the tail and in a bucket, and what is deleting; the rest stays.
func doubtIsSkipped(h *house) error {
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 300, func(i int) Key { return h.uid(100 + i) }) // folds
	h.collect("a1", h.uid(1), h.uid(2), h.keyer.IMAP("INBOX", 7, 1))
	h.doomed(hold, h.uid(3))
	h.mark(hold, h.uid(4), 10)
	doubtful := []Key{h.uid(100), h.uid(1), h.uid(3), h.uid(4), h.uid(5), h.keyer.IMAP("INBOX", 7, 1)}
	for range 2 { // it may be repeated
		var items []Item
		for _, k := range doubtful {
			items = append(items, Item{k, 10})
		}
		h.ok(hold.Doubt(ctx, items))
	}
	ix := h.reload(hold)
	for i, want := range []State{StateSkipped, StateSkipped, StateSkipped, StateNew, StateNew, StateCollected} {
		if err := is(fmt.Sprint("state of ", doubtful[i]), ix.State(doubtful[i]), want); err != nil {
			return err
		}
	}
	if c := ix.Counts(); c.Skipped != 3 || c.Deleting != 0 || c.Collected != 301 {
		return broken("%+v", c)
	}
	allowed, err := hold.Doom(ctx, []Doomed{{Key: h.uid(1), Listed: 10}, {Key: h.uid(2), Listed: 10}})
	h.ok(err)
	return is("may be deleted", fmt.Sprint(allowed), fmt.Sprint([]Key{h.uid(2)}))
}

// foldKeepsLast doubts so many keys of the tail at once that it is folded.
func foldKeepsLast(h *house) error {
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 50, h.uid)
	var items []Item
	for i := range 50 {
		items = append(items, Item{h.uid(i), 10})
	}
	h.ok(hold.Doubt(ctx, items))
	ix := h.reload(hold)
	return is("skipped, tail", fmt.Sprint(ix.Counts().Skipped, len(ix.tail)), "50 0")
}

func matchTakesOver(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1), h.keyer.IMAP("INBOX", 7, 1))
	h.ok(hold.Skip(ctx, []Item{{h.uid(2), 10}}))
	h.mark(hold, h.uid(3), 10)
	h.ok(h.Park(ctx, h.deliver("a1", h.uid(4))))
	h.release(hold)
	h.pass(48 * time.Hour)
	hold = h.again(hold)
	h.ok(hold.Match(ctx, []Item{{h.uid(1), 11}, {h.uid(2), 11}, {h.uid(3), 11}, {h.uid(4), 11}, {h.uid(5), 11}, {h.keyer.IMAP("INBOX", 8, 1), 11}}))
	h.reload(hold)
	ix := hold.Index()
	for i, want := range []State{StateCollected, StateSkipped, StateNew, StateParked, StateCollected} {
		if err := is(fmt.Sprint("state of ", i+1), ix.State(h.uid(i+1)), want); err != nil {
			return err
		}
	}
	_, marked := ix.Mark(h.uid(3))
	size, _ := ix.Listed(h.uid(1))
	days, _ := ix.Days(h.uid(1))
	if err := is("mark, size and age stay", marked && size == FoldSize(11) && days == 2, true); err != nil {
		return err
	}
	return is("UIDVALIDITY", ix.State(h.keyer.IMAP("INBOX", 8, 1)) == StateCollected && ix.Validity(h.keyer.IMAP("INBOX", 8, 1)) == 8 &&
		len(ix.Renumbered([]Key{h.keyer.IMAP("INBOX", 8, 2)}, nil)) == 0 && len(ix.Renumbered([]Key{h.keyer.IMAP("INBOX", 9, 1)}, nil)) == 1, true)
}

// TestBytesOfDigest states the price of the storm brake.
func TestBytesOfDigest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.open("a1", "e1")
	const n = 10_000
	script := h.scripts["commit"]
	h.ok(script.Load(ctx, h.rdb).Err())
	pipe := h.rdb.Pipeline()
	for i := range n {
		script.EvalSha(ctx, pipe, append(h.slot.accountKeys("a1"), h.slot.digestsKey("a1")), h.offset.Load(), h.cfg.KeyID, 1000,
			"t", h.uid(i).raw(), "e1", 1, 1, string(h.keyer.Identity(identity(i))))
	}
	_, err := pipe.Exec(ctx)
	h.ok(err)
	size, err := h.rdb.MemoryUsage(ctx, h.slot.digestsKey("a1"), 0).Result()
	h.ok(err)
	per := float64(size) / n
	t.Logf("%.2f bytes a digest", per)
	if per > 13 {
		t.Errorf("%.2f bytes a digest, the budget is 13", per)
	}
}

func TestRenumbered(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	hold := h.open("a1", "e1")
	keys := func(from, to int) (k []Key) {
		for i := from; i < to; i++ {
			k = append(k, h.uid(i))
		}
		return k
	}
	h.collect("a1", keys(0, 10)...)
	h.collect("a1", h.keyer.IMAP("INBOX", 7, 1), h.keyer.IMAP("INBOX", 7, 2))
	h.collect("a1", h.keyer.IMAP("Sent", 7, 1))
	h.ok(hold.Skip(ctx, []Item{{h.keyer.IMAP("Sent", 7, 2), 10}}))
	h.commitAll("a1", "e1", 129, func(i int) Key { return h.keyer.IMAP("INBOX", 7, uint32(3+i)) }) // folds
	h.collect("a1", h.keyer.IMAP("Spam", 7, 1))                                                    // in the tail
	h.reload(hold)
	for name, c := range map[string]struct {
		listed []Key
		want   int
	}{
		"all renumbered":                    {keys(20, 30), 10},
		"most renumbered":                   {append(keys(0, 3), keys(20, 27)...), 10},
		"few of them left":                  {keys(20, 21), 1},
		"news":                              {append(keys(0, 10), keys(20, 40)...), 0},
		"some deleted":                      {append(keys(0, 6), keys(20, 40)...), 0},
		"all deleted":                       {nil, 0},
		"most deleted":                      {keys(0, 1), 0},
		"same UIDVALIDITY":                  {append(keys(0, 10), h.keyer.IMAP("INBOX", 7, 900)), 0},
		"UIDVALIDITY":                       {append(keys(0, 10), h.keyer.IMAP("INBOX", 8, 1)), 1},
		"UIDVALIDITY of another mailbox":    {append(keys(0, 10), h.keyer.IMAP("INBOX", 7, 900), h.keyer.IMAP("Sent", 8, 1)), 1},
		"UIDVALIDITY of what is not folded": {append(keys(0, 10), h.keyer.IMAP("Spam", 8, 1)), 1},
		"a mailbox that is new":             {append(keys(0, 10), h.keyer.IMAP("Junk", 8, 1)), 0},
	} {
		if got := hold.Index().Renumbered(c.listed, nil); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What is in flight is known, too, while TRANSIT has it or a delivery is at work on it.
func TestRenumberedInFlight(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	hold := h.open("a1", "e1")
	imap := func(validity, uid uint32) Key { return h.keyer.IMAP("INBOX", validity, uid) }
	for _, k := range []Key{h.uid(1), h.uid(2), imap(7, 1)} {
		h.mark(hold, k, 10)
	}
	h.deliver("a1", h.uid(2))
	h.reload(hold)
	held := map[string]bool{string(h.uid(1)): true, string(imap(7, 1)): true}
	for name, c := range map[string]struct {
		listed []Key
		held   map[string]bool
		want   int
	}{
		"the same":                {[]Key{h.uid(1), h.uid(2), h.uid(3)}, held, 0},
		"all renumbered":          {[]Key{h.uid(4), h.uid(5)}, held, 2},
		"the leased one vanished": {[]Key{h.uid(1), h.uid(3)}, nil, 2},
		"same UIDVALIDITY":        {[]Key{imap(7, 1), imap(7, 2)}, held, 0},
		"UIDVALIDITY":             {[]Key{imap(8, 1)}, held, 1},
		"dead marks":              {[]Key{imap(8, 1)}, nil, 0},
		"without a mark":          {[]Key{h.uid(8)}, map[string]bool{string(h.uid(9)): true}, 1},
	} {
		if got := hold.Index().Renumbered(c.listed, c.held); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
