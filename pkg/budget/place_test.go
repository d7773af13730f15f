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
	p, err := budget.New(nil).Enter(t.Context(), budget.Limit{Name: "h"}, "a", false)
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
	p, err := b.Enter(t.Context(), l, "a", false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Enter(t.Context(), l, "b", false)
	first := full(t, err)
	_, err = b.Enter(t.Context(), l, "c", false)
	second := full(t, err)
	if first == nil || second == nil || first.Wait >= second.Wait {
		t.Fatalf("%v, then %v", first, second)
	}
	p.Leave()
	p.Leave() // once only
	if _, err := b.Enter(t.Context(), l, "d", false); full(t, err) == nil {
		t.Error("who came last is first")
	}
	var q *budget.Place
	testenv.Eventually(t, 30*time.Second, "the first of the line has its turn", func() bool {
		q, err = other.Enter(t.Context(), l, "b", false)
		return full(t, err) == nil
	})
	if _, err := b.Enter(t.Context(), l, "e", true); full(t, err) == nil {
		t.Error("a hurry passes the limit")
	}
	q.Leave()
	if q, err = b.Enter(t.Context(), l, "e", true); full(t, err) != nil {
		t.Error("a hurry does not pass the line")
	}
	q.Leave()
	if q, err = b.Enter(t.Context(), budget.Limit{Name: "elsewhere", Sessions: 1}, "a", false); full(t, err) != nil {
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
				p, err := b.Enter(t.Context(), l, fmt.Sprint("account", i), false)
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
		p, err := b.Enter(t.Context(), l, "a", true)
		if full(t, err) != nil {
			t.Fatal(err)
		}
		p.Dialed(t.Context(), false)
		p.Leave()
	}
	_, err := b.Enter(t.Context(), l, "a", true)
	if f := full(t, err); f == nil || f.Wait > 5*time.Second {
		t.Fatalf("%v", err)
	}
	if _, err := b.Enter(t.Context(), budget.Limit{Name: "other", Sessions: 1}, "a", true); full(t, err) != nil {
		t.Error("another host is shut as well")
	}
	if _, err := b.Enter(t.Context(), budget.Limit{Name: "host", Address: "host:995", Sessions: 100}, "a", true); full(t, err) != nil {
		t.Error("another port of the host is shut as well")
	}
	var probe *budget.Place
	testenv.Eventually(t, time.Minute, "one may try", func() bool {
		probe, err = b.Enter(t.Context(), l, "a", true)
		return full(t, err) == nil
	})
	if _, err := b.Enter(t.Context(), l, "b", true); full(t, err) == nil {
		t.Error("two may try")
	}
	probe.Dialed(t.Context(), true)
	probe.Leave()
	p, err := b.Enter(t.Context(), l, "b", true)
	if full(t, err) != nil {
		t.Errorf("it is back: %v", err)
	}
	p.Leave()
}
