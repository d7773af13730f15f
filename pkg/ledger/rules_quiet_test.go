package ledger

import (
	"errors"
	"time"
)

// quietKept follows a record of a mailbox where nothing is left to do.
func quietKept(h *house) error {
	inbox := QuietMailbox{Mailbox: h.keyer.IMAP("INBOX", 0, 0).Mailbox(), UIDValidity: 7, UIDNext: 1<<32 - 1, Messages: 3}
	sent := QuietMailbox{Mailbox: h.keyer.IMAP("Sent", 0, 0).Mailbox(), UIDValidity: 8, UIDNext: 1}
	known := func(hold *Hold, q QuietMailbox, revision uint64) bool {
		got, ok := h.reload(hold).Quiet(q.Mailbox, revision)
		got.Since = q.Since
		return ok && got == q
	}
	hold := h.open("a1", "e1")
	h.commitAll("a1", "e1", 3, func(i int) Key { return h.keyer.IMAP("INBOX", 7, uint32(i+1)) })
	h.ok(hold.Skip(ctx, []Item{{Key: h.keyer.IMAP("INBOX", 7, 9)}}))
	h.ok(hold.Quiet(ctx, 5, []QuietMailbox{inbox, sent}))
	if !known(hold, inbox, 5) || !known(hold, sent, 5) || known(hold, inbox, 6) {
		return broken("what was recorded is not known, or of another revision is")
	}
	if c := hold.Index().Counts(); c.Collected != 3 || c.Skipped != 1 {
		return broken("a record counts as a message: %+v", c)
	}
	h.ok(hold.Quiet(ctx, 6, []QuietMailbox{sent}))
	if known(hold, inbox, 5) || !known(hold, sent, 6) {
		return broken("a record of an earlier revision is kept")
	}
	h.pass(quietFor - time.Minute)
	hold = h.again(hold)
	if !known(hold, sent, 6) {
		return broken("a record is forgotten too early")
	}
	h.pass(time.Minute + time.Second)
	hold = h.again(hold)
	if known(hold, sent, 6) {
		return broken("a record is good for ever")
	}
	h.ok(hold.Quiet(ctx, 6, []QuietMailbox{inbox}))
	h.pass(quietFor - time.Minute)
	hold = h.again(hold)
	old, _ := hold.Index().Quiet(inbox.Mailbox, 6)
	h.ok(hold.Quiet(ctx, 6, []QuietMailbox{old}))
	h.pass(2 * time.Minute)
	hold = h.again(hold)
	if old.Since == 0 || known(hold, inbox, 6) {
		return broken("a record of what was not listed whole is good for longer than the one before")
	}
	h.ok(hold.Quiet(ctx, 6, []QuietMailbox{inbox}))
	to := h.slot + "x"
	h.release(hold)
	if _, err := h.Reset(ctx, h.slot, "a1", "e2"); err != nil {
		return err
	}
	if err := hold.Quiet(ctx, 6, []QuietMailbox{inbox}); !errors.Is(err, ErrStale) {
		return broken("a record without the lock: %v", err)
	}
	hold = h.again(hold)
	if known(hold, inbox, 6) {
		return broken("a record outlives a reset")
	}
	h.ok(hold.Quiet(ctx, 6, []QuietMailbox{inbox}))
	h.release(hold)
	h.ok(h.Copy(ctx, h.slot, to, "a1"))
	moved, err := h.Acquire(ctx, AcquireRequest{Slot: to, Account: "a1", Job: "j", Owner: "o"})
	h.ok(err)
	defer h.release(moved)
	if !known(moved, inbox, 6) {
		return broken("a record does not move with its account")
	}
	return nil
}

// seenInPart lists one mailbox whole and another not at all.
func seenInPart(h *house) error {
	hold := h.open("a1", "e1")
	box := func(name string, uid uint32) Key { return h.keyer.IMAP(name, 7, uid) }
	h.doomed(hold, box("INBOX", 1))
	h.doomed(hold, box("Sent", 1))
	h.ok(h.Defer(ctx, h.deliver("a1", box("Sent", 2)), time.Second))
	h.pass(h.cfg.Grace + time.Minute)
	hold = h.again(hold)
	if p := hold.Index().Pending(nil); !p[box("INBOX", 0).Mailbox()] || !p[box("Sent", 0).Mailbox()] || len(p) != 2 {
		return broken("pending in %v", p)
	}
	h.ok(hold.Seen(ctx, nil, box("INBOX", 0).Mailbox()))
	if err := is("in the mailbox that was listed", h.state(hold, box("INBOX", 1)), StateCollected); err != nil {
		return err
	}
	if err := is("in the one that was not", h.state(hold, box("Sent", 1)), StateDeleting); err != nil {
		return err
	}
	states, err := h.rdb.HLen(ctx, h.slot.accountKeys("a1")[4]).Result()
	h.ok(err)
	return is("states left", states, 2)
}

// quietDropped marks and unparks messages of mailboxes that are on record.
func quietDropped(h *house) error {
	hold := h.open("a1", "e1")
	box := func(name string, uid uint32) Key { return h.keyer.IMAP(name, 7, uid) }
	parked, sent := box("Sent", 1), box("Sent", 0).Mailbox()
	put := func(name string) {
		h.ok(hold.Quiet(ctx, 5, []QuietMailbox{{Mailbox: box(name, 0).Mailbox(), UIDValidity: 7, UIDNext: 9, Messages: 8}}))
	}
	known := func(name string) bool {
		_, ok := h.reload(hold).Quiet(box(name, 0).Mailbox(), 5)
		return ok
	}
	h.mark(hold, box("INBOX", 1), 10)
	h.park("a1", parked)
	put("INBOX")
	put("Sent")
	if !known("INBOX") || !known("Sent") {
		return broken("what was on its way before drops a record")
	}
	if p := hold.Index().Pending(map[Key]bool{box("INBOX", 1): true, parked: true}); len(p) != 1 || !p[sent] {
		return broken("pending in %v", p)
	}
	h.commit(h.deliver("a1", box("INBOX", 1)))
	if !known("INBOX") || len(hold.Index().Pending(nil)) != 1 {
		return broken("what arrives drops a record, or is pending")
	}
	h.mark(hold, box("INBOX", 2), 10)
	h.ok(hold.Unmark(ctx, []Key{box("INBOX", 2)}))
	if known("INBOX") || !known("Sent") {
		return broken("a record outlives the mark of a message that nobody brings, or that of another mailbox does not")
	}
	if _, err := h.Unpark(ctx, h.slot, "a1", parked); err != nil || known("Sent") {
		return broken("a record outlives that a message is parked no more: %v", err)
	}
	return nil
}
