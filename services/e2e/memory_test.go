package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestLargeMessageMemory fetches a message of 100 MB by POP3 and by IMAP: it must not raise a worker's peak of
// resident memory by more than 8 MB over what a run of small messages and one of 1 MB needed. (Fault 29.)
func TestLargeMessageMemory(t *testing.T) {
	t.Parallel()
	for _, proto := range []account.Protocol{account.POP3, account.IMAP} {
		t.Run(string(proto), func(t *testing.T) {
			t.Parallel()
			largeMessage(t, proto)
		})
	}
}

func largeMessage(t *testing.T, proto account.Protocol) {
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "large"
	a := h.account("large", user, proto, account.Leave)
	worker := h.start("worker")
	h.start("delivery")
	arrive := func(seeds []testenv.Seed, total int) {
		t.Helper()
		for _, m := range seeds {
			remote.Append(user, m.Raw)
		}
		h.trigger(a, fmt.Sprint("run-", total), queue.Scheduled)
		testenv.Eventually(t, 2*time.Minute, fmt.Sprintf("%d messages have arrived", total), func() bool {
			return len(s.copies(a.ForwardTo)) == total && h.idle(a)
		})
	}
	warm := testenv.Corpus(testenv.CorpusConfig{Name: "warm", Messages: 3, Large: 1 << 20})
	arrive(warm, len(warm))
	before := peak(t, worker)
	big := testenv.Corpus(testenv.CorpusConfig{Name: "big", Messages: 1, Large: 100 << 20})
	arrive(big, len(warm)+1)
	after := peak(t, worker)
	t.Logf("VmHWM %d KiB, then %d KiB", before, after)
	if after-before > 8<<10 {
		t.Errorf("a message of 100 MB raised the worker's peak by %d KiB, at most 8192 are allowed", after-before)
	}
	checkCopies(t, s, a, append(warm, big...), 0)
}

// peak is VmHWM of a process, in KiB.
func peak(t *testing.T, p *proc) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmHWM:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestWorkerMemory has a worker collect from 64 accounts at once: its peak of resident memory stays under 64 MB and one more for
// each session.
func TestWorkerMemory(t *testing.T) {
	t.Parallel()
	acquire(t)
	const sessions, each = 64, 30
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	if _, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Budgets = account.Budgets(fmt.Sprintf("127.0.0.1=%d/0", sessions))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var accounts []account.Account
	for i := range sessions {
		user, proto := fmt.Sprint("user", i), account.POP3
		if i%2 == 0 {
			proto = account.IMAP
		}
		accounts = append(accounts, h.account(user, user, proto, account.Leave))
		for _, m := range testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: each}) {
			remote.Append(user, m.Raw)
		}
	}
	worker := h.startWith("worker", []string{"--slots", strconv.Itoa(sessions + sessions/8)})
	h.start("delivery")
	for _, a := range accounts {
		h.trigger(a, "run-"+a.Name, queue.Scheduled)
	}
	testenv.Eventually(t, 3*time.Minute, "all messages have arrived", func() bool {
		for _, a := range accounts {
			if len(s.copies(a.ForwardTo)) != each {
				return false
			}
		}
		return true
	})
	got := peak(t, worker)
	t.Logf("VmHWM %d KiB", got)
	if most := (64 + sessions) << 10; got > most {
		t.Errorf("the worker took %d KiB at its peak, at most %d are allowed", got, most)
	}
}
