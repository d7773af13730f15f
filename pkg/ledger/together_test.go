package ledger

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// crowd lets n goroutines begin at once and waits for them.
func crowd(n int, do func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	all.Wait()
}

// scriptsRun is how many scripts Redis has run.
func (h *house) scriptsRun() int {
	h.t.Helper()
	info, err := h.rdb.Info(context.Background(), "commandstats").Result()
	h.ok(err)
	_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
	n, _, _ := strings.Cut(rest, ",")
	calls, _ := strconv.Atoi(n)
	return calls
}

func TestManyAtOnceShareScripts(t *testing.T) {
	t.Parallel()
	const keys, rivals = 300, 2
	h := newHouse(t, Config{Gather: 2 * time.Millisecond})
	accounts := []string{"a", "b"}
	for _, account := range accounts {
		h.release(h.open(account, "e1"))
	}
	leases := make([]atomic.Pointer[Lease], keys)
	var busy atomic.Int64
	before := h.scriptsRun()
	crowd(keys*rivals, func(i int) {
		k := i % keys
		taken, err := h.Take(t.Context(), TakeRequest{Slot: h.slot, Account: accounts[k%2], Epoch: "e1", Key: h.uid(k), Size: 10, Listed: 10, Holder: "d1"})
		switch {
		case err != nil:
			t.Error(err)
		case taken.Verdict == Busy:
			busy.Add(1)
		case taken.Verdict != Deliver || !leases[k].CompareAndSwap(nil, taken.Lease):
			t.Errorf("key %d: %v, taken twice or not at all", k, taken.Verdict)
		}
	})
	if busy.Load() != keys*(rivals-1) {
		t.Fatalf("%d of %d rivals were told that another has the lease", busy.Load(), keys*(rivals-1))
	}
	crowd(keys, func(k int) {
		if wrote, err := h.Commit(t.Context(), leases[k].Load()); !wrote || err != nil {
			t.Errorf("commit of key %d: %v, %v", k, wrote, err)
		}
	})
	if n := h.scriptsRun() - before; n >= keys/2 {
		t.Errorf("%d scripts for %d calls", n, keys*(rivals+1))
	}
	for i, account := range accounts {
		hold := h.open(account, "e1")
		ix := hold.Index()
		if c := ix.Counts(); c.Collected != keys/2 || c.Marked != 0 {
			t.Errorf("account %s: %+v", account, c)
		}
		for k := i; k < keys; k += 2 {
			if s := ix.State(h.uid(k)); s != StateCollected {
				t.Errorf("key %d is %v", k, s)
			}
		}
		h.release(hold)
	}
}

func TestTogetherRefusesAllAlike(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.open("a", "e1")
	h.ok(h.Erase(t.Context(), h.slot, "a"))
	crowd(50, func(i int) {
		if taken := h.take("a", h.uid(i)); taken.Verdict != Gone {
			t.Errorf("take from an account that is gone: %v", taken.Verdict)
		}
	})
	crowd(50, func(i int) {
		if taken := h.take("never-opened", h.uid(i)); taken.Verdict != NoEpoch {
			t.Errorf("take without an index: %v", taken.Verdict)
		}
	})
}

// TestTogetherOutlivesACaller: who gives up while others go on neither stops them nor is held up by them.
func TestTogetherOutlivesACaller(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Gather: time.Millisecond})
	h.open("a", "e1")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(2*time.Millisecond, cancel)
	var delivered, canceled atomic.Int64
	crowd(400, func(i int) {
		mine := t.Context()
		if i%2 == 0 {
			mine = ctx
		}
		for j := range 5 {
			taken, err := h.Take(mine, TakeRequest{Slot: h.slot, Account: "a", Epoch: "e1", Key: h.uid(5*i + j), Holder: "d1"})
			switch {
			case err == nil && taken.Verdict == Deliver:
				delivered.Add(1)
			case i%2 == 0 && fault.KindOf(err) == fault.Canceled && errors.Is(err, context.Canceled):
				canceled.Add(1)
			default:
				t.Errorf("take %d: %v, %v", i, taken.Verdict, err)
			}
		}
	})
	if delivered.Load() < 200*5 || delivered.Load()+canceled.Load() != 400*5 {
		t.Errorf("%d taken, %d canceled", delivered.Load(), canceled.Load())
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		h.takes.mu.Lock()
		left := len(h.takes.lines)
		h.takes.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d lines are left", left)
		}
	}
}
