package worker

import (
	"context"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// A run that was asked for by hand does not wait for those of its domain that fill the domain's share.
func TestReservedSlotsAreNotParted(t *testing.T) {
	t.Parallel()
	const slots, reserved = 8, 2
	w := &Worker{shares: budget.NewShares(slots), reserved: semaphore.NewWeighted(reserved)}
	fillShare(w, "example.com")
	c := &queue.Claim{Job: queue.Job{Domain: "example.com", Trigger: queue.Manual}}
	for range 2 * reserved {
		first, ok1 := w.share(t.Context(), zap.NewNop(), c)
		second, ok2 := w.share(t.Context(), zap.NewNop(), c)
		if !ok1 || !ok2 {
			t.Fatal("it has to wait, though a reserved slot is free")
		}
		first()
		second()
	}
}

// fillShare has the domain take its share of the slots, beside another.
func fillShare(w *Worker, domain string) {
	w.shares.Enter("other.example", 1, time.Now())
	for ok := true; ok; {
		ok, _ = w.shares.Enter(domain, 1, time.Now())
	}
}

// A job of push for which its domain has no share stays in the queue and comes back: nothing else tells of the message, where
// the account has no due time.
func TestPushWaitsForItsShareInTheQueue(t *testing.T) {
	t.Parallel()
	ctx, nats, redis := context.Background(), testenv.NewNATS(t), testenv.NewRedis(t)
	dir, err := directory.Open(ctx, nats.JS, directory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(ctx, nats.Conn, nats.JS, queue.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(ctx, Deps{Directory: dir, Queue: q, Due: due.New(redis.Client), Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}, Config{Slots: 10, Reserved: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.claims.Stop)
	job := queue.Job{ID: "push-1", AccountUID: directory.NewUID(), Domain: "example.com", Name: "a", Trigger: queue.Push, DueAt: time.Now()}
	if err := q.Publish(ctx, job); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		waiting, cancel := context.WithTimeout(ctx, time.Minute)
		c, err := w.claims.Next(waiting)
		cancel()
		if err != nil || c.ID != job.ID || c.Delivered != n {
			t.Fatalf("the job does not come for the %d. time: %+v, %v", n, c, err)
		}
		fillShare(w, job.Domain)
		if _, ok := w.share(ctx, zap.NewNop(), c); ok {
			t.Fatal("it did not have to wait")
		}
		if left, err := q.Pending(ctx); err != nil || left != 1 {
			t.Fatalf("%d jobs are in the queue, want 1: %v", left, err)
		}
	}
}
