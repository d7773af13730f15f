package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// copiesHouse has an account whose mail goes to two destinations, with one extra copy at each.
func copiesHouse(t *testing.T, user string) (h *house, here, there *sink, a account.Account, seeds []testenv.Seed) {
	remote := testenv.NewDovecot(t)
	h, here, there = newHouse(t, remote), newSink(t), newSink(t)
	h.destination(here.destination())
	if _, err := h.book.PutDomain(t.Context(), directory.Domain{Name: "there.example", Destination: there.destination()}); err != nil {
		t.Fatal(err)
	}
	seeds = testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 4})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a = h.account(user, user, account.POP3, account.Delete, func(a *account.Account) {
		a.CopyTo = []string{"second@" + a.Domain, "third@there.example"}
	})
	return h, here, there, a, seeds
}

func wantOnce(t *testing.T, s *sink, to string, seeds []testenv.Seed) {
	t.Helper()
	want := map[string]int{}
	for _, m := range seeds {
		want[m.ID] = 1
	}
	if got := s.copies(to); !maps.Equal(got, want) {
		t.Errorf("%s has %v", to, got)
	}
}

// TestCopiesArriveOnceEach delivers to three recipients at two destinations, one of which refuses for a while, and
// kills delivery behind the first record: everybody has each message once, and only then it is deleted.
func TestCopiesArriveOnceEach(t *testing.T) {
	t.Parallel()
	acquire(t)
	h, here, there, a, seeds := copiesHouse(t, "copies")
	there.decide(func([]byte) error { return temporary() })
	h.start("worker")
	killed := h.startWith("delivery", []string{"--handlers", "1"}, "MAILFERRY_KILL_AT=delivery.recorded")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "delivery was killed", killed.ended)
	h.start("delivery")
	testenv.Eventually(t, 60*time.Second, "the first destination has everything", func() bool { return len(here.copies(a.ForwardTo)) == len(seeds) })
	there.decide(nil)
	h.settle(a, here, len(seeds), account.Delete)
	wantOnce(t, here, a.ForwardTo, seeds)
	wantOnce(t, here, "second@"+a.Domain, seeds)
	wantOnce(t, there, "third@there.example", seeds)
}

// TestRefusedGoesToThePostmaster has one recipient refused for good: the postmaster gets the message in its place,
// the others once. A postmaster who refuses it, too, leaves a dead letter, and its retry serves nobody twice.
func TestRefusedGoesToThePostmaster(t *testing.T) {
	t.Parallel()
	acquire(t)
	h, here, there, a, seeds := copiesHouse(t, "refused")
	if _, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Postmaster = "postmaster@there.example"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	no := func(names ...string) func(string) error {
		return func(to string) error {
			for _, n := range names {
				if n == to {
					return permanent()
				}
			}
			return nil
		}
	}
	here.decideRcpt(no("second@" + a.Domain))
	there.decideRcpt(no("postmaster@there.example"))
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "all are dead letters", func() bool {
		st, err := h.transit.Stats(context.Background())
		return err == nil && int(st.Dead) == len(seeds) && h.idle(a)
	})
	if text := cli.ok("dead", "list"); !strings.Contains(text, "550") {
		t.Errorf("dead list does not show the reply:\n%s", text)
	}
	there.decideRcpt(nil)
	for line := range strings.Lines(cli.ok("dead", "list", "--json")) {
		var dead struct{ ID string }
		if err := json.Unmarshal([]byte(line), &dead); err != nil {
			t.Fatal(err)
		}
		cli.ok("dead", "retry", dead.ID)
	}
	h.settle(a, here, len(seeds), account.Delete)
	wantOnce(t, here, a.ForwardTo, seeds)
	wantOnce(t, there, "third@there.example", seeds)
	wantOnce(t, there, "postmaster@there.example", seeds)
	if n := len(here.copies("second@" + a.Domain)); n != 0 {
		t.Errorf("who refused has %d", n)
	}
}

// TestNoMailboxDestination: an account whose mailbox path no destination holds fetches nothing, and says why.
func TestNoMailboxDestination(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	remote.Append("path", testenv.Corpus(testenv.CorpusConfig{Name: "path", Messages: 1})[0].Raw)
	a := h.account("path", "path", account.IMAP, account.Leave, func(a *account.Account) { a.ForwardTo += "/Imported" })
	h.start("worker")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "the run says why", func() bool {
		reports, err := h.queue.Reports(context.Background(), a.UID, 1)
		return err == nil && len(reports) == 1 && reports[0].GetFetched() == 0 &&
			strings.Contains(reports[0].GetFault().GetMessage(), "there is no mailbox destination")
	})
}
