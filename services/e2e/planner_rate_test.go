package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestPlannerRate is no test but `task bench:planner`: one planner plans BENCH_PLANNER accounts, each of them at every five
// minutes; fewer than a million are due so much more often that as many jobs a second are emitted.
func TestPlannerRate(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("BENCH_PLANNER"))
	if err != nil {
		t.Skip("task bench:planner")
	}
	interval := 5 * time.Minute * time.Duration(n) / 1_000_000
	h := newHouse(t, nil)
	h.destination("lmtp:127.0.0.1:1")
	if _, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error { s.Interval = interval; return nil }); err != nil {
		t.Fatal(err)
	}
	figure := func(name string, value float64, unit string) { fmt.Printf("planner_%s %.2f %s\n", name, value, unit) }

	first := n / 20
	h.onePlanner().followed(h, 0).kill() // its position in the change feed is kept
	h.crowd(0, first)
	start := time.Now()
	p := h.onePlanner().followed(h, first)
	figure("feed", float64(first)/time.Since(start).Seconds(), "accounts/s")
	p.kill()
	h.crowd(first, n)
	h.skip(n - first)
	if err := h.redis.Client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	empty := h.redisMemory()

	drained := h.drain()
	redis := h.redisSeconds()
	start = time.Now()
	p = h.onePlanner()
	testenv.Eventually(t, 30*time.Minute, "the due index is filled", func() bool {
		c, err := h.due.Compared(context.Background())
		return err == nil && !c.At.IsZero()
	})
	figure("rebuild", time.Since(start).Seconds(), "s")
	figure("rebuild_cpu", processorTime(t, p.cmd.Process.Pid), "s")
	figure("rebuild_redis_cpu", h.redisSeconds()-redis, "s")
	figure("redis_planning", h.dueMemory()/float64(n), "bytes/account")
	figure("redis_all", (h.redisMemory()-empty)/float64(n), "bytes/account")

	<-time.After(interval) // all that came due while the index was being filled is behind us
	drained.reset()
	cpu, start := processorTime(t, p.cmd.Process.Pid), time.Now()
	<-time.After(interval)
	wall := time.Since(start).Seconds()
	figure("cpu", (processorTime(t, p.cmd.Process.Pid)-cpu)/wall, "cores")
	jobs, lag := drained.stop()
	figure("jobs", float64(jobs)/wall, "jobs/s")
	figure("lag_p50_ms", lag(0.50), "ms")
	figure("lag_p99_ms", lag(0.99), "ms")
	figure("rss", peakMB(t, p.cmd.Process.Pid), "MB")
	p.kill()
	rate, redisCPU := h.claimRate(n)
	figure("claim_commit", rate, "accounts/s")
	figure("claim_commit_redis", redisCPU, "us/account")
}

func (h *house) onePlanner() *proc {
	return h.launch(nil, "planner", "--nats-url", h.nats.URL, "--redis-url", "unix://"+h.redis.Socket, "--health-listen", "off",
		"--log-level", "info", "--vault-key-file", h.vaultFile())
}

// crowd stores accounts, in a thousand domains, as control would: one write at a time would take too long.
func (h *house) crowd(from, to int) {
	h.t.Helper()
	var all []jetstream.PubAckFuture
	for i := from; i < to; i++ {
		domain := fmt.Sprintf("d%03d-example-com", i%1000)
		a := account.Account{
			UID: directory.NewUID(), Domain: domain, Name: fmt.Sprintf("gmail-%d", i), Active: true, Protocol: account.IMAP,
			Host: fmt.Sprintf("imap%d.example.net", i%50), Username: fmt.Sprintf("user%d@example.net", i),
			ForwardTo: fmt.Sprintf("user%d@example.com", i), SealedPassword: bytes.Repeat([]byte{1}, 80),
		}.WithDefaults()
		value, err := proto.Marshal(a.Proto())
		if err != nil {
			h.t.Fatal(err)
		}
		f, err := h.nats.JS.PublishAsync("$KV.ACCOUNTS."+domain+"."+a.Name, value, jetstream.WithStallWait(time.Minute))
		if err != nil {
			h.t.Fatal(err)
		}
		if all = append(all, f); len(all) == 1000 || i == to-1 {
			for _, f := range all {
				select {
				case <-f.Ok():
				case err := <-f.Err():
					h.t.Fatal(err)
				}
			}
			all = all[:0]
		}
	}
}

// followed waits until the planner has heard of n accounts and of all there are.
func (p *proc) followed(h *house, n int) *proc {
	h.t.Helper()
	testenv.Eventually(h.t, time.Hour, "the planner has heard of all accounts", func() bool {
		if p.ended() {
			h.t.Fatal("the planner has ended")
		}
		c, err := h.nats.JS.Consumer(context.Background(), "KV_ACCOUNTS", "planner")
		if err != nil {
			return false
		}
		info := c.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0 && info.AckFloor.Consumer >= uint64(n)
	})
	return p
}

// skip takes accounts off the change feed, so that a planner that starts hears of none.
func (h *house) skip(n int) {
	h.t.Helper()
	c, err := h.nats.JS.Consumer(h.t.Context(), "KV_ACCOUNTS", "planner")
	if err != nil {
		h.t.Fatal(err)
	}
	for n > 0 {
		batch, err := c.Fetch(500)
		if err != nil {
			h.t.Fatal(err)
		}
		for m := range batch.Messages() {
			_ = m.Ack()
			n--
		}
	}
}

func (h *house) redisMemory() float64 { return h.redisInfo("memory", "used_memory:") }

// redisSeconds is what Redis has used of processors, without what it does beside its work.
func (h *house) redisSeconds() float64 {
	return h.redisInfo("cpu", "used_cpu_user_main_thread:") + h.redisInfo("cpu", "used_cpu_sys_main_thread:")
}

func (h *house) redisInfo(section, field string) float64 {
	h.t.Helper()
	text, err := h.redis.Client.Info(context.Background(), section).Result()
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, field)
	v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// dueMemory is what the due index takes of Redis, in bytes.
func (h *house) dueMemory() float64 {
	ctx := context.Background()
	var sum int64
	for it := h.redis.Client.Scan(ctx, 0, "ferry:due:*", 1000).Iterator(); it.Next(ctx); {
		v, err := h.redis.Client.MemoryUsage(ctx, it.Val(), 0).Result()
		if err != nil {
			h.t.Fatal(err)
		}
		sum += v
	}
	return float64(sum)
}

// processorTime is what a process has used of processors, in seconds.
func processorTime(t testing.TB, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return (user + system) / 100 // USER_HZ
}

// drained is what a stand-in for workers has taken off the queue.
type drained struct {
	t  testing.TB
	it jetstream.ConsumeContext

	mu   sync.Mutex
	lags []time.Duration
}

// drain takes jobs off the queue and does nothing with them.
func (h *house) drain() *drained {
	h.t.Helper()
	c, err := h.nats.JS.Consumer(h.t.Context(), "JOBS", "scheduled")
	if err != nil {
		h.t.Fatal(err)
	}
	d := &drained{t: h.t}
	d.it, err = c.Consume(d.take, jetstream.PullMaxMessages(2000))
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func (d *drained) take(m jetstream.Msg) {
	var j mailferryv1.Job
	meta, err := m.Metadata()
	if err != nil || proto.Unmarshal(m.Data(), &j) != nil {
		d.t.Errorf("a job cannot be read: %v", err)
		return
	}
	_ = m.Ack()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lags = append(d.lags, meta.Timestamp.Sub(j.GetDueAt().AsTime()))
}

func (d *drained) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lags = d.lags[:0]
}

// stop answers how many jobs there were, and a quantile of their lag in milliseconds.
func (d *drained) stop() (int, func(q float64) float64) {
	d.it.Stop()
	<-d.it.Closed()
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.lags)
	return len(d.lags), func(q float64) float64 {
		return float64(d.lags[int(q*float64(len(d.lags)-1))]) / float64(time.Millisecond)
	}
}

// claimRate makes all accounts due, and claims and commits them as one planner would that does nothing else. It answers how
// many a second, and what each costs Redis in microseconds.
func (h *house) claimRate(n int) (rate, redisCPU float64) {
	h.t.Helper()
	ctx := h.t.Context()
	turn := due.Turn{Planner: "rate", Shards: due.Share(0, 1), Limit: 100, Lease: time.Minute, Hold: time.Minute}
	for _, s := range turn.Shards {
		key := fmt.Sprintf("ferry:due:{%d}:at", s)
		if err := h.redis.Client.Del(ctx, fmt.Sprintf("ferry:due:{%d}:holder", s)).Err(); err != nil {
			h.t.Fatal(err)
		}
		if err := h.redis.Client.Do(ctx, "ZUNIONSTORE", key, 1, key, "WEIGHTS", 0).Err(); err != nil {
			h.t.Fatal(err)
		}
	}
	start, redis, done := time.Now(), h.redisSeconds(), 0
	for done < n {
		claims, _, err := h.due.Claim(ctx, turn)
		if err != nil || len(claims) == 0 {
			h.t.Fatalf("%d of %d claimed, %v", done, n, err)
		}
		now := time.Now()
		if err := h.due.Commit(ctx, claims, func(c due.Claimed) time.Time { return schedule.Next(c.UID, time.Hour, now) }); err != nil {
			h.t.Fatal(err)
		}
		done += len(claims)
	}
	return float64(done) / time.Since(start).Seconds(), (h.redisSeconds() - redis) * 1e6 / float64(done)
}
