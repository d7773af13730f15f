package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go/jetstream"
)

func TestClaimIsTheJobThatWasPublished(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 3, 0)
	for _, tr := range []Trigger{Scheduled, Manual, Push} {
		want := job("a", tr)
		publish(t, q, want)
		claim := next(t, c, soon)
		if claim.Job != want || claim.Delivered != 1 || claim.Err != nil {
			t.Fatalf("got %+v, delivery %d, %v; want %+v", claim.Job, claim.Delivered, claim.Err, want)
		}
		ack(t, claim)
	}
	pending(t, q, 0)
}

func TestManualComesBeforeABacklog(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 30*time.Second)
	publish(t, q, jobs(1000, Scheduled)...)
	publish(t, q, jobs(50, Manual)...)
	c := claims(t, q, 10, 1)
	for i := range 50 {
		claim := next(t, c, soon)
		if claim.Trigger != Manual {
			t.Fatalf("claim %d is %s", i, claim.Trigger)
		}
		ack(t, claim)
	}
	for range 20 {
		ack(t, next(t, c, soon))
	}
	publish(t, q, job("now", Manual))
	before := 0
	for claim := next(t, c, soon); claim.Trigger != Manual; claim = next(t, c, soon) {
		ack(t, claim)
		before++
	}
	if before > 100 {
		t.Fatalf("a manual job came after %d of a backlog", before)
	}
}

func TestReservedSlotsTakeManualOnly(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 30*time.Second)
	publish(t, q, jobs(20, Scheduled)...)
	c := claims(t, q, 4, 1)
	var open []*Claim
	for range 3 {
		open = append(open, next(t, c, soon))
	}
	none(t, c, 300*time.Millisecond)
	publish(t, q, job("x", Manual), job("y", Manual))
	m := next(t, c, soon)
	if m.Trigger != Manual {
		t.Fatalf("a reserved slot took a %s job", m.Trigger)
	}
	none(t, c, 300*time.Millisecond) // all slots are taken
	ack(t, open[0])
	if m := next(t, c, soon); m.Trigger != Manual {
		t.Fatalf("a free slot took a %s job before a manual one", m.Trigger)
	}
	none(t, c, 300*time.Millisecond)
	ack(t, m)
	if s := next(t, c, soon); s.Trigger != Scheduled {
		t.Fatalf("got a %s job", s.Trigger)
	}
}

func TestNotMoreThanAQuarterInHand(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second)
	publish(t, q, jobs(200, Scheduled)...)
	publish(t, q, jobs(200, Manual)...)
	c := claims(t, q, 40, 4)
	next(t, c, soon)
	for range 20 {
		ackPending := 0
		for _, name := range []string{manualConsumer, scheduledConsumer} {
			info, err := must(n.JS.Consumer(context.Background(), jobsStream, name)).Info(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			ackPending += info.NumAckPending
		}
		if ackPending > 1+10 {
			t.Fatalf("%d jobs are out with one claim", ackPending)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestIdleLatency(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 30*time.Second)
	c := claims(t, q, 10, 1)
	none(t, c, 100*time.Millisecond)
	best := time.Hour // the machine may be busy; a poll would show in all of them
	for i := range 20 {
		got := make(chan *Claim, 1)
		go func() {
			claim, err := c.Next(context.Background())
			if err == nil {
				got <- claim
			}
			close(got)
		}()
		start := time.Now()
		publish(t, q, job(fmt.Sprint("u", i), Scheduled))
		claim := <-got
		best = min(best, time.Since(start))
		ack(t, claim)
	}
	if best > 100*time.Millisecond {
		t.Fatalf("publish to claim took %v at best", best)
	}
	t.Logf("publish to claim: %v at best", best)
}

// A worker that is full or gone must not hold what others could run.
func TestAFullWorkerLeavesManualJobsToOthers(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second)
	full := claims(t, q, 2, 0)
	none(t, full, 50*time.Millisecond) // its requests stand
	publish(t, q, job("a", Scheduled), job("b", Scheduled))
	next(t, full, soon)
	next(t, full, soon)
	for i := range 5 {
		publish(t, q, job(fmt.Sprint("m", i), Manual))
	}
	none(t, full, 250*time.Millisecond)
	full.mu.Lock()
	inHand := len(full.manual.held)
	full.mu.Unlock()
	if inHand > 0 {
		t.Fatal("a full worker holds a manual job")
	}
	other := claims(t, secondConn(t, n, q.cfg.AckWait), 10, 0)
	for range 5 {
		next(t, other, soon)
	}
}

func TestStopHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second) // far longer than this test waits
	publish(t, q, jobs(100, Scheduled)...)
	publish(t, q, jobs(10, Manual)...)
	c := claims(t, q, 40, 4)
	kept := next(t, c, soon)
	testenv.Eventually(t, soon, "jobs are in hand", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.scheduled.held) > 0 && len(c.manual.held) > 0
	})
	waiting := make(chan error, 1)
	blocked := claims(t, q, 1, 0)
	ackLater := next(t, blocked, soon)
	go func() {
		_, err := blocked.Next(context.Background())
		waiting <- err
	}()
	blocked.Stop()
	if err := <-waiting; !errors.Is(err, ErrStopped) {
		t.Fatalf("a call that waited got %v", err)
	}
	c.Stop()
	c.Stop() // legal
	if _, err := c.Next(context.Background()); !errors.Is(err, ErrStopped) {
		t.Fatalf("after Stop: %v", err)
	}
	other := claims(t, secondConn(t, n, q.cfg.AckWait), 200, 0)
	for range 108 {
		next(t, other, soon)
	}
	ack(t, kept) // a stopped worker still settles what is open
	ack(t, ackLater)
}

func TestPrefetchedJobsAreNotHeldForEver(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, time.Minute) // nothing lapses in this test
	c := claims(t, q, 40, 0)
	publish(t, q, jobs(3, Scheduled)...)
	next(t, c, soon) // the others come into the hand of a worker that asks no more
	other := claims(t, secondConn(t, n, q.cfg.AckWait), 10, 0)
	// A request of c that stands may catch once more what it gave back.
	old := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range c.scheduled.held {
			c.scheduled.held[i].since = time.Now().Add(-q.cfg.AckWait/3 - time.Second)
		}
	}
	for range 2 {
		testenv.Eventually(t, soon, "a job given back", func() bool {
			old()
			_, err := other.Next(limited(t, 200*time.Millisecond))
			return err == nil
		})
	}
}

func TestManyWorkersTakeEachJobOnce(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second)
	const count = 500
	publish(t, q, jobs(count, Scheduled)...)
	ctx, cancel := context.WithCancel(limited(t, 30*time.Second))
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 3 {
		c := claims(t, secondConn(t, n, q.cfg.AckWait), 16, 2)
		for range 4 {
			wg.Go(func() {
				for {
					claim, err := c.Next(ctx)
					if err != nil {
						return
					}
					if err := claim.Ack(context.WithoutCancel(ctx)); err != nil {
						t.Errorf("ack: %v", err)
					}
					mu.Lock()
					if seen[claim.ID]++; len(seen) == count {
						cancel()
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if len(seen) != count {
		t.Fatalf("%d of %d jobs were claimed", len(seen), count)
	}
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("%s was claimed %d times", id, n)
		}
	}
	pending(t, q, 0)
}

func TestClaimsRefuseNonsense(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	for _, cfg := range []ClaimConfig{{}, {Slots: 2, Reserved: 3}, {Slots: 2, Reserved: -1}} {
		if _, err := q.Claims(limited(t, soon), cfg); err == nil {
			t.Fatalf("%+v was taken", cfg)
		}
	}
}

func TestNextEndsWhenTheConnectionIsClosedForGood(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	c := claims(t, q, 1, 0)
	none(t, c, 50*time.Millisecond)
	n.Conn.Close()
	if _, err := c.Next(limited(t, soon)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestWorkGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	c := claims(t, q, 10, 1)
	publish(t, q, jobs(5, Scheduled)...)
	claim := next(t, c, soon)
	go claim.Keep(limited(t, 60*time.Second))
	n.Stop()
	acked := make(chan error, 1)
	go func() { acked <- claim.Ack(limited(t, soon)) }()
	n.Start()
	if err := <-acked; err != nil {
		t.Fatalf("ack over a restart: %v", err)
	}
	seen := map[string]bool{claim.ID: true}
	for len(seen) < 5 {
		c := next(t, c, soon)
		seen[c.ID] = true
		ack(t, c)
	}
	pending(t, q, 0)
	publish(t, q, job("later", Manual))
	ack(t, next(t, c, soon))
}

func TestARestartIsNoticedNotWaitedFor(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second) // missing heartbeats show after 11 s
	c := claims(t, q, 10, 1)
	none(t, c, 100*time.Millisecond) // requests stand
	n.Stop()
	n.Start()
	publish(t, q, job("a", Scheduled), job("b", Manual))
	for range 2 {
		ack(t, next(t, c, 10*time.Second))
	}
}

// A request that is on its way when its consumer is deleted gets no answer.
func TestARequestLostWithItsConsumerIsSentAgain(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second) // missing heartbeats show after 11 s
	c := claims(t, q, 10, 1)
	testenv.Eventually(t, soon, "requests that stand", func() bool {
		none(t, c, 50*time.Millisecond)
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.manual.asked > 0 && !c.manual.probe && c.scheduled.asked > 0
	})
	c.mu.Lock()
	c.manual.era++ // its answer is not heard
	c.mu.Unlock()
	deleteConsumers(t, n)
	publish(t, q, job("a", Manual))
	ack(t, next(t, c, 10*time.Second))
}

func TestWorkGoesOnAfterTheStreamIsLost(t *testing.T) {
	t.Parallel()
	for name, loss := range map[string]struct {
		lose   func(*testing.T, *testenv.NATS)
		within time.Duration // AckWait is 30 s, a heartbeat 5 s; without one the loss is noticed in 11 s
	}{
		"deleted stream":   {deleteStream, soon},
		"deleted consumer": {deleteConsumers, 10 * time.Second},
		"emptied store":    {func(t *testing.T, n *testenv.NATS) { wipe(t, n) }, 10 * time.Second},
		"emptied store, then deleted": {func(t *testing.T, n *testenv.NATS) {
			wipe(t, n)
			_ = n.JS.DeleteStream(context.Background(), jobsStream)
		}, soon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, n := newQueue(t, 30*time.Second)
			c := claims(t, q, 100, 1)
			publish(t, q, jobs(4, Scheduled)...)
			next(t, c, soon)
			loss.lose(t, n)
			fresh := make([]Job, 50)
			for i := range fresh {
				fresh[i] = job(fmt.Sprint("fresh", i), []Trigger{Scheduled, Manual, Push}[i%3])
			}
			publish(t, q, fresh...)
			seen := map[string]bool{}
			for len(seen) < len(fresh) {
				claim := next(t, c, loss.within)
				if strings.HasPrefix(claim.AccountUID, "fresh") {
					seen[claim.ID] = true
					ack(t, claim)
				} // else it was in hand when it was lost
			}
		})
	}
}

func deleteStream(t *testing.T, n *testenv.NATS) {
	t.Helper()
	if err := n.JS.DeleteStream(context.Background(), jobsStream); err != nil {
		t.Fatal(err)
	}
}

func deleteConsumers(t *testing.T, n *testenv.NATS) {
	t.Helper()
	for _, name := range []string{manualConsumer, scheduledConsumer} {
		if err := n.JS.DeleteConsumer(context.Background(), jobsStream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
	}
}

func BenchmarkNextAck(b *testing.B) {
	for _, workers := range []int{1, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			q, _ := newQueue(b, 30*time.Second)
			publish(b, q, jobs(b.N, Scheduled)...)
			c := claims(b, q, 100, 10)
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := w; i < b.N; i += workers {
						ack(b, next(b, c, 30*time.Second))
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}
