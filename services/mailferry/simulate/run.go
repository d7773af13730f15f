package simulate

import (
	"cmp"
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// emit is what planners do at a tick: they claim what is due, publish its jobs, and commit when it is due next.
func (s *sim) emit(now uint32) {
	at := s.time(now)
	s.claims = s.claims[:0]
	for shard := range due.Shards {
		for range s.turns.Most(shard, at) {
			i, ok := s.wheel.take(shard)
			if !ok {
				break
			}
			s.claims = append(s.claims, i)
		}
	}
	slices.SortFunc(s.claims, func(i, j uint32) int { return cmp.Or(cmp.Compare(s.accts[i].at, s.accts[j].at), cmp.Compare(i, j)) })
	for _, i := range s.claims {
		p := s.planned(i, s.uid(i))
		emit, next := s.turns.Claim(due.Claimed{Entry: p.Entry, Due: p.Next}, at)
		if emit {
			s.publish(i, &s.accts[i])
		}
		s.wheel.set(i, s.ms(next))
	}
	s.minute.Overdue = s.wheel.left
}

// publish queues the job of an account, unless one is there.
func (s *sim) publish(i uint32, a *acct) {
	switch {
	case a.flags&hasJob == 0:
		s.minute.Emitted++
		a.flags |= hasJob
		if a.since == 0 {
			a.since = a.at
		}
		s.queue.push(i)
	case a.flags&running != 0:
		s.minute.Coalesced++
		s.total.Missed++
	default: // the turn that waits counts them when it begins
		s.minute.Coalesced++
	}
}

// serve gives jobs to workers as long as there are both.
func (s *sim) serve(now uint32) {
	at := s.time(now)
	for s.queue.size > 0 && s.free.size > 0 {
		i, w := s.queue.pop(), s.free.pop()
		a := &s.accts[i]
		domain := s.domains[a.domain]
		ok, again := s.workers[w].Enter(domain, 1, at)
		if ok {
			if ok = s.open(i, a, w, now, at); ok {
				continue
			}
			s.workers[w].Leave(domain, refusal, at)
		} else {
			s.minute.HeldBack++
			p := s.planned(i, "")
			p.Move(p.Revision, at.Add(again))
			s.keep(i, &p)
		}
		a.flags &^= hasJob
		s.free.push(w)
	}
}

// open takes a place at the host of an account and plays its session; without one the account stands in line.
func (s *sim) open(i uint32, a *acct, w, now uint32, at time.Time) bool {
	h := s.hosts[a.host]
	ok, again := h.Enter(i, a.domain, false, at)
	if !ok { // as a worker settles it
		s.minute.Refused++
		h.place.total.Refused++
		p, turn := s.planned(i, ""), at.Add(again)
		p.Settle(due.Ended{Kind: fault.Throttled, NotBefore: turn.Add(-time.Second), At: at})
		p.Hasten(turn)
		s.keep(i, &p)
		return false
	}
	s.began(a, h, now)
	e := s.play(i, h, now)
	e.worker = uint16(w)
	if e.kind == uint8(fault.None) || e.kind == uint8(fault.Network) { // it took the connection
		h.Dialed(true, at)
	}
	s.ends.push(e)
	return true
}

// began counts a session.
func (s *sim) began(a *acct, h *site, now uint32) {
	lag := now - a.since
	if missed := int(lag / uint32(s.interval(a).Milliseconds())); missed > 0 {
		s.total.Missed += missed
		s.total.MissedInARow = max(s.total.MissedInARow, missed)
	}
	a.since = 0
	a.flags |= running
	s.lags.add(lag)
	h.place.lags.add(lag)
	s.minute.Started++
	h.most = max(h.most, h.Open())
	p := h.place
	p.open++
	p.minute++
	s.minute.session(p.open, p.index)
	s.minute.run(len(s.ends) + 1)
}

// interval is the time between two turns of an account.
func (s *sim) interval(a *acct) time.Duration {
	if len(s.adaptive.Entries) == 0 {
		return s.cfg.Interval
	}
	shortest := 24 * time.Hour
	for _, e := range s.adaptive.Entries {
		if d := e.Interval(int(a.quiet), 0); d > 0 && !e.Off {
			shortest = min(shortest, d)
		}
	}
	return shortest
}

// play decides how a session goes.
func (s *sim) play(i uint32, h *site, now uint32) end {
	p := h.place
	x := mix(mix(s.cfg.Seed, uint64(now)), uint64(i))
	e := end{account: i, took: p.lengths[x%lengths]}
	since := time.Duration(now-first) * time.Millisecond
	for _, o := range p.Outages {
		switch {
		case since < o.From || since >= o.To:
		case o.Fault == outageTimeout:
			e.kind, e.took = uint8(fault.Timeout), dialLimit
		default:
			e.kind, e.took = uint8(fault.Refused), roundTrip
		}
	}
	if luck := 100 * fraction(mix(x, 1)); e.kind == uint8(fault.None) && luck < p.FaultPercent {
		e.kind = uint8(fault.Network)
	}
	e.found = e.kind == uint8(fault.None) && 100*fraction(mix(x, 2)) < p.MailPercent
	e.at = now + e.took
	return e
}

// roundTrip is how long a refusal of a connection takes, in ms.
const roundTrip = 50

// finishUntil ends the sessions that end up to a time, and has others take their slots.
func (s *sim) finishUntil(now uint32) {
	for len(s.ends) > 0 && s.ends[0].at <= now {
		e := s.ends.pop()
		s.finish(e)
		s.free.push(uint32(e.worker))
		if s.queue.size > 0 {
			s.serve(e.at)
		}
	}
}

// finish settles a run as a worker does.
func (s *sim) finish(e end) {
	a := &s.accts[e.account]
	h, at, kind := s.hosts[a.host], s.time(e.at), fault.Kind(e.kind)
	if kind == fault.Refused || kind == fault.Timeout {
		h.Dialed(false, at)
	}
	h.Model.Leave(ms(e.took))
	h.place.open--
	h.place.total.Busy += ms(e.took)
	s.workers[e.worker].Leave(s.domains[a.domain], ms(e.took), at)
	a.flags &^= hasJob | running
	uid := ""
	if kind != fault.None || e.found {
		uid = s.uid(e.account)
	}
	p := s.planned(e.account, uid)
	ended := due.Ended{Kind: kind, At: at, Found: due.Nothing}
	switch {
	case kind != fault.None:
		v := kind.Verdict()
		ended.Found, ended.NotBefore = due.Unknown, schedule.Retry(uid, schedule.Curve{First: v.First, Cap: v.Cap}, p.Failures+1, at, time.Time{})
		s.minute.Failed++
		h.place.total.Failed++
	case e.found:
		ended.Found = due.Mail
		s.minute.Mail++
	}
	quiet := p.Quiet
	p.Settle(ended)
	if e.found && quiet > 0 {
		if sooner := s.adaptive.Sooner(uid, s.time(e.at-e.took), at); !sooner.IsZero() {
			p.Hasten(sooner)
		}
	}
	s.keep(e.account, &p)
}
