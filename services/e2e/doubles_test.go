package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// alike is a message that lies in two mailboxes: servers have written different things above it.
func alike(mailbox, id string) []byte {
	return fmt.Appendf(nil, "Received: from a by b; Thu, 26 Nov 2026 08:00:00 +0000\r\nX-Folder: %s\r\nMessage-ID: <%s@sender.test>\r\n"+
		"Date: Thu, 26 Nov 2026 08:00:00 +0000\r\nFrom: a@sender.test\r\nSubject: %s\r\nX-Seed-Id: %s\r\n\r\nbody\r\n", mailbox, id, id, id)
}

// TestDoubles collects messages that lie in two mailboxes of an account: with a dedupe window each arrives once, and
// all copies count as collected; without one all arrive.
func TestDoubles(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	for name, window := range map[string]time.Duration{"window": time.Hour, "none": 0} {
		const n = 5
		for i := range n {
			p.remote.AppendTo(name, "", alike("INBOX", fmt.Sprint(name, i)))
			p.remote.AppendTo(name, "Archive", alike("Archive", fmt.Sprint(name, i)))
		}
		a := p.account(name, name, account.IMAP, account.Delete, func(a *account.Account) {
			a.Mailboxes, a.DedupeWindow = []string{"INBOX", "Archive"}, window
		})
		out := p.cli.ok("fetch", a.Ref())
		want := 2 * n
		if window > 0 {
			want = n
		}
		if got := p.got(a); got != want {
			t.Errorf("%s: %d messages arrived, want %d", name, got, want)
		}
		if left := len(p.remote.Messages(name)) + len(p.remote.MessagesIn(name, "Archive")); left > 0 {
			t.Errorf("%s: %d messages are left at the remote server", name, left)
		}
		// What the report says of doubles comes with the receipts, which are hints.
		if !strings.Contains(out, "10 delivered") || window == 0 && strings.Contains(out, "double") {
			t.Errorf("%s: the report says %s", name, out)
		}
	}
}

// TestDoublesAndACrash kills delivery at each step of the first of two messages that are alike: one arrives, and never
// none; a second copy only where the acceptance was not recorded.
func TestDoublesAndACrash(t *testing.T) {
	t.Parallel()
	for at, most := range map[string]int{"delivery.routed": 1, "delivery.before-dot": 1, "delivery.accepted": 2, "delivery.owned": 1, "delivery.committed": 1} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			acquire(t)
			remote := testenv.NewDovecot(t)
			h, s := newHouse(t, remote), newSink(t)
			h.destination(s.destination())
			remote.Append("twice", alike("first", "m"))
			remote.Append("twice", alike("second", "m"))
			a := h.account("twice", "twice", account.POP3, account.Leave, func(a *account.Account) { a.DedupeWindow = time.Hour })
			killed := h.startWith("delivery", []string{"--handlers", "1"}, "MAILFERRY_KILL_AT="+at)
			h.start("worker")
			h.trigger(a, "first", queue.Scheduled)
			testenv.Eventually(t, 2*time.Minute, "delivery is killed", killed.ended)
			h.start("delivery")
			testenv.Eventually(t, 2*time.Minute, "both messages are collected", func() bool { return h.counts(a).Collected == 2 })
			if n := s.copies(a.ForwardTo)["m"]; n < 1 || n > most {
				t.Errorf("%d copies arrived, want 1 to %d", n, most)
			}
		})
	}
}
