package budget

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/redis/go-redis/v9"
)

// clocked returns a script whose clock is its last two arguments.
func clocked(t *testing.T, lua string) *redis.Script {
	t.Helper()
	const clock = "redis.call('TIME')"
	if !strings.Contains(lua, clock) {
		t.Fatal("the script has no clock")
	}
	return redis.NewScript(strings.ReplaceAll(lua, clock, "{tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])}"))
}

// TestModel plays random visits against the scripts and their twin in Go: both decide the same. MAILFERRY_BUDGET_CASES sets
// how many visits there are.
func TestModel(t *testing.T) {
	t.Parallel()
	cases := 6000
	if s := os.Getenv("MAILFERRY_BUDGET_CASES"); s != "" {
		var err error
		if cases, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d visits", seed, cases)
	rdb := testenv.NewRedis(t).Client
	for i, l := range []Limit{
		{Sessions: 5}, {LoginsPerMinute: 60}, {Sessions: 10, LoginsPerMinute: 600}, {Sessions: 1, LoginsPerMinute: 7}, {Sessions: 200, LoginsPerMinute: 6000},
	} {
		l.Name, l.Address = fmt.Sprint("provider", i), "host:993"
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			h := &both{
				t: t, rdb: rdb, limit: l, model: NewModel(l), r: rand.New(rand.NewPCG(seed, uint64(i))), now: time.UnixMilli(1_790_000_000_000),
				enter: clocked(t, enterLua), failed: clocked(t, failedLua),
			}
			for n := range cases / 5 {
				if h.step(n); t.Failed() {
					t.Fatalf("after %d visits", n+1)
				}
			}
		})
	}
}

// both is a host of the scripts and of the model.
type both struct {
	t             *testing.T
	rdb           *redis.Client
	limit         Limit
	model         *Model
	r             *rand.Rand
	now           time.Time
	enter, failed *redis.Script
	open          []visit
}

type visit struct {
	id    string
	since time.Time
}

// step lets time pass, and an account come or go.
func (h *both) step(n int) {
	h.now = h.now.Add(time.Duration([]int{0, h.r.IntN(10), h.r.IntN(300), h.r.IntN(3000), h.r.IntN(3000)}[h.r.IntN(5)]) * time.Millisecond)
	if h.r.IntN(500) == 0 {
		h.now = h.now.Add(time.Duration(h.r.IntN(90)) * time.Second)
	}
	if len(h.open) > 0 && h.r.IntN(3) == 0 {
		h.leave(h.r.IntN(len(h.open)))
		return
	}
	for range 1 + h.r.IntN(4) { // some come at once
		h.visit(n)
	}
}

func (h *both) clock() (sec, usec int64) { return h.now.Unix(), h.now.UnixMicro() % 1_000_000 }

func (h *both) visit(n int) {
	account, domain, hurry := uint32(h.r.IntN(40)), uint32(h.r.IntN(4)), h.r.IntN(8) == 0
	sessions, line, hash, breaker, domains := h.limit.keys()
	id := fmt.Sprintf("%d-%d-%d", n, account, len(h.open))
	sec, usec := h.clock()
	reply, err := h.enter.Run(h.t.Context(), h.rdb, []string{sessions, line, hash, breaker, domains},
		id, fmt.Sprint("a", account), int64(1e12), h.limit.Sessions, h.limit.LoginsPerMinute, hurry, longest, fmt.Sprint("d", domain),
		mostAway.Milliseconds(), mostAgain.Milliseconds(), sec, usec).Int64Slice()
	if err != nil {
		h.t.Fatal(err)
	}
	fails := h.model.fails
	ok, again := h.model.Enter(account, domain, hurry, h.now)
	if ok != (reply[0] == 1) || ok && fails != int(reply[1]) || !ok && again.Milliseconds() != reply[1] {
		h.t.Fatalf("the script says %v, the model %v, again after %v, %d failures", reply, ok, again, fails)
	}
	if !ok {
		return
	}
	h.open = append(h.open, visit{id, h.now})
	if bad := h.r.IntN(400) < 390 && n/200%5 == 4; bad { // a host fails for a while
		h.fail(breaker)
		return
	}
	if fails > 0 {
		if err := h.rdb.HDel(h.t.Context(), breaker, "fails", "shut").Err(); err != nil {
			h.t.Fatal(err)
		}
	}
	h.model.Dialed(true, h.now)
}

func (h *both) fail(breaker string) {
	sec, usec := h.clock()
	if err := h.failed.Run(h.t.Context(), h.rdb, []string{breaker}, shutAfter, shutFor.Milliseconds(), shutMost.Milliseconds(), sec, usec).Err(); err != nil {
		h.t.Fatal(err)
	}
	h.model.Dialed(false, h.now)
}

func (h *both) leave(i int) {
	v := h.open[i]
	h.open = append(h.open[:i], h.open[i+1:]...)
	sessions, line, hash, _, _ := h.limit.keys()
	took := h.now.Sub(v.since)
	if err := leave.Run(h.t.Context(), h.rdb, []string{sessions, hash}, v.id, took.Milliseconds()).Err(); err != nil {
		h.t.Fatal(err)
	}
	h.model.Leave(took)
	waiting, err := h.rdb.ZCard(h.t.Context(), line).Result()
	if err != nil || int(waiting) != h.model.Waiting() {
		h.t.Errorf("%d in line, the model says %d, %v", waiting, h.model.Waiting(), err)
	}
	if h.limit.Sessions > 0 {
		if n, err := h.rdb.ZCard(h.t.Context(), sessions).Result(); err != nil || int(n) != h.model.Open() {
			h.t.Errorf("%d places, the model says %d, %v", n, h.model.Open(), err)
		}
	}
}
