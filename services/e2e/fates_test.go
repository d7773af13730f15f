package e2e

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// closedPort is an address of our own where nobody listens yet.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// inTransit counts the messages that TRANSIT holds, bundles as one, -1 where it does not say.
func (h *house) inTransit() int {
	st, err := h.transit.Stats(context.Background())
	if err != nil {
		return -1
	}
	return int(st.Messages)
}

// TestDestinationIsDown: 400 messages are in TRANSIT for a destination where nobody listens. Mail of another domain is
// delivered meanwhile; no run fetches more for the dead one; and when it is back everything arrives once. (Fault 27.)
func TestDestinationIsDown(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, up := newHouse(t, remote), newSink(t)
	h.destination(up.destination())
	address := closedPort(t)
	if _, err := h.book.PutDomain(t.Context(), directory.Domain{Name: "down.example", Destination: "lmtp:" + address}); err != nil {
		t.Fatal(err)
	}
	seed := func(user string, n int) []testenv.Seed {
		seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: n})
		for _, m := range seeds {
			remote.Append(user, m.Raw)
		}
		return seeds
	}
	const held = 400
	dead := seed("deadend", held)
	a := h.account("deadend", "deadend", account.IMAP, account.Leave, func(a *account.Account) { a.ForwardTo = "user@down.example" })
	h.start("worker")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "all is in transit", func() bool { return h.inTransit() > 0 && h.counts(a).Job == "" && h.counts(a).Marked == held })
	bundles := h.inTransit()
	h.start("delivery")
	var paused bool
	testenv.Eventually(t, time.Minute, "the account is paused", func() bool {
		hold, err := h.ledger.Acquire(context.Background(), ledger.AcquireRequest{Slot: h.slot(a), Account: a.UID, Job: "look", Owner: "test", Test: true})
		if err != nil {
			return false
		}
		_, paused = hold.Index().Pause()
		_, _ = hold.Release(context.Background())
		return paused
	})
	more := seed("deadend2", 1)
	other := h.account("alive", "deadend2", account.IMAP, account.Leave)
	h.trigger(other, "other", queue.Scheduled)
	testenv.Eventually(t, time.Minute, "mail of others is delivered", func() bool { return len(up.copies(other.ForwardTo)) == len(more) })
	remote.Append("deadend", testenv.Corpus(testenv.CorpusConfig{Name: "late", Messages: 1})[0].Raw)
	h.trigger(a, "second", queue.Scheduled)
	testenv.Eventually(t, time.Minute, "a run ends without a session", func() bool {
		rs, err := h.queue.Reports(context.Background(), a.UID, 1)
		return err == nil && len(rs) == 1 && rs[0].GetJobId() == "second" && strings.Contains(rs[0].GetFault().GetMessage(), "is down") && rs[0].GetListed() == 0
	})
	if n := h.inTransit(); n != bundles {
		t.Errorf("%d bundles are in transit, want %d", n, bundles)
	}
	s := newSinkAt(t, address)
	testenv.Eventually(t, 8*time.Minute, "everything arrived", func() bool { return len(s.copies(a.ForwardTo)) == held && h.inTransit() == 0 })
	checkCopies(t, s, a, dead, 0)
}

// TestGivenUpAfterDays: a destination that refuses for now does so for too long. The message is a dead letter that tells
// its history, and a retry delivers it.
func TestGivenUpAfterDays(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: "days", Messages: 2})
	for _, m := range seeds {
		remote.Append("days", m.Raw)
	}
	a := h.account("days", "days", account.IMAP, account.Delete)
	s.decide(func([]byte) error { return temporary() })
	h.start("worker")
	h.startWith("delivery", []string{"--give-up-after", "3s"})
	cli := h.control()
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "both are dead letters", func() bool {
		st, err := h.transit.Stats(context.Background())
		return err == nil && int(st.Dead) == len(seeds) && st.Messages == 0
	})
	if len(remote.Messages("days")) != len(seeds) {
		t.Error("what was not delivered is gone at the remote server")
	}
	var dead struct {
		ID     string
		Letter struct {
			Fault    struct{ Message string }
			Attempts string
			History  []struct{ Kind, Message string }
		}
	}
	first, _, _ := strings.Cut(cli.ok("dead", "list", "--json"), "\n")
	if err := json.Unmarshal([]byte(first), &dead); err != nil {
		t.Fatal(err)
	}
	if l := dead.Letter; !strings.Contains(l.Fault.Message, "given up after") || len(l.History) == 0 || l.History[0].Kind != "destination-temporary" {
		t.Errorf("the letter does not tell why: %s", first)
	}
	s.decide(nil)
	cli.ok("dead", "retry", dead.ID)
	testenv.Eventually(t, time.Minute, "a retry delivers it", func() bool { return len(s.copies(a.ForwardTo)) == 1 })
}

// TestOverQuota: the local mailbox is full. The message goes back to the remote server, one run by hand looks again, and when there is room everything arrives once.
func TestOverQuota(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: "full", Messages: 3})
	for _, m := range seeds {
		remote.Append("full", m.Raw)
	}
	a := h.account("full", "full", account.IMAP, account.Delete)
	s.decide(func([]byte) error {
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 2, 2}, Message: "mailbox is full"}
	})
	h.start("worker")
	h.startWith("delivery", []string{"--defer-for", "5s"})
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, time.Minute, "all went back", func() bool { return h.counts(a).Deferred == len(seeds) && h.idle(a) })
	if st, err := h.transit.Stats(context.Background()); err != nil || st.Dead != 0 {
		t.Error("a full mailbox makes dead letters", err)
	}
	if len(remote.Messages("full")) != len(seeds) {
		t.Error("what was not delivered is gone at the remote server")
	}
	s.decide(nil)
	testenv.Eventually(t, time.Minute, "a run by hand delivers", func() bool {
		h.trigger(a, "hand", queue.Manual)
		return len(s.copies(a.ForwardTo)) == len(seeds)
	})
	checkCopies(t, s, a, seeds, 0)
}
