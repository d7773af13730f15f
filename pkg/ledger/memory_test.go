package ledger

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// weight is what all keys of the slot weigh in Redis.
func (h *house) weight() int64 {
	h.t.Helper()
	ctx := context.Background()
	keys, err := h.rdb.Keys(ctx, h.slot.key("*")).Result()
	h.ok(err)
	var sum int64
	for _, k := range keys {
		n, err := h.rdb.MemoryUsage(ctx, k, 0).Result()
		h.ok(err)
		sum += n
	}
	return sum
}

// commitAll commits keys without taking them first.
func (h *house) commitAll(account, epoch string, n int, key func(i int) Key) {
	h.t.Helper()
	pipe := h.rdb.Pipeline()
	script := h.scripts["commit"]
	h.ok(script.Load(context.Background(), h.rdb).Err())
	for i := range n {
		script.EvalSha(context.Background(), pipe, append(h.slot.accountKeys(account), h.slot.digestsKey(account)), h.offset.Load(), h.cfg.KeyID, 1, "t", key(i).raw(), epoch,
			FoldSize(int64(1000+i)), 1000+i, "")
		if i%1000 == 999 || i == n-1 {
			_, err := pipe.Exec(context.Background())
			h.ok(err)
		}
	}
}

func TestBytesOfUniqueID(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{TTL: 10 * time.Minute}) // no lock runs out, however slow the machine
	hold := h.open("a1", "e1")
	done := 0
	for _, n := range []int{10_000, 100_000} {
		h.commitAll("a1", "e1", n-done, func(i int) Key { return h.uid(done + i) })
		done = n
		ix, err := hold.Reload(context.Background())
		h.ok(err)
		if got := ix.Counts().Collected; got != n {
			t.Fatalf("%d collected, want %d", got, n)
		}
		for i := range n {
			if size, ok := ix.Listed(h.uid(i)); !ok || (i == 0 && size != 1000) {
				t.Fatalf("key %d of %d is not in the index", i, n)
			}
		}
		for i := n; i < n+1000; i++ {
			if ix.State(h.uid(i)) != StateNew {
				t.Fatalf("key %d was never collected", i)
			}
		}
		per := float64(h.weight()) / float64(n)
		t.Logf("%d keys: %.2f bytes each", n, per)
		if per > 13 {
			t.Errorf("%d keys: %.2f bytes each, the budget is 13", n, per)
		}
	}
}

func TestBytesOfMailbox(t *testing.T) {
	t.Parallel()
	for _, boxes := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(boxes), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{TTL: time.Hour}) // its commits take a while where two cores do everything
			hold := h.open("a1", "e1")
			empty := h.weight()
			for b := range boxes {
				n := 150
				if boxes == 1 {
					n = 20_000
				}
				h.commitAll("a1", "e1", n, func(i int) Key { return h.keyer.IMAP(fmt.Sprint("box ", b), 1_700_000_000, uint32(1+i)) })
			}
			// One more commit finds the tail full of another mailbox and folds it.
			h.commitAll("a1", "e1", 129, func(i int) Key { return h.keyer.IMAP("last", 9, uint32(1+i)) })
			ix, err := hold.Reload(context.Background())
			h.ok(err)
			if len(ix.tail) > tailMax {
				t.Fatalf("%d in the tail", len(ix.tail))
			}
			h.ok(h.rdb.Del(context.Background(), h.slot.key("a1:tail")).Err())
			per := float64(h.weight()-empty) / float64(boxes+1)
			t.Logf("%d mailboxes: %.1f bytes each", boxes, per)
			if per > 120 {
				t.Errorf("%.1f bytes a mailbox, the budget is 120", per)
			}
		})
	}
}

const tailMax = 128

func BenchmarkLedger(b *testing.B) {
	for _, held := range []int{0, 100_000} {
		h := newHouse(b, Config{TTL: 1 << 40})
		hold := h.open("a1", "e1")
		h.commitAll("a1", "e1", held, func(i int) Key { return h.uid(i) })
		ctx := context.Background()
		next := held
		b.Run(fmt.Sprintf("Mark128/%d", held), func(b *testing.B) {
			for b.Loop() {
				reqs := make([]MarkRequest, 128)
				keys := make([]Key, 128)
				for i := range reqs {
					next++
					keys[i] = h.uid(next)
					reqs[i] = MarkRequest{Key: keys[i], Size: 2000, Listed: 2000}
				}
				if _, err := hold.Mark(ctx, reqs); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				h.ok(hold.Unmark(ctx, keys))
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("Take/%d", held), func(b *testing.B) {
			for b.Loop() {
				next++
				h.deliver("a1", h.uid(next))
			}
		})
		b.Run(fmt.Sprintf("Commit/%d", held), func(b *testing.B) {
			for b.Loop() {
				next++
				h.commit(&Lease{Account: "a1", Key: h.uid(next), Epoch: "e1", Token: "t", slot: h.slot})
			}
		})
		b.Run(fmt.Sprintf("Acquire/%d", held), func(b *testing.B) {
			h.release(hold)
			for b.Loop() {
				hold = h.acquire("a1", "job")
				h.release(hold)
			}
		})
	}
}
