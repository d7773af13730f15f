package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestGovernorRate is no test but `task bench:governor`: 5,000 accounts at a provider that allows 10 sessions and 60 logins a
// minute, and 300 at one that allows all, each of them due every minute; four workers, for BENCH_GOVERNOR minutes. The servers count. The 300 are first alone for two minutes.
func TestGovernorRate(t *testing.T) {
	minutes, err := strconv.Atoi(os.Getenv("BENCH_GOVERNOR"))
	if err != nil {
		t.Skip("task bench:governor")
	}
	const crowded, others, sessions, logins = 5000, 300, 10, 60
	h := newHouse(t, nil)
	narrow, wide := newCounterAt(t, "127.0.0.1", 5*time.Second), newCounterAt(t, "127.0.0.2", 50*time.Millisecond)
	_, err = h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval, s.Budgets = "lmtp:127.0.0.1:1", time.Minute, account.Budgets(fmt.Sprintf("127.0.0.1=%d/%d", sessions, logins))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]string{}
	for i := range others {
		a := h.add(account.Account{Name: fmt.Sprint("w", i), Protocol: account.POP3, Host: fmt.Sprintf("127.0.0.2:%d", wide.port), TLS: account.Disable}, "p")
		uids[a.Username] = a.UID
	}
	for range 4 {
		h.startWith("worker", []string{"--log-level", "info"})
	}
	planner := h.onePlanner().followed(h, others)
	testenv.Eventually(t, 10*time.Minute, "everybody at the other provider has signed in", func() bool { return wide.seen() == others })
	wide.reset()
	<-time.After(2 * time.Minute)
	wide.figureLag("alone", uids)
	for i := range crowded {
		h.add(account.Account{Name: fmt.Sprint("n", i), Protocol: account.POP3, Host: fmt.Sprintf("127.0.0.1:%d", narrow.port), TLS: account.Disable}, "p")
	}
	planner.followed(h, crowded+others)
	<-time.After(time.Minute)
	narrow.reset()
	wide.reset()
	start := time.Now()
	<-time.After(time.Duration(minutes) * time.Minute)
	end := time.Now()

	figure := func(name string, value float64, unit string) { fmt.Printf("governor_%s %.2f %s\n", name, value, unit) }
	narrow.mu.Lock()
	defer narrow.mu.Unlock()
	figure("sessions_most", float64(narrow.most), "sessions")
	figure("logins_most_in_a_minute", float64(mostWithin(narrow.times, time.Minute)), "logins")
	figure("budget_used", 100*float64(len(narrow.times))/(end.Sub(start).Minutes()*logins), "%")
	figure("accounts_that_had_a_turn", float64(len(narrow.logins)), "accounts")
	turns := wide.figureLag("others", uids)
	figure("others_turns_had", 100*float64(turns)/(end.Sub(start).Minutes()*others), "%")
	if narrow.most > sessions+2 || mostWithin(narrow.times, time.Minute) > logins+2 {
		t.Error("the provider had more than two above its budget")
	}
}

// figureLag prints how far behind their due times the logins were, of accounts that are due every minute, and answers how many there were.
func (c *counter) figureLag(name string, uids map[string]string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lags []time.Duration
	for i, at := range c.times {
		lags = append(lags, at.Sub(schedule.Next(uids[c.who[i]], time.Minute, at).Add(-time.Minute)))
	}
	slices.Sort(lags)
	for _, q := range []int{50, 99} {
		fmt.Printf("governor_%s_lag_p%d_ms %.2f ms\n", name, q, float64(lags[q*(len(lags)-1)/100].Microseconds())/1000)
	}
	return len(lags)
}

// reset forgets what was counted.
func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most, c.times, c.who, c.logins = c.open, nil, nil, map[string]int{}
}

// mostWithin is how many of the times there are at most within any window.
func mostWithin(times []time.Time, window time.Duration) (most int) {
	times = slices.SortedFunc(slices.Values(times), time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
