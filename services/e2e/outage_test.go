package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/transit"
)

const (
	outageHeld     = 50_000 // messages in TRANSIT when their destination goes down
	outageAccounts = 20     // that they belong to
	outageOthers   = 8      // domains with a stream of mail meanwhile
	outageEvery    = 100 * time.Millisecond
	outageBefore   = 30 * time.Second

	deadDomain = "down.example"
)

// TestDestinationDownRate is no test but `task bench:destination-down`: what other domains notice, and what it costs, while a
// destination is down for which TRANSIT holds 50,000 messages. Back-off and breaker are those of production: the two minutes
// (OUTAGE=1h for another time) are the first ones of any outage, in which messages come back most often.
func TestDestinationDownRate(t *testing.T) {
	if os.Getenv("BENCH_DESTINATION_DOWN") == "" {
		t.Skip("task bench:destination-down")
	}
	lasts := 2 * time.Minute
	if s := os.Getenv("OUTAGE"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	h := newHouse(t, nil)
	h.ledger = ledger.New(h.redis.Client, ledger.Config{KeyID: ledger.NewKeyer(h.vault.KeySecret()).ID()}) // locks as in production
	up, dead := newTally(t), newTally(t)
	h.destination(up.destination())
	if _, err := h.book.PutDomain(t.Context(), directory.Domain{Name: deadDomain, Destination: dead.destination()}); err != nil {
		t.Fatal(err)
	}
	others := h.otherDomains(outageOthers)

	p := h.delivery()
	stop := h.stream(others)
	time.Sleep(5 * time.Second) // connections and caches
	up.times()
	used := cpuSeconds(t, p)
	time.Sleep(outageBefore)
	before, cpuBefore := up.times(), (cpuSeconds(t, p)-used)/outageBefore.Seconds()
	sent := stop()
	testenv.Eventually(t, time.Minute, "TRANSIT is empty", func() bool { return h.inTransit() == 0 })

	p.signal(syscall.SIGSTOP) // so that nothing is handed over before it is down
	for n := range outageAccounts {
		a := h.forDomain(fmt.Sprintf("v%d", n), deadDomain)
		if err := h.fillAccount(a, func() []byte { return stamped("dead") }, outageHeld/outageAccounts); err != nil {
			t.Fatal(err)
		}
	}
	dead.close()
	start := time.Now()
	used = cpuSeconds(t, p)
	p.signal(syscall.SIGCONT)
	stop = h.stream(others)
	time.Sleep(lasts)
	during, cpuDuring, tried := up.times(), (cpuSeconds(t, p)-used)/time.Since(start).Seconds(), dead.tried()
	dead.open()
	back := time.Now()
	testenv.Eventually(t, 10*time.Minute, "everything arrived", func() bool {
		n, _ := dead.counts()
		return n == outageHeld
	})
	took := time.Since(back)
	sent += stop()
	testenv.Eventually(t, time.Minute, "TRANSIT is empty", func() bool { return h.inTransit() == 0 })
	if n, repeated := dead.counts(); n != outageHeld || repeated > 0 {
		t.Errorf("%d messages arrived where it was down, %d of them twice; want %d", n, repeated, outageHeld)
	}
	if n, repeated := up.counts(); n != sent || repeated > 0 {
		t.Errorf("%d messages of others arrived, %d of them twice; want %d", n, repeated, sent)
	}
	for _, who := range []string{"others", "same_lane"} {
		for _, percent := range []int{50, 99} {
			b, d := quantile(before[who], percent), quantile(during[who], percent)
			fmt.Printf("%[1]s_p%[2]d_before %.2[3]f ms\n%[1]s_p%[2]d_during %.2[4]f ms\n%[1]s_p%[2]d_ratio %.2[5]f of_before\n", who, percent, b, d, d/b)
		}
	}
	fmt.Printf("cpu_before %.3f s/s\ncpu_during %.3f s/s\n", cpuBefore, cpuDuring)
	fmt.Printf("connections_while_down %d attempts\noutage %.0f s\narrived_once %d messages\nall_arrived_after %.1f s\n", tried, lasts.Seconds(), outageHeld, took.Seconds())
}

// delivery starts one as in production.
func (h *house) delivery() *proc {
	return h.launch(nil, "delivery", "--nats-url", h.nats.URL, "--redis-url", "unix://"+h.redis.Socket, "--health-listen", "off",
		"--log-level", "error", "--vault-key-file", h.vaultFile())
}

func (h *house) forDomain(name, domain string) account.Account {
	return h.add(account.Account{Name: name, Protocol: account.POP3, Host: "pop.example.net:110"}, "secret",
		func(a *account.Account) { a.Domain, a.ForwardTo = domain, "user@"+domain })
}

// otherDomains adds accounts of domains in lanes of their own; the last one is in that of the dead domain.
func (h *house) otherDomains(n int) (accounts []account.Account) {
	for i := 0; len(accounts) < n; i++ {
		domain := fmt.Sprintf("d%d.example", i)
		if same := transit.Lane(domain) == transit.Lane(deadDomain); same == (len(accounts) == n-1) {
			accounts = append(accounts, h.forDomain(fmt.Sprintf("o%d", i), domain))
		}
	}
	return accounts
}

// stream publishes a message of each account again and again, until stop is called, which says how many.
func (h *house) stream(accounts []account.Account) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var all sync.WaitGroup
	sent := 0
	for _, a := range accounts {
		word := "others"
		if transit.Lane(a.Domain) == transit.Lane(deadDomain) {
			word = "same_lane"
		}
		all.Go(func() {
			tick := time.NewTicker(outageEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if err := h.fillAccount(a, func() []byte { return stamped(word) }, 1); err != nil {
					h.t.Error(err)
					return
				}
				mu.Lock()
				sent++
				mu.Unlock()
			}
		})
	}
	return func() int {
		cancel()
		all.Wait()
		return sent
	}
}

// cpuSeconds is what a process has used of processors (proc_pid_stat(5), in hundredths).
func cpuSeconds(t testing.TB, p *proc) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte(") "))
	sum := 0.0
	for _, f := range bytes.Fields(rest)[11:13] {
		n, err := strconv.ParseFloat(string(f), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n / 100
	}
	return sum
}
