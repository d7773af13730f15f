package ledger

// sessions fails when two sessions that trust their lock are open at the mailbox. After a loss of Redis
// there may be two for a while.
func (w *world) sessions() {
	n := make(map[Slot]int)
	for _, a := range w.actors {
		if a.hold == nil || a.hold.Trusted() != nil {
			continue
		}
		slot := a.hold.req.Slot
		if n[slot]++; n[slot] > 1 && w.now().Sub(w.lossAt) > w.cfg.TTL {
			w.fail("%d sessions trust their lock", n[slot])
		}
	}
}

// peek reads the index of an account without a lock.
func (w *world) peek(account string) *Index {
	reply, err := w.run(w.ctx, "peek", w.slot.workerKeys(account, false))
	if err != nil {
		w.fail("peek: %v", err)
		return &Index{}
	}
	return readIndex(reply)
}

// sound checks what holds between steps: what is marked is in no index and no state, and the counters are right.
func (w *world) sound(account string) {
	ix := w.peek(account)
	w.served(account, ix)
	for raw := range ix.marks {
		st := ix.states[raw]
		bare := Index{now: ix.now, tail: ix.tail, sets: ix.sets, buckets: ix.buckets}
		if got := bare.state(raw); got != StateNew {
			w.fail("%s of %s is marked and %v", keyOf(raw), account, got)
		} else if st.kind != 0 && st.kind != 'g' {
			w.fail("%s of %s is marked and has the state %c", keyOf(raw), account, st.kind)
		}
	}
	entries, skipped := 0, 0
	for _, s := range ix.buckets {
		for i := 0; i < len(s); i += entrySize {
			entries++
			if s[i+9]&skippedBit != 0 {
				skipped++
			}
		}
	}
	if entries != ix.entries || skipped != ix.skipped {
		w.fail("%s counts %d entries, %d skipped; there are %d, %d", account, ix.entries, ix.skipped, entries, skipped)
	}
}

// served checks that what is collected was accepted for everybody, under this epoch.
func (w *world) served(account string, ix *Index) {
	for _, l := range w.letters {
		if !l.present || ix.State(l.key) != StateCollected {
			continue
		}
		if size, ok := ix.Listed(l.key); ok && size != FoldSize(l.size) {
			continue // of an earlier letter with this unique-id
		}
		for _, r := range recipients {
			if w.accepts[acceptKey{account, ix.epoch, r, l.id, w.losses}] == nil {
				w.fail("letter %d of %s is collected under %s, but %s did not accept it", l.id, account, ix.epoch, r)
			}
		}
	}
}
