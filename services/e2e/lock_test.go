package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestOneSessionPerRemoteMailbox lets two accounts point at one maildrop, with four workers and a hundred
// triggers: the remote server never sees two sessions at once, and each account gets each message once.
// (Fault 17; rows S9, S10.)
func TestOneSessionPerRemoteMailbox(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "shared"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 60})
	half := len(seeds) / 2
	for _, m := range seeds[:half] {
		remote.Append(user, m.Raw)
	}
	one := h.account("one", user, account.POP3, account.Leave)
	two := h.account("two", user, account.POP3, account.Leave)
	for range 4 {
		h.start("worker")
	}
	h.start("delivery")
	for i := range 100 {
		trig := queue.Scheduled
		if i%3 == 0 {
			trig = queue.Manual
		}
		h.trigger([]account.Account{one, two}[i%2], fmt.Sprint("job-", i), trig)
		if i == 50 {
			for _, m := range seeds[half:] {
				remote.Append(user, m.Raw)
			}
		}
	}
	h.trigger(one, "last-one", queue.Scheduled)
	h.trigger(two, "last-two", queue.Scheduled)
	testenv.Eventually(t, 90*time.Second, "both accounts have everything", func() bool {
		return len(s.copies(one.ForwardTo)) == len(seeds) && len(s.copies(two.ForwardTo)) == len(seeds) && h.idle(one) && h.idle(two)
	})
	checkCopies(t, s, one, seeds, 0)
	checkCopies(t, s, two, seeds, 0)
	if n := remote.Sessions(user); n.Peak != 1 || n.Total < 2 {
		t.Errorf("the remote server saw %d sessions, up to %d at once", n.Total, n.Peak)
	}
}

// TestDeleteWaitsForEveryAccount lets one of two accounts on a maildrop delete: what the other has not
// collected stays.
func TestDeleteWaitsForEveryAccount(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "both"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 10})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	deletes := h.account("deletes", user, account.POP3, account.Delete)
	reads := h.account("reads", user, account.POP3, account.Leave)
	h.start("worker")
	h.start("delivery")
	h.trigger(deletes, "d1", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the first account has everything", func() bool {
		return len(s.copies(deletes.ForwardTo)) == len(seeds) && h.idle(deletes)
	})
	if left := len(remote.Messages(user)); left != len(seeds) {
		t.Fatalf("%d of %d messages are left, and the other account has none yet", left, len(seeds))
	}
	h.trigger(reads, "r1", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the second account has everything", func() bool {
		return len(s.copies(reads.ForwardTo)) == len(seeds) && h.idle(reads)
	})
	h.trigger(deletes, "d2", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the maildrop is empty", func() bool { return len(remote.Messages(user)) == 0 })
	checkCopies(t, s, deletes, seeds, 0)
	checkCopies(t, s, reads, seeds, 0)
}

// TestStoppedWorkerChangesNothing stops a worker past the TTL of its lock and lets it go on: its writes are
// refused and it deletes nothing. (Fault 24.)
func TestStoppedWorkerChangesNothing(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"worker.listed", "worker.marked", "worker.receipts", "worker.doomed"} {
		for _, proto := range []account.Protocol{account.POP3, account.IMAP} {
			t.Run(fmt.Sprintf("%s/%s", p, proto), func(t *testing.T) {
				t.Parallel()
				stoppedAt(t, p, proto)
			})
		}
	}
}

func stoppedAt(t *testing.T, at string, proto account.Protocol) {
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "stopped"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 8})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("stopped", user, proto, account.Delete)
	finish := h.watchDeletions(user, s, len(seeds))
	sleeper := h.start("worker", "MAILFERRY_STOP_AT="+at)
	h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the worker is stopped at "+at, sleeper.stopped)
	testenv.Eventually(t, 30*time.Second, "its lock has lapsed", func() bool { return h.counts(a).Job == "" })
	// Another holder has the mailbox now, and does nothing: whatever changes, the sleeper did it.
	hold, err := h.ledger.Acquire(t.Context(), ledger.AcquireRequest{Slot: h.slot(a), Account: a.UID, Job: "other", Owner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	before, left := h.counts(a), len(remote.Messages(user))
	sleeper.signal(syscall.SIGCONT)
	testenv.Eventually(t, 30*time.Second, "the worker notices", func() bool {
		text, err := os.ReadFile(sleeper.log)
		return err == nil && strings.Contains(string(text), `"msg":"run failed"`)
	})
	sleeper.signal(syscall.SIGTERM)
	testenv.Eventually(t, 30*time.Second, "the worker has ended", sleeper.ended)
	if n := len(remote.Messages(user)); n != left {
		t.Errorf("the worker deleted %d messages after its lock had lapsed", left-n)
	}
	if after := h.counts(a); after.Deleting > before.Deleting || after.Collected+after.Marked+after.Deleting > before.Collected+before.Marked+before.Deleting {
		t.Errorf("the worker wrote after its lock had lapsed: %+v, then %+v", before, after)
	}
	if _, err := hold.Release(t.Context()); err != nil {
		t.Errorf("the sleeper took the lock from its holder: %v", err)
	}
	h.start("worker")
	h.trigger(a, "second", queue.Scheduled)
	h.settle(a, s, len(seeds), account.Delete)
	finish()
	checkCopies(t, s, a, seeds, 0)
}

// TestJobOutlivesItsStaleLock kills a worker under its lock and lets that lock live longer than the job's
// AckWait: the job that comes back meets the lock of its own dead worker, waits for its end and is done.
func TestJobOutlivesItsStaleLock(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "stale"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 3})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("stale", user, account.POP3, account.Leave)
	victim := h.start("worker", "MAILFERRY_KILL_AT=worker.locked")
	h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "the worker is killed", victim.ended)
	// The lock goes on in the dead worker's name; only the test knows that this one is renewed.
	var stale *ledger.Hold
	testenv.Eventually(t, 30*time.Second, "the lock is the test's", func() bool {
		var err error
		stale, err = h.ledger.Acquire(t.Context(), ledger.AcquireRequest{Slot: h.slot(a), Account: a.UID, Job: "first", Owner: "dead"})
		return err == nil
	})
	h.start("worker")
	testenv.Eventually(t, 30*time.Second, "the job has come back and met the lock", func() bool {
		met, err := stale.Again(t.Context())
		return err == nil && met
	})
	if _, err := stale.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 60*time.Second, "the job is done", func() bool { return h.done(a, s, len(seeds), account.Leave) })
	checkCopies(t, s, a, seeds, 0)
}
