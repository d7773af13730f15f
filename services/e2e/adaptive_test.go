package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestAdaptiveAndBoost: an account that was quiet for long is run soon again once a run has found mail; and at once, and
// within the minute again, where its owner waits.
func TestAdaptiveAndBoost(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t, testenv.DovecotUsers("isp", "a@example.com"))
	h := newHouse(t, remote)
	h.destination("lmtp:" + remote.LMTPAddr)
	a := h.account("a", "isp", account.POP3, account.Leave, func(a *account.Account) { a.Schedule = schedule.Text{Entries: []string{"adaptive 1m..168h"}} })
	h.start("planner")
	state := func() (due.Entry, time.Time) {
		e, at, err := h.due.Get(t.Context(), a.UID)
		if err != nil && t.Context().Err() == nil && e.UID != "" {
			t.Error(err)
		}
		return e, at
	}
	testenv.Eventually(t, time.Minute, "the planner has heard of it", func() bool { e, _ := state(); return e.UID != "" })
	for range 20 { // a week
		if _, err := h.due.Settle(t.Context(), a.UID, due.Ended{Kind: fault.None, At: time.Now(), Found: due.Nothing}); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(100 * time.Hour)
	if _, err := h.due.Move(t.Context(), a.UID, a.Revision, later); err != nil {
		t.Fatal(err)
	}
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "nothing", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "one more finds nothing", func() bool { e, _ := state(); return e.Quiet == 21 })
	testenv.Eventually(t, 2*time.Minute, "it is over", func() bool { return h.idle(a) })
	if _, at := state(); time.Until(at) < 50*time.Hour {
		t.Errorf("nothing was found, and it is due at %v", at)
	}
	remote.Append("isp", []byte("Subject: news\r\n\r\nbody\r\n"))
	h.trigger(a, "news", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "there is mail: it is run soon again", func() bool {
		e, at := state()
		return e.Quiet < 20 && time.Until(at) < time.Hour // how soon, the tests of the schedule say
	})

	if _, err := h.due.Move(t.Context(), a.UID, a.Revision, later); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 2*time.Minute, "it is over", func() bool { return h.idle(a) })
	ago := time.Now().Add(-time.Hour) // a boost keeps its distance from the last run
	if _, err := h.due.Settle(t.Context(), a.UID, due.Ended{Kind: fault.None, At: ago}); err != nil {
		t.Fatal(err)
	}
	cli := h.control()
	var boost struct {
		BoostedUntil time.Time `json:"boostedUntil"`
	}
	if err := json.Unmarshal([]byte(cli.ok("account", "boost", "example.com/a", "--for", "30m", "--json")), &boost); err != nil || time.Until(boost.BoostedUntil) <= 0 {
		t.Fatalf("boosted until %v, %v", boost.BoostedUntil, err)
	}
	testenv.Eventually(t, 2*time.Minute, "it is run at once, and planned again within the boost", func() bool {
		e, at := state()
		return e.LastRun.Sub(ago) > time.Minute && !at.After(e.BoostedUntil)
	})
}
