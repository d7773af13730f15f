package simulate

import (
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
)

// acct is one account, in 32 bytes: ten million of them are to fit into a small machine. Times are milliseconds of the virtual
// clock, of which 0 is before the beginning.
type acct struct {
	next, prev uint32 // in the list it stands in: index+1, 0 for none
	at         uint32 // when it is due; 0 for never
	since      uint32 // when the turn was due that has not begun yet; 0 if none
	notBefore  uint32
	domain     uint32
	host       uint16
	shard      uint8
	flags      uint8
	kind       uint8
	failures   uint8
	quiet      uint8
	_          uint8
}

// Flags of an account.
const (
	listed  = 1 << iota // it stands in a list of the wheel
	hasJob              // a job of it is queued, or runs
	running             // it runs
)

// kindOf is a fault kind as an account keeps it.
func (a *acct) kindOf() fault.Kind { return fault.Kind(a.kind) }

// list is a queue of accounts, linked in themselves.
type list struct{ first, last uint32 }

// wheel holds accounts by when they are due: one list for each tick, and one for each shard of what is due. Its order is that
// of the due index as far as ticks tell: who is due longest comes first.
type wheel struct {
	accts []acct
	tick  uint32 // ms
	done  uint32 // ticks that have come
	ticks []list
	due   [due.Shards]list
	left  int // accounts that are due
}

func newWheel(accts []acct, tick, until uint32) *wheel {
	return &wheel{accts: accts, tick: tick, ticks: make([]list, until/tick+2)}
}

// listOf is where an account belongs that is due at a time, nil for one that lies behind the end.
func (w *wheel) listOf(a *acct) *list {
	n := (a.at-1)/w.tick + 1 // at is not 0
	switch {
	case a.at > w.done*w.tick && int(n) < len(w.ticks):
		return &w.ticks[n]
	case a.at > w.done*w.tick:
		return nil
	}
	return &w.due[a.shard]
}

// set makes an account due at a time, 0 for never.
func (w *wheel) set(i, at uint32) {
	a := &w.accts[i]
	if a.flags&listed != 0 {
		w.unlink(i)
	}
	if a.at = at; at == 0 {
		return
	}
	if l := w.listOf(a); l != nil {
		w.link(l, i)
		if l == &w.due[a.shard] {
			w.left++
		}
	}
}

func (w *wheel) link(l *list, i uint32) {
	a := &w.accts[i]
	a.flags |= listed
	a.prev, a.next = l.last, 0
	if l.last == 0 {
		l.first = i + 1
	} else {
		w.accts[l.last-1].next = i + 1
	}
	l.last = i + 1
}

func (w *wheel) unlink(i uint32) {
	a := &w.accts[i]
	l := w.listOf(a)
	if l == &w.due[a.shard] {
		w.left--
	}
	if a.prev == 0 {
		l.first = a.next
	} else {
		w.accts[a.prev-1].next = a.next
	}
	if a.next == 0 {
		l.last = a.prev
	} else {
		w.accts[a.next-1].prev = a.prev
	}
	a.flags &^= listed
}

// turn lets the next tick come, and returns how many accounts came due.
func (w *wheel) turn() (came int) {
	if w.done++; int(w.done) >= len(w.ticks) {
		return 0
	}
	l := &w.ticks[w.done]
	for l.first != 0 {
		i := l.first - 1
		l.first = w.accts[i].next
		w.link(&w.due[w.accts[i].shard], i)
		came++
	}
	*l = list{}
	w.left += came
	return came
}

// take takes the account of a shard that has been due longest.
func (w *wheel) take(shard int) (uint32, bool) {
	i := w.due[shard].first
	if i == 0 {
		return 0, false
	}
	w.unlink(i - 1)
	return i - 1, true
}

// end is the end of a session.
type end struct {
	at, account uint32
	took        uint32
	worker      uint16
	kind        uint8
	found       bool
}

// ends is a heap of ends, the first one first. container/heap would make a value of each.
type ends []end

func (h ends) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].account < h[j].account
}

func (h *ends) push(e end) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 4
		if !s.less(i, up) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *ends) pop() end {
	s := *h
	first, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		least := i
		for c := 4*i + 1; c < min(4*i+5, n); c++ {
			if s.less(c, least) {
				least = c
			}
		}
		if least == i {
			break
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
	*h = s
	return first
}

// ring is a queue of numbers.
type ring struct {
	of         []uint32
	head, size int
}

func (r *ring) push(v uint32) {
	if r.size == len(r.of) {
		grown := make([]uint32, max(64, 2*r.size))
		n := copy(grown, r.of[r.head:])
		copy(grown[n:], r.of[:r.head])
		r.of, r.head = grown, 0
	}
	r.of[(r.head+r.size)%len(r.of)] = v
	r.size++
}

func (r *ring) pop() uint32 {
	v := r.of[r.head]
	r.head = (r.head + 1) % len(r.of)
	r.size--
	return v
}
