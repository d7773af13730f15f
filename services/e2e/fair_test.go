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
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// polled are n accounts of a domain at a server.
func (h *house) polled(c *counter, domain string, n int) (accounts []account.Account) {
	for i := range n {
		accounts = append(accounts, h.add(account.Account{
			Name: fmt.Sprintf("%s-%d", domain, i), Username: fmt.Sprintf("%s-%d", domain, i), Protocol: account.POP3,
			Host: fmt.Sprintf("127.0.0.1:%d", c.port), TLS: account.Disable,
		}, "p", func(a *account.Account) { a.Domain, a.ForwardTo = domain, a.Name+"@"+domain }))
	}
	return accounts
}

// planned waits until the planner has heard of all accounts.
func (h *house) planned(accounts []account.Account) {
	h.t.Helper()
	testenv.Eventually(h.t, 2*time.Minute, "the planner has heard of all", func() bool {
		for _, a := range accounts {
			if _, _, err := h.due.Get(h.t.Context(), a.UID); err != nil {
				return false
			}
		}
		return true
	})
}

// TestCapOfADomain has four workers with many slots, and a domain that may have two runs at a time: they are never more, everybody
// has a turn without a failure, also who was asked for by hand, and another domain is not bounded.
func TestCapOfADomain(t *testing.T) {
	t.Parallel()
	const n = 16
	h := newHouse(t, nil)
	capped, free := newCounter(t, 200*time.Millisecond), newCounter(t, 2*time.Second)
	_, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval, s.Caps.Runs = "maildir:"+h.dir+"/mail/%d/%n", 24*time.Hour, 2
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.book.PutDomain(t.Context(), directory.Domain{Name: "free.example", Caps: directory.Caps{Runs: -1}}); err != nil {
		t.Fatal(err)
	}
	accounts := append(h.polled(capped, "capped.example", n), h.polled(free, "free.example", n)...)
	h.start("planner")
	h.planned(accounts)
	for range 4 {
		h.start("worker")
	}
	for i, a := range accounts {
		h.trigger(a, fmt.Sprint("s", i), queue.Scheduled)
	}
	h.trigger(accounts[n-1], "now", queue.Manual)
	testenv.Eventually(t, 2*time.Minute, "each account has signed in", func() bool { return capped.seen() == n && free.seen() == n })
	capped.mu.Lock()
	defer capped.mu.Unlock()
	free.mu.Lock()
	defer free.mu.Unlock()
	if capped.most > 2 || free.most <= 2 {
		t.Errorf("%d and %d sessions at a time", capped.most, free.most)
	}
	for _, a := range accounts {
		if e, _, err := h.due.Get(t.Context(), a.UID); err != nil || e.Failures > 0 {
			t.Errorf("account %s: %+v, %v", a.Ref(), e.State, err)
		}
	}
}

// TestASmallDomainPassesALargeOne has a domain whose accounts hang at their server and would fill the worker for minutes, and another
// one that comes behind it.
func TestASmallDomainPassesALargeOne(t *testing.T) {
	t.Parallel()
	const large, small = 300, 4
	h := newHouse(t, nil)
	hangs, answers := newCounter(t, 8*time.Second), newCounter(t, 0)
	_, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval = "maildir:"+h.dir+"/mail/%d/%n", 24*time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first := h.polled(answers, "small.example", 1)
	many, few := h.polled(hangs, "large.example", large), h.polled(answers, "few.example", small)
	h.start("planner")
	h.planned(append(append(first, many...), few...))
	h.startWith("worker", []string{"--slots=10"})
	h.trigger(first[0], "first", queue.Scheduled) // the worker has seen another domain
	testenv.Eventually(t, time.Minute, "it has signed in", func() bool { return answers.seen() == 1 })
	for i, a := range many {
		h.trigger(a, fmt.Sprint("l", i), queue.Scheduled)
	}
	testenv.Eventually(t, time.Minute, "the large domain has what it gets", func() bool { return hangs.seen() >= 6 })
	for i, a := range few {
		h.trigger(a, fmt.Sprint("f", i), queue.Scheduled)
	}
	testenv.Eventually(t, 2*time.Minute, "the small domain has had its turns", func() bool { return answers.seen() == 1+small })
	if n := hangs.seen(); n > large/2 {
		t.Errorf("%d of %d accounts of the large domain came first", n, large)
	}
}

// TestHostileTenantRate is the benchmark of a tenant whose servers let every session wait: how long jobs of another one wait until
// their sign-in, alone and beside it.
func TestHostileTenantRate(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("BENCH_HOSTILE_TENANT"))
	if err != nil {
		t.Skip("a benchmark: task bench:hostile-tenant")
	}
	const phase = 40 * time.Second
	h := newHouse(t, nil)
	hangs, answers := newCounter(t, 20*time.Second), newCounter(t, 0)
	_, err = h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval = "maildir:"+h.dir+"/mail/%d/%n", 24*time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	few, many := h.polled(answers, "few.example", 10), h.polled(hangs, "hostile.example", n)
	h.start("planner")
	h.planned(append(few, many...))
	h.start("worker")
	alone := h.lag(answers, few, phase)
	for i, a := range many {
		h.trigger(a, fmt.Sprint("h", i), queue.Scheduled)
	}
	testenv.Eventually(t, time.Minute, "the hostile domain has what it gets", func() bool { return hangs.seen() >= 30 })
	beside := h.lag(answers, few, phase)
	fmt.Printf("hostile_accounts %d\nlag_p99_ms_alone %d\nlag_p99_ms_beside %d\nlag_grows_ms %d (wanted < 2000)\n",
		n, alone.Milliseconds(), beside.Milliseconds(), (beside - alone).Milliseconds())
	if beside-alone >= 2*time.Second {
		t.Errorf("p99 grows by %v", beside-alone)
	}
}

// lag has the accounts run one after the other for so long, and returns the 99th percentile of the time until they signed in.
func (h *house) lag(c *counter, accounts []account.Account, long time.Duration) time.Duration {
	h.t.Helper()
	count := func(a account.Account) int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.logins[a.Username]
	}
	var lags []time.Duration
	for end := time.Now().Add(long); time.Now().Before(end); {
		a := accounts[len(lags)%len(accounts)]
		before, start := count(a), time.Now()
		h.trigger(a, fmt.Sprint("few", start.UnixNano()), queue.Scheduled)
		for count(a) == before && time.Since(start) < long {
			time.Sleep(2 * time.Millisecond)
		}
		lags = append(lags, time.Since(start))
		time.Sleep(50 * time.Millisecond)
	}
	slices.Sort(lags)
	return lags[len(lags)*99/100]
}
