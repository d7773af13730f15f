package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestTransitFull lets TRANSIT fill up: the worker stops fetching and says why, nothing is deleted at the remote
// server, and the work goes on when there is room again. (Fault 15.)
func TestTransitFull(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "full"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 30})
	for i := range seeds { // too large for two of them to travel together
		seeds[i].Raw = append(seeds[i].Raw, bytes.Repeat([]byte("more of it\r\n"), 4000)...)
		remote.Append(user, seeds[i].Raw)
	}
	a := h.account("full", user, account.POP3, account.Delete)
	finish := h.watchDeletions(user, s, len(seeds))
	s.decide(func([]byte) error { return temporary() })
	health := []string{freeAddr(t), freeAddr(t)}
	h.startWith("worker", []string{"--batch", "8", "--health-listen", health[0], "--lease", "10s"})
	h.startWith("delivery", []string{"--health-listen", health[1], "--lease", "10s"})
	h.limitTransit(10, health...)
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "TRANSIT is full, and what has no room is marked no more", func() bool {
		st, err := h.transit.Stats(t.Context())
		return err == nil && st.Messages == 10 && h.counts(a).Marked == 10
	})
	if left := len(remote.Messages(user)); left != len(seeds) {
		t.Errorf("%d of %d messages are left at the remote server, and the destination has none", left, len(seeds))
	}
	s.decide(nil)
	h.settle(a, s, len(seeds), account.Delete)
	finish()
	checkCopies(t, s, a, seeds, 0)
	reports, err := h.queue.Reports(t.Context(), a.UID, 10)
	if err != nil || !slices.ContainsFunc(reports, func(r *queue.Report) bool {
		return r.GetFault().GetKind() == mailferryv1.FaultKind_FAULT_KIND_BACK_PRESSURE
	}) {
		t.Errorf("no run says that TRANSIT was full: %v, %v", reports, err)
	}
}

// limitTransit bounds TRANSIT once the processes are ready and have made it theirs.
func (h *house) limitTransit(messages int64, health ...string) {
	h.t.Helper()
	for _, addr := range health {
		testenv.Eventually(h.t, 30*time.Second, "the processes are ready", func() bool { return strings.Contains(get(addr, "/readyz"), "\nready") })
	}
	stream, err := h.nats.JS.Stream(h.t.Context(), "TRANSIT")
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgs = messages
	if _, err = h.nats.JS.UpdateStream(h.t.Context(), cfg); err != nil {
		h.t.Fatal(err)
	}
}

// get returns what a process says of its health, "" if nothing.
func get(health, path string) string {
	res, err := http.Get("http://" + health + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return string(text)
}

// TestPoisonJobs puts jobs into the queue that cannot be executed: each ends in DEAD with its reason or is
// settled, none comes again for ever, and the account they stand for is collected all the same. (Fault 18.)
func TestPoisonJobs(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "poison"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 5})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("poison", user, account.IMAP, account.Leave)
	h.start("delivery")

	// A job that kills whoever runs it.
	h.trigger(a, "killer", queue.Scheduled)
	for range 3 {
		victim := h.start("worker", "MAILFERRY_KILL_AT=worker.listed")
		testenv.Eventually(t, 60*time.Second, "the job kills its worker", victim.ended)
	}
	h.start("worker")
	dead := func(n int) {
		t.Helper()
		testenv.Eventually(t, 60*time.Second, fmt.Sprintf("%d dead letters, no job left", n), func() bool {
			letters, err := h.transit.Dead(t.Context(), "", 10)
			jobs, jerr := h.queue.Pending(t.Context())
			return err == nil && jerr == nil && len(letters) == n && jobs == 0
		})
	}
	dead(1)

	// One that nobody can read, and one of an account that is not there.
	if _, err := h.nats.JS.Publish(t.Context(), "ferry.v1.job.s."+a.UID, []byte("no job \xff")); err != nil {
		t.Fatal(err)
	}
	if err := h.queue.Publish(t.Context(), queue.Job{
		ID: "nobody", AccountUID: "nobody", Domain: "example.com", Name: "nobody", Revision: 1, Trigger: queue.Scheduled, DueAt: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	dead(3)
	letters, err := h.transit.Dead(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		if f := l.Letter.GetFault(); f.GetKind() != mailferryv1.FaultKind_FAULT_KIND_INTERNAL || f.GetMessage() == "" {
			t.Errorf("a dead job without its reason: %v", l.Letter)
		}
	}
	h.trigger(a, "good", queue.Scheduled)
	h.settle(a, s, len(seeds), account.Leave)
	checkCopies(t, s, a, seeds, 0)
	dead(3)
}

// TestDestinationHangsUp has a destination that keeps a message and closes before it answers: at most one copy
// more for each such close, and each is counted. (Fault 28.)
func TestDestinationHangsUp(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "hangup"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 8})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("hangup", user, account.POP3, account.Delete)
	finish := h.watchDeletions(user, s, len(seeds))
	var mu sync.Mutex
	closes := map[string]bool{}
	s.decide(func(raw []byte) error {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range []string{"hangup-0002", "hangup-0005"} {
			if strings.Contains(string(raw), "X-Seed-Id: "+id) && !closes[id] {
				closes[id] = true
				return errHangUp
			}
		}
		return nil
	})
	health := freeAddr(t)
	h.start("worker")
	h.startWith("delivery", []string{"--health-listen", health})
	h.trigger(a, "first", queue.Scheduled)
	h.settle(a, s, len(seeds), account.Delete)
	finish()
	checkCopies(t, s, a, seeds, 2)
	if len(closes) != 2 || s.copies(a.ForwardTo)["hangup-0002"] != 2 {
		t.Errorf("closed for %v, copies %v", closes, s.copies(a.ForwardTo))
	}
	// Those that went out behind it in one write have no answer either.
	if n, _ := strconv.Atoi(metric(t, health, "mailferry_delivery_uncertain_total")); n < 2 || n > 2*len(seeds) {
		t.Errorf("%d hand-overs without an answer are counted, want 2 and those behind them", n)
	}
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, health, name string) string {
	t.Helper()
	for line := range strings.Lines(get(health, "/metrics")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return value
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}
