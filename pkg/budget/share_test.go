package budget_test

import (
	"container/heap"
	"slices"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
)

// fleet is one worker on a virtual clock: jobs are taken in the order in which they were queued, into free slots.
type fleet struct {
	now    time.Time
	slots  int
	shares *budget.Shares // nil: nothing is parted
	queue  []*job
	events events
	waits  map[string][]time.Duration
	// most is how many runs of the domain went on at a time.
	most, open map[string]int
}

type job struct {
	domain string
	takes  time.Duration
	due    time.Time // when it was due first
	began  time.Time
}

type event struct {
	at  time.Time
	job *job
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func newFleet(slots int, shares *budget.Shares) *fleet {
	return &fleet{now: time.Unix(0, 0), slots: slots, shares: shares, waits: map[string][]time.Duration{}, most: map[string]int{}, open: map[string]int{}}
}

// add has so many accounts of a domain due every so often, spread over it.
func (f *fleet) add(domain string, accounts int, every, takes, until time.Duration) {
	for i := range accounts {
		for at := every * time.Duration(i) / time.Duration(accounts); at < until; at += every {
			heap.Push(&f.events, event{f.now.Add(at), &job{domain: domain, takes: takes}})
		}
	}
}

func (f *fleet) run(until time.Duration) {
	end := f.now.Add(until)
	running := 0
	for len(f.events) > 0 && !f.events[0].at.After(end) {
		e := heap.Pop(&f.events).(event)
		f.now = e.at
		if j := e.job; j.began.IsZero() {
			if j.due.IsZero() {
				j.due = f.now
			}
			f.queue = append(f.queue, j)
		} else {
			running--
			f.open[j.domain]--
			if f.shares != nil {
				f.shares.Leave(j.domain, j.takes, f.now)
			}
		}
		for running < f.slots && len(f.queue) > 0 {
			j := f.queue[0]
			f.queue = f.queue[1:]
			if f.shares != nil {
				if ok, again := f.shares.Enter(j.domain, 1, f.now); !ok {
					heap.Push(&f.events, event{f.now.Add(again), j})
					continue
				}
			}
			running++
			f.open[j.domain]++
			f.most[j.domain] = max(f.most[j.domain], f.open[j.domain])
			j.began = f.now
			f.waits[j.domain] = append(f.waits[j.domain], f.now.Sub(j.due))
			heap.Push(&f.events, event{f.now.Add(j.takes), j})
		}
	}
}

func p99(waits []time.Duration) time.Duration {
	slices.Sort(waits)
	return waits[len(waits)*99/100]
}

// TestALargeDomainDoesNotKeepASmallOneWaiting has 2,000 accounts at a server that hangs for a minute, and ten of another
// domain, at a worker of 64 slots.
func TestALargeDomainDoesNotKeepASmallOneWaiting(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	f := newFleet(64, budget.NewShares(64))
	f.add("small", 10, time.Minute, time.Second, hour)
	f.add("large", 2000, 10*time.Minute, time.Minute, hour)
	f.run(hour)
	if got := p99(f.waits["small"]); got > time.Second {
		t.Errorf("the small domain waits %v", got)
	}
	if n := len(f.waits["small"]); n < 590 {
		t.Errorf("%d runs of the small domain", n)
	}
	if n := len(f.waits["large"]); n < 52*59 { // all that is not kept for others is used, after the first minute
		t.Errorf("%d runs of the large domain", n)
	}
	without := newFleet(64, nil)
	without.add("small", 10, time.Minute, time.Second, hour)
	without.add("large", 2000, 10*time.Minute, time.Minute, hour)
	without.run(hour)
	if got := p99(without.waits["small"]); got < time.Minute {
		t.Errorf("it waits no longer without: %v", got)
	}
}

// TestDomainsThatWantAllHaveTheirShares has three domains that could each fill the worker; one of them comes later.
func TestDomainsThatWantAllHaveTheirShares(t *testing.T) {
	t.Parallel()
	s := budget.NewShares(60)
	now := time.Unix(0, 0)
	running := map[string]int{}
	weights := map[string]int{"a": 1, "b": 2, "c": 3}
	s.Enter("b", 2, now) // it has been seen
	s.Leave("b", time.Second, now)
	for step := range 2000 {
		now = now.Add(50 * time.Millisecond)
		for _, d := range []string{"a", "b", "c"} {
			if d == "c" && step < 500 {
				continue
			}
			for { // as many as it gets
				ok, again := s.Enter(d, weights[d], now)
				if !ok {
					if again < time.Second || again > time.Minute {
						t.Fatalf("again after %v", again)
					}
					break
				}
				running[d]++
			}
		}
		// One run of each ends.
		if step < 1990 {
			for d := range running {
				if running[d] > 0 {
					s.Leave(d, 30*time.Second, now)
					running[d]--
				}
			}
		}
	}
	for d, want := range map[string]int{"a": 10, "b": 20, "c": 30} {
		if got := running[d]; got < want-8 || got > want+8 {
			t.Errorf("%s has %d slots of 60, want about %d (%v)", d, got, want, running)
		}
	}
}

// TestOneDomainHasAllSlots: nothing is kept free where nobody else comes.
func TestOneDomainHasAllSlots(t *testing.T) {
	t.Parallel()
	s := budget.NewShares(16)
	now := time.Unix(0, 0)
	for i := range 16 {
		if ok, _ := s.Enter("a", 1, now); !ok {
			t.Fatalf("it got %d", i)
		}
	}
	if ok, _ := s.Enter("b", 1, now); !ok {
		t.Error("another domain has no share")
	}
	if ok, _ := s.Enter("a", 1, now); ok {
		t.Error("it gets more than its share beside another domain")
	}
}
