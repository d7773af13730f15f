package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestStreamsLostInTransit deletes JOBS, TRANSIT and BODIES while messages are in transit: every message still
// arrives, because it is not called collected before its destination has it. (Fault 14.)
func TestStreamsLostInTransit(t *testing.T) {
	t.Parallel()
	lossOfTransit(t, func(h *house) {
		ctx := context.Background()
		for _, s := range []string{"JOBS", "TRANSIT", "OBJ_BODIES"} {
			if err := h.nats.JS.DeleteStream(ctx, s); err != nil {
				t.Fatal(s, err)
			}
		}
	})
}

// TestStoreEmptied empties the whole JetStream store and puts the buckets back from a copy. (Fault 14.)
func TestStoreEmptied(t *testing.T) {
	t.Parallel()
	lossOfTransit(t, func(h *house) {
		store := h.nats.StoreDir()
		h.nats.Stop()
		keep := filepath.Join(h.dir, "backup")
		buckets, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "KV_*"))
		if err != nil || len(buckets) < 4 {
			t.Fatal("buckets on disk: ", buckets, err)
		}
		for _, b := range buckets {
			if err := os.CopyFS(filepath.Join(keep, filepath.Base(b)), os.DirFS(b)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(store, "jetstream")); err != nil {
			t.Fatal(err)
		}
		for _, b := range buckets {
			if err := os.CopyFS(b, os.DirFS(filepath.Join(keep, filepath.Base(b)))); err != nil {
				t.Fatal(err)
			}
		}
		left := 0
		_ = filepath.WalkDir(store, func(_ string, d fs.DirEntry, _ error) error {
			if d.Name() == "TRANSIT" {
				left++
			}
			return nil
		})
		if left > 0 {
			t.Fatal("TRANSIT is still there")
		}
		h.nats.Start()
	})
}

func lossOfTransit(t *testing.T, lose func(*house)) {
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "loss"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 30, Large: 3 << 20})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	pop := h.account("loss-pop3", user, account.POP3, account.Leave)
	imap := h.account("loss-imap", user, account.IMAP, account.Leave)
	var tried atomic.Bool
	s.decide(func([]byte) error { // everything stays in transit
		tried.Store(true)
		return temporary()
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(pop, "p1", queue.Scheduled)
	h.trigger(imap, "i1", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "everything is in transit", func() bool {
		a, b := h.counts(pop), h.counts(imap)
		return a.Marked+b.Marked == 2*len(seeds) && a.Job == "" && b.Job == "" && tried.Load() // delivery stands, too
	})
	if n := len(s.copies(pop.ForwardTo)) + len(s.copies(imap.ForwardTo)); n != 0 {
		t.Fatalf("%d messages were accepted already", n)
	}
	lose(h)
	s.decide(nil)
	for i := 0; ; i++ {
		h.trigger(pop, fmt.Sprint("p-again-", i), queue.Scheduled)
		h.trigger(imap, fmt.Sprint("i-again-", i), queue.Scheduled)
		if arrived(20*time.Second, func() bool {
			return len(s.copies(pop.ForwardTo)) == len(seeds) && len(s.copies(imap.ForwardTo)) == len(seeds) && h.idle(pop) && h.idle(imap)
		}) {
			break
		}
		if i == 7 {
			t.Fatalf("arrived: %d and %d of %d", len(s.copies(pop.ForwardTo)), len(s.copies(imap.ForwardTo)), len(seeds))
		}
	}
	checkCopies(t, s, pop, seeds, 0)
	checkCopies(t, s, imap, seeds, 0)
}

// arrived polls like testenv.Eventually and answers instead of failing.
func arrived(limit time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return true
		}
	}
	return false
}

// TestRedisRestartedInMidRun restarts Redis, with its file, while messages are being fetched. (Fault 20.)
func TestRedisRestartedInMidRun(t *testing.T) {
	t.Parallel()
	restartInMidRun(t, func(h *house) {
		h.redis.Stop()
		h.redis.Start()
	})
}

// TestNATSRestartedInMidRun restarts NATS, with its store.
func TestNATSRestartedInMidRun(t *testing.T) {
	t.Parallel()
	restartInMidRun(t, func(h *house) {
		h.nats.Stop()
		h.nats.Start()
	})
}

func restartInMidRun(t *testing.T, restart func(*house)) {
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "restart"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 300})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("restart", user, account.POP3, account.Delete)
	finish := h.watchDeletions(user, s, len(seeds))
	h.startWith("worker", []string{"--batch", "16"})
	h.startWith("delivery", []string{"--handlers", "2"})
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the run is in its middle", func() bool { return len(s.copies(a.ForwardTo)) > 20 })
	restart(h)
	h.settle(a, s, len(seeds), account.Delete)
	finish()
	checkCopies(t, s, a, seeds, 0)
}
