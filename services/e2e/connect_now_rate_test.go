package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
)

// TestConnectNowRate is no test but `task bench:connect-now`: the schedule asks for more slow sessions than there are slots in two
// workers, and BENCH_CONNECT_NOW accounts are triggered by the API, ten a second. How long until their servers see a connection?
func TestConnectNowRate(t *testing.T) {
	calls, err := strconv.Atoi(os.Getenv("BENCH_CONNECT_NOW"))
	if err != nil {
		t.Skip("task bench:connect-now")
	}
	const crowd, slots, reserved = 600, 64, 6
	h := newHouse(t, nil)
	slow, quick := newCounterAt(t, "127.0.0.1", 20*time.Second), newCounterAt(t, "127.0.0.2", 0)
	_, err = h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval = "lmtp:127.0.0.1:1", 24*time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range calls {
		h.add(account.Account{Name: fmt.Sprint("q", i), Protocol: account.POP3, Host: fmt.Sprintf("127.0.0.2:%d", quick.port), TLS: account.Disable}, "p")
	}
	for i := range crowd {
		h.add(account.Account{
			Name: fmt.Sprint("s", i), Protocol: account.POP3, Host: fmt.Sprintf("127.0.0.1:%d", slow.port), TLS: account.Disable, Interval: time.Minute,
		}, "p")
	}
	quietly := []string{"--log-level", "info"}
	for range 2 {
		h.startWith("worker", append(quietly, "--slots", strconv.Itoa(slots), "--reserved-slots", strconv.Itoa(reserved)))
	}
	h.startWith("planner", quietly)
	addr := freeAddr(t)
	h.controlAt(addr, quietly...)
	runs := mailferryv1connect.NewRunServiceClient(&http.Client{Transport: bearer("token-of-the-house")}, "http://"+addr)
	full := func() bool {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		return slow.open >= 2*(slots-reserved)
	}
	testenv.Eventually(t, 10*time.Minute, "every slot that is not reserved is taken", full)

	called, missed := make([]time.Time, calls), 0
	begin, busy, own := time.Now(), machineBusy(t), h.used()
	for i, tick := 0, time.NewTicker(100*time.Millisecond); i < calls; i++ {
		<-tick.C
		if !full() {
			missed++
		}
		called[i] = time.Now()
		res, err := runs.Trigger(t.Context(), &mailferryv1.TriggerRequest{Domain: "example.com", Name: fmt.Sprint("q", i)})
		if err != nil || res.GetOutcome() != mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_ACCEPTED {
			t.Fatalf("%v, %v", res, err)
		}
	}
	testenv.Eventually(t, 5*time.Minute, "everybody who was triggered has connected", func() bool { return quick.seen() == calls })
	wall := time.Since(begin).Seconds()
	figure := func(name string, value float64, unit string) {
		fmt.Printf("connect_now_%s %.2f %s\n", name, value, unit)
	}
	figure("cpu_machine", 100*(machineBusy(t)-busy)/wall, "%")
	figure("cpu_own", (h.used()-own)/wall, "cores")
	figure("slots_not_full", 100*float64(missed)/float64(calls), "% of calls")
	var took []time.Duration
	for i, at := range called {
		took = append(took, quick.dialed[fmt.Sprint("q", i)].Sub(at))
	}
	slices.Sort(took)
	for _, q := range []int{50, 90, 99, 100} {
		figure(fmt.Sprintf("p%d_ms", q), float64(took[q*(calls-1)/100].Microseconds())/1000, "ms")
	}
}

// bearer signs requests in.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// used is what the processes of the fleet have used of processors, in seconds.
func (h *house) used() (sum float64) {
	for _, p := range h.procs {
		sum += processorTime(h.t, p.cmd.Process.Pid)
	}
	return sum
}

// machineBusy is how long the processors of this machine were busy, in seconds by the clock, on the average of them.
func machineBusy(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy float64
	for i, f := range strings.Fields(line)[1:9] {
		if v, err := strconv.ParseFloat(f, 64); err == nil && i != 3 && i != 4 { // idle and waiting for disks
			busy += v / 100
		}
	}
	return busy / float64(strings.Count(string(b), "\ncpu"))
}
