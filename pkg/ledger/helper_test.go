package ledger

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is one ledger on a redis-server of its own, with clocks that are moved by hand.
type house struct {
	t   testing.TB
	env *testenv.Redis
	*Ledger
	keyer *Keyer
	slot  Slot

	source map[string]string

	mu    sync.Mutex
	local time.Duration
}

// newHouse returns a ledger whose locks are renewed by the test.
func newHouse(t testing.TB, cfg Config) *house {
	t.Helper()
	env := testenv.NewRedis(t)
	h := &house{t: t, env: env, keyer: NewKeyer([]byte("installation key")), slot: SlotOf("pop3", "pop.example.net", 110, "alice")}
	if cfg.KeyID == "" {
		cfg.KeyID = h.keyer.ID()
	}
	h.Ledger = New(env.Client, cfg)
	h.source = make(map[string]string)
	for name := range h.scripts {
		h.source[name] = h.assemble("lua/" + name + ".lua")
	}
	h.source["peek"] = h.parts("--@ use clock account snapshot\nreturn snapshot()")
	h.scripts["peek"] = redis.NewScript(h.source["peek"])
	h.idle = true
	h.now = h.clock
	return h
}

func (h *house) assemble(file string) string {
	body, err := sources.ReadFile(file)
	h.ok(err)
	return h.parts(string(body))
}

func (h *house) parts(body string) string {
	src, err := assemble([]byte(body))
	h.ok(err)
	return src
}

// mutate replaces a piece of every script that has it.
func (h *house) mutate(old, new string) {
	h.t.Helper()
	found := false
	for name, src := range h.source {
		if strings.Contains(src, old) {
			h.source[name] = strings.ReplaceAll(src, old, new)
			h.scripts[name] = redis.NewScript(h.source[name])
			found = true
		}
	}
	if !found {
		h.t.Fatalf("no script has %q", old)
	}
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.local)
}

// pass moves Redis' time and this process' clock.
func (h *house) pass(d time.Duration) {
	h.offset.Add(d.Milliseconds())
	h.mu.Lock()
	h.local += d
	h.mu.Unlock()
}

func (h *house) acquire(account, job string) *Hold {
	h.t.Helper()
	hold, err := h.Acquire(context.Background(), AcquireRequest{Slot: h.slot, Account: account, Job: job, Owner: "w1"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _, _ = hold.Release(context.Background()) })
	return hold
}

// open acquires for an account with an epoch.
func (h *house) open(account, epoch string) *Hold {
	h.t.Helper()
	h.ok(h.Enroll(context.Background(), h.slot, account))
	hold := h.acquire(account, "job-"+account)
	if hold.Epoch() == "" {
		h.ok(hold.OpenEpoch(context.Background(), epoch))
	}
	return hold
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) release(hold *Hold) {
	h.t.Helper()
	if _, err := hold.Release(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// mark marks one key with the mark as it is now.
func (h *house) mark(hold *Hold, k Key, size int64) MarkResult {
	h.t.Helper()
	ix, err := hold.Reload(context.Background())
	h.ok(err)
	m, _ := ix.Mark(k)
	res, err := hold.Mark(context.Background(), []MarkRequest{{Key: k, Size: size, Listed: size, Seen: m.Raw}})
	h.ok(err)
	return res[0]
}

func (h *house) take(account string, k Key) Taken {
	h.t.Helper()
	taken, err := h.Take(context.Background(), TakeRequest{Slot: h.slot, Account: account, Epoch: "e1", Key: k, Size: 10, Listed: 10, Holder: "d1"})
	h.ok(err)
	return taken
}

func (h *house) deliver(account string, k Key) *Lease {
	h.t.Helper()
	taken := h.take(account, k)
	if taken.Verdict != Deliver {
		h.t.Fatalf("take %s: %v", k, taken.Verdict)
	}
	return taken.Lease
}

func (h *house) commit(le *Lease) bool {
	h.t.Helper()
	wrote, err := h.Commit(context.Background(), le)
	h.ok(err)
	return wrote
}

func (h *house) state(hold *Hold, k Key) State {
	h.t.Helper()
	ix, err := hold.Reload(context.Background())
	h.ok(err)
	return ix.State(k)
}

func (h *house) uid(i int) Key { return h.keyer.UniqueID(fmt.Sprintf("uid-%d", i)) }
