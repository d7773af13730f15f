package budget_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// full returns what a refusal says, nil if there was none.
func full(t *testing.T, err error) *budget.Full {
	t.Helper()
	var f *budget.Full
	if err != nil && !errors.As(err, &f) {
		t.Fatal(err)
	}
	return f
}

func TestNothingIsBoundedByNothing(t *testing.T) {
	t.Parallel()
	p, err := budget.New(nil).Enter(t.Context(), budget.Limit{Name: "h"}, budget.Visitor{Account: "a"})
	if err != nil || p != nil {
		t.Errorf("%v %v", p, err)
	}
	p.Dialed(t.Context(), false)
	p.Leave()
}

func TestAPlaceIsForWhoeverWaitedFirst(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	b, other := budget.New(r.Client), budget.New(r.Client)
	l := budget.Limit{Name: "provider", Sessions: 1}
	p, err := b.Enter(t.Context(), l, budget.Visitor{Account: "a"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Enter(t.Context(), l, budget.Visitor{Account: "b"})
	first := full(t, err)
	_, err = b.Enter(t.Context(), l, budget.Visitor{Account: "c"})
	second := full(t, err)
	if first == nil || second == nil || first.Wait >= second.Wait {
		t.Fatalf("%v, then %v", first, second)
	}
	p.Leave()
	p.Leave() // once only
	if _, err := b.Enter(t.Context(), l, budget.Visitor{Account: "d"}); full(t, err) == nil {
		t.Error("who came last is first")
	}
	var q *budget.Place
	testenv.Eventually(t, 30*time.Second, "the first of the line has its turn", func() bool {
		q, err = other.Enter(t.Context(), l, budget.Visitor{Account: "b"})
		return full(t, err) == nil
	})
	if _, err := b.Enter(t.Context(), l, budget.Visitor{Account: "e", Hurry: true}); full(t, err) == nil {
		t.Error("a hurry passes the limit")
	}
	q.Leave()
	if q, err = b.Enter(t.Context(), l, budget.Visitor{Account: "e", Hurry: true}); full(t, err) != nil {
		t.Error("a hurry does not pass the line")
	}
	q.Leave()
	if q, err = b.Enter(t.Context(), budget.Limit{Name: "elsewhere", Sessions: 1}, budget.Visitor{Account: "a"}); full(t, err) != nil {
		t.Error("one host stands for another")
	}
	q.Leave()
}

// TestLimitsHold has four processes with 200 accounts at one host.
func TestLimitsHold(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	l := budget.Limit{Name: "provider", Sessions: 5, LoginsPerMinute: 1200}
	const wanted = 120
	var open, most, granted atomic.Int64
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 200 {
		b := budget.New(r.Client)
		wg.Go(func() {
			for granted.Load() < wanted && t.Context().Err() == nil {
				p, err := b.Enter(t.Context(), l, budget.Visitor{Account: fmt.Sprint("account", i)})
				if f := full(t, err); f != nil {
					time.Sleep(f.Wait)
					continue
				}
				granted.Add(1)
				n := open.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				p.Dialed(t.Context(), true)
				time.Sleep(20 * time.Millisecond)
				open.Add(-1)
				p.Leave()
			}
		})
	}
	wg.Wait()
	if most.Load() > 5 {
		t.Errorf("%d sessions at a time", most.Load())
	}
	if n, may := granted.Load(), 20*time.Since(start).Seconds()+26; float64(n) > may {
		t.Errorf("%d logins, and %.0f were allowed", n, may)
	}
}

// TestAHostThatFailsIsLeftAlone refuses connections, until one session finds it back.
func TestAHostThatFailsIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	b := budget.New(r.Client)
	l := budget.Limit{Name: "host", Address: "host:993", Sessions: 100}
	for range 20 {
		p, err := b.Enter(t.Context(), l, budget.Visitor{Account: "a", Hurry: true})
		if full(t, err) != nil {
			t.Fatal(err)
		}
		p.Dialed(t.Context(), false)
		p.Leave()
	}
	_, err := b.Enter(t.Context(), l, budget.Visitor{Account: "a", Hurry: true})
	if f := full(t, err); f == nil || f.Wait > 5*time.Second {
		t.Fatalf("%v", err)
	}
	if _, err := b.Enter(t.Context(), budget.Limit{Name: "other", Sessions: 1}, budget.Visitor{Account: "a", Hurry: true}); full(t, err) != nil {
		t.Error("another host is shut as well")
	}
	if _, err := b.Enter(t.Context(), budget.Limit{Name: "host", Address: "host:995", Sessions: 100}, budget.Visitor{Account: "a", Hurry: true}); full(t, err) != nil {
		t.Error("another port of the host is shut as well")
	}
	var probe *budget.Place
	testenv.Eventually(t, time.Minute, "one may try", func() bool {
		probe, err = b.Enter(t.Context(), l, budget.Visitor{Account: "a", Hurry: true})
		return full(t, err) == nil
	})
	if _, err := b.Enter(t.Context(), l, budget.Visitor{Account: "b", Hurry: true}); full(t, err) == nil {
		t.Error("two may try")
	}
	probe.Dialed(t.Context(), true)
	probe.Leave()
	p, err := b.Enter(t.Context(), l, budget.Visitor{Account: "b", Hurry: true})
	if full(t, err) != nil {
		t.Errorf("it is back: %v", err)
	}
	p.Leave()
}

// TestDomainsInLineTakeTurns has one domain with 300 accounts in line, and another with one.
func TestDomainsInLineTakeTurns(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	b := budget.New(r.Client)
	l := budget.Limit{Name: "provider", Address: "provider:993", LoginsPerMinute: 60}
	var last time.Duration
	for i := range 300 {
		_, err := b.Enter(t.Context(), l, budget.Visitor{Account: fmt.Sprint("large", i), Domain: "large.example"})
		if f := full(t, err); f != nil {
			last = f.Wait
		}
	}
	_, err := b.Enter(t.Context(), l, budget.Visitor{Account: "small", Domain: "small.example"})
	f := full(t, err)
	if f == nil || last < 4*time.Minute || f.Wait > 30*time.Second {
		t.Errorf("the last of the large domain comes after %v, the first of the small one: %v", last, err)
		if f != nil {
			t.Error(f.Wait)
		}
	}
}
