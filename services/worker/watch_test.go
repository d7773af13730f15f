package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
)

func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWatchers(3, 2)
	for i, tt := range []struct {
		host string
		fits bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"c", false}} {
		if err := w.enter(tt.host); (err == nil) != tt.fits {
			t.Errorf("%d: %v", i, err)
		}
	}
	w.leave("a")
	if err := w.enter("a"); err != nil {
		t.Error(err)
	}
	w.leave("b")
	w.drain()
	if err := w.enter("b"); !errors.Is(err, errDrained) {
		t.Error(err)
	}
	if err := newWatchers(-1, 1).enter("a"); err == nil {
		t.Error("none are allowed")
	}
}

func TestWhatFollowsAWatch(t *testing.T) {
	t.Parallel()
	const interval = 10 * time.Hour
	now := time.Now()
	cut := fault.Errorf(fault.Network, "imap idle", "cut")
	for _, tt := range []struct {
		name     string
		why      error
		lasted   time.Duration
		reason   string
		from, to time.Duration // after now; from 0 to 0: the due time stays
	}{
		{"a job follows", errNews, time.Hour, "news", 0, 0},
		{"its own run", wantedBy("a"), time.Hour, "wanted", 0, 0},
		{"a run of which it does not know", wantedBy(""), time.Hour, "wanted", 0, 0},
		{"another account: it takes turns on its schedule", wantedBy("b"), time.Hour, "wanted", 0, interval},
		{"an edit", errChanged, time.Hour, "changed", 0, 0},
		{"a lost lock", fault.New(fault.Canceled, "ledger lock", ledger.ErrUntrusted), time.Hour, "lock", 0, 0},
		{"a drain", errDrained, time.Second, "drained", -1, 1},
		{"long enough", errOver, time.Hour, "over", -1, 1},
		{"a cut", cut, time.Hour, "session", -1, 10 * time.Second},
		{"a cut at once: it is polled", cut, time.Second, "session", 0, interval},
	} {
		x := &watch{w: &Worker{}, acc: account.Account{UID: "a", Interval: interval}, since: now.Add(-tt.lasted)}
		at := x.next(tt.why, now)
		if tt.to == 0 && !at.IsZero() || tt.to != 0 && (at.Before(now.Add(tt.from)) || at.After(now.Add(tt.to))) {
			t.Errorf("%s: due at %v, now %v", tt.name, at, now)
		}
		if got := reason(tt.why); got != tt.reason {
			t.Errorf("%s: reason %s", tt.name, got)
		}
	}
}
