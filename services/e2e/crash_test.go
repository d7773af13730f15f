package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func isCoalesced(err error) bool { return errors.Is(err, queue.ErrCoalesced) }

// point is an instant between two steps of the order of a run or of a hand-over.
type point struct {
	role, name string
	// deletes says that only an account that deletes gets there.
	deletes bool
	// doubles says that this is the window between the destination's answer and the commit: each message in
	// it may arrive once more, and no other.
	doubles int
}

var points = []point{
	{role: "worker", name: "worker.claimed"},
	{role: "worker", name: "worker.locked"},
	{role: "worker", name: "worker.epoch-opened"},
	{role: "worker", name: "worker.listed"},
	{role: "worker", name: "worker.marked"},
	{role: "worker", name: "worker.publishing:3"},
	{role: "worker", name: "worker.fetched"},
	{role: "worker", name: "worker.published"},
	{role: "worker", name: "worker.receipts", deletes: true},
	{role: "worker", name: "worker.doomed", deletes: true},
	{role: "worker", name: "worker.deleted", deletes: true},
	{role: "worker", name: "worker.closed"},
	{role: "worker", name: "worker.before-settle"},
	{role: "worker", name: "worker.reported"},
	{role: "worker", name: "worker.before-ack"},
	{role: "delivery", name: "delivery.pulled:3"},
	{role: "delivery", name: "delivery.taken:3"},
	{role: "delivery", name: "delivery.routed:3"},
	{role: "delivery", name: "delivery.before-dot:3"},
	{role: "delivery", name: "delivery.accepted:3", doubles: 1},
	{role: "delivery", name: "delivery.committed:3"},
	{role: "delivery", name: "delivery.receipt:3"},
	{role: "delivery", name: "delivery.acked:3"},
}

// TestCrashMatrix kills -9 the worker or the delivery between each two steps, for both protocols, with
// leave and with delete: nothing is lost, and nothing doubled but in the one window that is named.
// (Faults 1 to 5, 8 and 9 of the list we are judged by.)
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	remote := testenv.NewDovecot(t)
	for _, p := range points {
		for _, proto := range []account.Protocol{account.POP3, account.IMAP} {
			for _, after := range []account.After{account.Leave, account.Delete} {
				if p.deletes && after != account.Delete {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", p.name, proto, after), func(t *testing.T) {
					t.Parallel()
					crashAt(t, remote, p, proto, after)
				})
			}
		}
	}
}

func crashAt(t *testing.T, remote *testenv.Dovecot, p point, proto account.Protocol, after account.After) {
	acquire(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := fmt.Sprintf("crash%x", time.Now().UnixNano())
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 8})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("crash", user, proto, after)
	guard := h.watchDeletions(user, s, len(seeds))

	victims := map[string][]string{p.role: {"MAILFERRY_KILL_AT=" + p.name}}
	worker := h.start("worker", victims["worker"]...)
	delivery := h.startWith("delivery", []string{"--handlers", "1"}, victims["delivery"]...)
	h.trigger(a, "first", queue.Scheduled)
	victim := worker
	if p.role == "delivery" {
		victim = delivery
	}
	testenv.Eventually(t, 30*time.Second, "the process is killed at "+p.name, victim.ended)
	killed := time.Now()
	if p.role == "worker" {
		h.start("worker")
	} else {
		h.startWith("delivery", []string{"--handlers", "1"})
	}
	if p.role == "worker" { // the job itself comes back
		testenv.Eventually(t, 60*time.Second, "the job of the dead worker is done", func() bool { return h.done(a, s, len(seeds), after) })
	} else {
		h.settle(a, s, len(seeds), after)
	}
	if took := time.Since(killed); took > time.Minute {
		t.Errorf("work was resumed and done only after %v", took)
	}
	guard()
	checkCopies(t, s, a, seeds, p.doubles)
	if after == account.Delete {
		if left := remote.Messages(user); len(left) != 0 {
			t.Errorf("%d messages are left at the remote server", len(left))
		}
	} else if left := remote.Messages(user); len(left) != len(seeds) {
		t.Errorf("%d of %d messages are left at the remote server", len(left), len(seeds))
	}
	// Nothing comes twice in a later run either.
	h.trigger(a, "second", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "a second run has ended", func() bool { return h.idle(a) })
	checkCopies(t, s, a, seeds, p.doubles)
}

// done says that everything was brought to its end.
func (h *house) done(a account.Account, s *sink, n int, after account.After) bool {
	return len(s.copies(a.ForwardTo)) == n && h.idle(a) && (after == account.Leave || len(h.remote.Messages(a.Username)) == 0)
}

// settle waits until everything was brought to its end; runs are asked for as a schedule would.
func (h *house) settle(a account.Account, s *sink, n int, after account.After) {
	h.t.Helper()
	again := time.Now().Add(10 * time.Second)
	testenv.Eventually(h.t, 60*time.Second, "every message is delivered and settled", func() bool {
		if h.done(a, s, n, after) {
			return true
		}
		if time.Now().After(again) {
			h.trigger(a, fmt.Sprint("again-", time.Now().UnixNano()), queue.Scheduled)
			again = time.Now().Add(5 * time.Second)
		}
		return false
	})
}

// watchDeletions looks all the while whether a message is gone from the remote server that the destination
// has not accepted. What it returns ends it and reports.
func (h *house) watchDeletions(user string, s *sink, total int) (finish func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan string, 1)
	go func() {
		worst := ""
		for ctx.Err() == nil {
			left := len(h.remote.Messages(user)) // read before the sink: what is accepted in between is no harm
			s.mu.Lock()
			have := map[string]bool{}
			for _, a := range s.got {
				have[a.id] = true
			}
			s.mu.Unlock()
			for range 3 { // the server renames what it has seen, and a file may be missed on its way
				if total-left > len(have) {
					left = max(left, len(h.remote.Messages(user)))
				}
			}
			if total-left > len(have) {
				worst = fmt.Sprintf("%d messages are gone at the remote server, %d are accepted", total-left, len(have))
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		done <- worst
	}()
	return func() {
		h.t.Helper()
		cancel()
		if worst := <-done; worst != "" {
			h.t.Error("deleted before accepted: ", worst)
		}
	}
}

// checkCopies compares what the sink has with the seeds: each once, of at most surplus one copy more, and each
// unchanged but for header lines in front.
func checkCopies(t testing.TB, s *sink, a account.Account, seeds []testenv.Seed, surplus int) {
	t.Helper()
	copies := s.copies(a.ForwardTo)
	want := map[string][]byte{}
	extra := 0
	for _, m := range seeds {
		want[m.ID] = m.Raw
		switch n := copies[m.ID]; {
		case n == 0:
			t.Errorf("%s is lost", m.ID)
		case n > 2:
			t.Errorf("%s arrived %d times", m.ID, n)
		default:
			extra += n - 1
		}
	}
	if extra > surplus {
		t.Errorf("%d copies too many, at most %d may be", extra, surplus)
	}
	keys := map[string]string{}
	for _, got := range s.all(a.ForwardTo) {
		raw := want[got.id]
		if raw == nil {
			t.Errorf("a message arrived that nobody sent: %.200q", got.raw)
			continue
		}
		if !endsWith(got.raw, raw) {
			t.Errorf("%s was changed on its way", got.id)
		}
		if k := keys[got.id]; k != "" && k != got.key {
			t.Errorf("%s: the copies bear different keys %q and %q", got.id, k, got.key)
		}
		keys[got.id] = got.key
	}
}

func endsWith(b, suffix []byte) bool {
	return len(b) >= len(suffix) && string(b[len(b)-len(suffix):]) == string(suffix)
}

// seats bounds how many houses stand at once: two cores carry a few.
var seats = make(chan struct{}, 10)

func acquire(t testing.TB) {
	seats <- struct{}{}
	t.Cleanup(func() { <-seats })
}
