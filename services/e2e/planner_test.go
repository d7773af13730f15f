package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestPlannersDie has three planners, of which one is killed and one is stopped past its lease, restarts Redis and has another
// of three NATS servers lead the queue, also where the one that leads is stopped: no account misses two turns, none has two jobs outstanding. (Faults 6, 7, 13, 20, 24.)
func TestPlannersDie(t *testing.T) {
	t.Parallel()
	acquire(t)
	plannersDie(t, 60, 8*time.Second, short, 0)
}

// TestPlannersDieForReal is no test but `task bench:planner-crash`: the same at an interval of a minute and a lease of half a
// minute, for ten minutes.
func TestPlannersDieForReal(t *testing.T) {
	if os.Getenv("BENCH_PLANNER_CRASH") == "" {
		t.Skip("task bench:planner-crash")
	}
	plannersDie(t, 2000, time.Minute, 30*time.Second, 10*time.Minute)
}

func plannersDie(t *testing.T, accounts int, interval, lease, atLeast time.Duration) {
	h := newHouseOn(t, nil, testenv.NewNATSCluster(t), 3)
	h.destination("lmtp:127.0.0.1:1")
	if _, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error { s.Interval = interval; return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		h.add(account.Account{Name: fmt.Sprint("a", i), Protocol: account.POP3, Host: "127.0.0.1:1"}, "secret")
	}
	begin := time.Now()
	o := h.oversee(accounts)
	var planners []*proc
	for range 3 {
		planners = append(planners, h.startWith("planner", []string{"--lease", lease.String()}))
	}
	o.turn(interval, "with three planners")

	planners[0].kill()
	o.turn(interval, "one is killed")

	pid := planners[1].cmd.Process.Pid
	planners[1].signal(syscall.SIGSTOP)
	testenv.Eventually(t, time.Minute+2*lease, "the other has the shards of the one that is stopped", func() bool { return h.shardsOf(pid) == 0 })
	o.turn(interval, "one is stopped")
	planners[1].signal(syscall.SIGCONT)
	testenv.Eventually(t, time.Minute+2*lease, "who goes on has its shards again", func() bool { return h.shardsOf(pid) == due.Shards/2 })
	o.turn(interval, "it goes on")

	h.redis.Kill()
	h.redis.Start()
	o.turn(interval, "Redis was restarted")

	h.nats.StepDown("JOBS", "scheduled")
	o.turn(interval, "another NATS leads the queue")
	leader := h.nats.Leader("JOBS")
	leader.Stop()
	o.turn(interval, "the NATS that led the queue is stopped")
	leader.Start()
	o.turn(interval, "it is there again")
	for time.Since(begin) < atLeast {
		o.turn(interval, "to the end")
	}
	o.judge(interval)
}

// shardsOf is how many shards a planner holds.
func (h *house) shardsOf(pid int) int {
	n := 0
	for s := range due.Shards {
		if who, _ := h.redis.Client.Get(context.Background(), fmt.Sprintf("ferry:due:{%d}:holder", s)).Result(); strings.HasSuffix(who, fmt.Sprintf("/%d", pid)) {
			n++
		}
	}
	return n
}

// overseer stands in for workers: it takes each job, holds it for a while, and keeps a record.
type overseer struct {
	h        *house
	accounts int

	mu    sync.Mutex
	out   map[string]string      // job that is outstanding, by account
	turns map[string][]time.Time // due times of jobs, by account
	stall time.Duration          // longest time in which Redis or NATS did not answer
}

func (h *house) oversee(accounts int) *overseer {
	o := &overseer{h: h, accounts: accounts, out: map[string]string{}, turns: map[string][]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { o.work(ctx) })
	all.Go(func() { o.watch(ctx) })
	h.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return o
}

func (o *overseer) work(ctx context.Context) {
	var held sync.WaitGroup
	defer held.Wait()
	for ctx.Err() == nil {
		c, err := o.h.nats.JS.Consumer(ctx, "JOBS", "scheduled")
		if err != nil {
			continue
		}
		batch, err := c.Fetch(256, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			continue
		}
		for m := range batch.Messages() {
			held.Go(func() { o.take(ctx, m) })
		}
	}
}

func (o *overseer) take(ctx context.Context, m jetstream.Msg) {
	var j mailferryv1.Job
	if err := proto.Unmarshal(m.Data(), &j); err != nil {
		o.h.t.Errorf("a job cannot be read: %v", err)
		return
	}
	uid, at := j.GetAccountUid(), j.GetDueAt().AsTime()
	o.mu.Lock()
	if other := o.out[uid]; other != "" && other != j.GetId() {
		o.h.t.Errorf("account %s has two jobs outstanding", j.GetName())
	}
	o.out[uid] = j.GetId()
	if !slices.ContainsFunc(o.turns[uid], at.Equal) { // else it comes again
		o.turns[uid] = append(o.turns[uid], at)
	}
	o.mu.Unlock()
	select {
	case <-time.After(time.Duration(at.UnixMilli()%500) * time.Millisecond):
	case <-ctx.Done():
	}
	o.mu.Lock()
	delete(o.out, uid)
	o.mu.Unlock()
	_ = m.Ack()
}

// watch measures for how long Redis or NATS do not answer: turns may be missed then.
func (o *overseer) watch(ctx context.Context) {
	last := time.Now()
	for ctx.Err() == nil {
		err := o.h.due.Ping(ctx)
		if err == nil {
			_, err = o.h.nats.JS.Stream(ctx, "JOBS") // its leader answers
		}
		if err == nil {
			o.mu.Lock()
			o.stall = max(o.stall, time.Since(last))
			o.mu.Unlock()
			last = time.Now()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// turn waits until each account has had a turn that came after now.
func (o *overseer) turn(interval time.Duration, what string) {
	o.h.t.Helper()
	now := time.Now()
	testenv.Eventually(o.h.t, 3*interval+time.Minute, "each account has its turn, "+what, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		n := 0
		for _, turns := range o.turns {
			if turns[len(turns)-1].After(now) {
				n++
			}
		}
		return n == o.accounts
	})
}

// judge says what each account missed.
func (o *overseer) judge(interval time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	jobs, missed, longest := 0, 0, time.Duration(0)
	for uid, turns := range o.turns {
		slices.SortFunc(turns, time.Time.Compare)
		jobs += len(turns)
		for i := 1; i < len(turns); i++ {
			gap := turns[i].Sub(turns[i-1])
			longest = max(longest, gap)
			missed += int((gap+interval/2)/interval) - 1
			if gap > 2*interval+interval/2+2*o.stall {
				o.h.t.Errorf("account %s had no turn from %v to %v", uid, turns[i-1], turns[i])
			}
		}
	}
	o.h.t.Logf("%d accounts, %d turns, %d missed, none for more than %v; Redis or NATS did not answer for up to %v", o.accounts, jobs, missed, longest, o.stall)
}
