package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
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
