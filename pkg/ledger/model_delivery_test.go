package ledger

import (
	"errors"
	"slices"
	"time"
)

// runDelivery is DESIGN §6.6 for one message.
func runDelivery(a *actor) {
	w := a.w
	p := w.pull()
	if p == nil {
		return
	}
	a.pause("take")
	taken, err := w.Take(w.ctx, TakeRequest{Slot: p.slot, Account: p.account, Epoch: p.epoch, Key: p.letter.key,
		Size: p.letter.size, Listed: p.letter.size, Holder: a.name})
	if err != nil {
		w.fail("take: %v", err)
		return
	}
	w.note("take: " + taken.Verdict.String())
	w.trace("%s: letter %d of %s: %v", a.name, p.letter.id, p.account, taken.Verdict)
	switch taken.Verdict {
	case Repeat, Gone:
		a.pause("ack repeat")
		w.ack(p)
	case Busy:
		p.visible = w.now().Add(taken.Wait)
	case NoEpoch:
		p.visible = w.now().Add(5 * time.Second)
		p.slot = w.slot // the directory knows where the account lives
	case Moved:
		p.slot = taken.Slot
		p.visible = w.now()
	case Deliver:
		a.try = &attempt{taken: w.step, takenAt: w.now(), lease: taken.Lease}
		if taken.Poison {
			w.note("poison")
			a.bury(p)
			return
		}
		a.handOver(p, taken.Served)
	}
}

func (a *actor) handOver(p *parcel, served []string) {
	w, le := a.w, a.try.lease
	a.pause("data")
	if w.rnd.IntN(2) == 0 {
		if err := w.Renew(w.ctx, le); err != nil {
			w.check(err)
			return
		}
	}
	if le.Left() < w.cfg.DeliveryLease/10 {
		w.check(w.Return(w.ctx, le))
		return
	}
	a.pause("dot")
	fate := w.rnd.IntN(100)
	if w.calm {
		fate = 99
	}
	switch {
	case fate < 4:
		a.bury(p)
	case fate < 10:
		a.later(p)
	case fate < 16:
		a.partly(p, served)
	case fate < 22:
		a.all(p, served)
		a.try.excuse = "answer lost"
		a.pause("answer lost")
		w.check(w.Return(w.ctx, le))
		p.visible = w.now()
	default:
		a.all(p, served)
		a.pause("commit")
		try := a.try
		for {
			_, err := w.Commit(w.ctx, le)
			if err == nil {
				break
			}
			if !moving(err) {
				w.fail("commit: %v", err)
				return
			}
			w.note("commit waits for a move")
			a.pause("commit again")
		}
		try.recorded = w.step
		a.pause("receipt, ack")
		w.ack(p)
	}
}

func moving(err error) bool {
	var moved *MovedError
	return errors.As(err, &moved) && moved.Moving
}

func (a *actor) all(p *parcel, served []string) {
	for _, r := range recipients {
		if !slices.Contains(served, r) {
			a.w.accept(a, p, r)
		}
	}
}

// partly is accepted for one recipient; the other one's turn comes with a retry.
func (a *actor) partly(p *parcel, served []string) {
	w := a.w
	try := a.try
	if !slices.Contains(served, recipients[0]) {
		w.accept(a, p, recipients[0])
		a.pause("record")
		err := w.Record(w.ctx, try.lease, []byte("route"), recipients[:1])
		for moving(err) {
			a.pause("record again")
			err = w.Record(w.ctx, try.lease, []byte("route"), recipients[:1])
		}
		w.check(err)
		if err != nil {
			if try.excuse == "" {
				try.excuse = "lease lost before the record"
			}
			return
		}
		try.recorded = w.step
	}
	a.later(p)
}

// later is 4yz: soon again, or given back to the remote.
func (a *actor) later(p *parcel) {
	w := a.w
	if w.rnd.IntN(3) > 0 {
		a.pause("return")
		w.check(w.Return(w.ctx, a.try.lease))
		p.visible = w.now().Add(time.Duration(w.rnd.IntN(20)) * time.Second)
		return
	}
	a.pause("defer")
	err := w.Defer(w.ctx, a.try.lease, time.Duration(w.rnd.IntN(200))*time.Second)
	w.check(err)
	if err == nil {
		a.pause("ack deferred")
		w.ack(p)
	}
}

// bury puts the message into DEAD, then parks it.
func (a *actor) bury(p *parcel) {
	w := a.w
	a.pause("bury")
	w.dead[p.account+"/"+string(p.letter.key)] = p
	a.pause("park")
	err := w.Park(w.ctx, a.try.lease)
	w.check(err)
	if err == nil {
		a.pause("ack parked")
		w.ack(p)
	}
}
