package ledger

import (
	"errors"
	"fmt"
	"slices"
)

// runWorker is DESIGN §6 from the lock to the release, for an account of the seed's choice.
func runWorker(a *actor) {
	w := a.w
	account := w.names[w.rnd.IntN(len(w.names))]
	if !w.active[account] {
		return
	}
	a.collect(account)
}

// collect runs one job. It ends early where the real worker would.
func (a *actor) collect(account string) {
	w := a.w
	slot := w.slot
	a.pause("acquire")
	hold, err := w.Acquire(w.ctx, AcquireRequest{Slot: slot, Account: account, Job: "j", Owner: a.name})
	var moved *MovedError
	if errors.As(err, &moved) && slot == w.slot {
		// The directory says that it lives here: a copy elsewhere was not finished.
		w.note("reclaimed")
		w.check(w.Reclaim(w.ctx, slot, account))
		return
	}
	if err != nil {
		w.check(err)
		return
	}
	a.hold = hold
	for again := true; again && err == nil; {
		if err = a.session(account); err == nil {
			again, err = hold.Again(w.ctx)
		}
	}
	w.check(err)
	end := hold.Release
	if err == nil {
		end = hold.Done
	}
	a.pause("release")
	_, err = end(w.ctx)
	w.check(err)
	a.hold = nil
}

func (w *world) check(err error) {
	if err != nil && !expected(err) && !errors.Is(err, ErrNotEnrolled) {
		w.fail("%v", err)
	}
}

// session lists, marks, fetches, publishes, waits and deletes.
func (a *actor) session(account string) error {
	w, hold := a.w, a.hold
	if hold.Epoch() == "" {
		a.pause("open")
		w.serial++
		if err := hold.OpenEpoch(w.ctx, fmt.Sprint("e", w.serial)); err != nil {
			return err
		}
	}
	listing, complete := a.list()
	a.pause("seen")
	if err := hold.Seen(w.ctx, items(listing), a.whole(complete)...); err != nil {
		return err
	}
	if err := a.resume(); err != nil {
		return err
	}
	a.pause("held")
	held := w.held(account)
	a.pause("reload")
	ix, err := hold.Reload(w.ctx)
	if err != nil {
		return err
	}
	if ix, err = a.reused(ix, listing); err != nil {
		return err
	}
	if err := a.fetch(account, ix, held, listing); err != nil {
		return err
	}
	if !w.remove[account] || !complete {
		return nil
	}
	for range 1 + w.rnd.IntN(4) {
		a.pause("wait")
	}
	return a.delete(listing)
}

// resume is what a run does that was asked for by hand.
func (a *actor) resume() error {
	w := a.w
	if a.hold.Index().Counts().Deferred == 0 || !w.chance(30) {
		return nil
	}
	a.pause("resume")
	w.note("resumed")
	return a.hold.Resume(w.ctx)
}

func items(listing []*letter) []Item {
	out := make([]Item, len(listing))
	for i, l := range listing {
		out[i] = Item{Key: l.key, Listed: l.size}
	}
	return out
}

// list is the remote's answer: sometimes short, sometimes short without saying so.
func (a *actor) list() (listing []*letter, complete bool) {
	w := a.w
	short := w.chance(10)
	lie := !short && w.lies && w.chance(10)
	for _, l := range w.letters {
		if l.present && !(short || lie) || l.present && w.rnd.IntN(2) == 0 {
			listing = append(listing, l)
		}
	}
	if lie {
		w.note("listing that lies")
	}
	return listing, !short
}

// whole are the mailboxes of the world that a listing has whole.
func (a *actor) whole(complete bool) []string {
	if !complete {
		return nil
	}
	all := []string{Maildrop}
	for _, box := range []string{"INBOX", "Spam"} {
		all = append(all, a.w.keyer.IMAP(box, 0, 0).Mailbox())
	}
	return all
}

// reused finds unique-ids that name other messages now, as TOP's digest would tell.
func (a *actor) reused(ix *Index, listing []*letter) (*Index, error) {
	var keys []Key
	for _, l := range listing {
		if size, ok := ix.Listed(l.key); ok && ix.State(l.key) == StateCollected && size != FoldSize(l.size) {
			keys = append(keys, l.key)
		}
	}
	if len(keys) == 0 {
		return ix, nil
	}
	a.pause("reused")
	a.w.note("reused")
	if err := a.hold.Reused(a.w.ctx, keys); err != nil {
		return nil, err
	}
	return a.hold.Reload(a.w.ctx)
}

func (a *actor) fetch(account string, ix *Index, held map[Key]bool, listing []*letter) error {
	w := a.w
	var reqs []MarkRequest
	var wanted []*letter
	for _, l := range listing {
		m, marked := ix.Mark(l.key)
		if ix.State(l.key) != StateNew || marked && (held[l.key] || m.Leased) {
			continue
		}
		reqs = append(reqs, MarkRequest{Key: l.key, Size: l.size, Listed: l.size, Seen: m.Raw})
		wanted = append(wanted, l)
	}
	for len(reqs) > 0 {
		n := min(len(reqs), 1+w.rnd.IntN(3))
		a.pause("mark")
		res, err := a.hold.Mark(w.ctx, reqs[:n])
		if err != nil {
			return err
		}
		for i, r := range res {
			w.note("mark: " + r.String())
			w.trace("%s: letter %d of %s: %v", a.name, wanted[i].id, account, r)
			if r != Marked {
				continue
			}
			if err := a.put(account, wanted[i]); err != nil {
				return err
			}
		}
		reqs, wanted = reqs[n:], wanted[n:]
	}
	return nil
}

// put fetches and publishes one letter.
func (a *actor) put(account string, l *letter) error {
	w := a.w
	a.pause("fetch")
	if err := a.hold.Trusted(); err != nil {
		return err
	}
	if !l.present || w.chance(5) {
		a.pause("unmark")
		w.note("fetch failed")
		return a.hold.Unmark(w.ctx, []Key{l.key})
	}
	p := &parcel{account: account, epoch: a.hold.Epoch(), slot: a.hold.req.Slot, letter: l}
	a.pause("publish")
	if w.publish(p) {
		w.note("publish refused: held")
	}
	return nil
}

// delete removes what every account has; POP3's deletions count with QUIT.
func (a *actor) delete(listing []*letter) error {
	w, hold := a.w, a.hold
	a.pause("reload for delete")
	ix, err := hold.Reload(w.ctx)
	if err != nil {
		return err
	}
	var doomed []Doomed
	for _, l := range listing {
		st := ix.State(l.key)
		if size, ok := ix.Deleting(l.key); ok && size != l.size {
			continue
		}
		listed, _ := ix.Listed(l.key)
		if st == StateDeleting || st == StateCollected && (w.imap || listed == FoldSize(l.size)) {
			doomed = append(doomed, Doomed{Key: l.key, Listed: l.size})
		}
	}
	if len(doomed) == 0 {
		return nil
	}
	a.pause("doom")
	active := w.actives()
	allowed, err := hold.Doom(w.ctx, doomed)
	if errors.Is(err, ErrNotEnrolled) {
		w.note("not enrolled")
		return nil
	}
	if err != nil {
		return err
	}
	a.pause("quit")
	if err := hold.Trusted(); err != nil {
		return err
	}
	if w.chance(15) {
		w.note("deletions void")
		return nil
	}
	for _, l := range listing {
		if slices.Contains(allowed, l.key) {
			w.removeLetter(l, active)
		}
	}
	if w.chance(10) {
		return ErrUntrusted // the answer to QUIT is lost
	}
	return nil
}
