package queue

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/nats-io/nats.go"
)

func TestOneJobPerAccountAndKindOfTrigger(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	ctx := limited(t, soon)
	publish(t, q, job("a", Scheduled))
	err := q.Publish(ctx, job("a", Scheduled))
	if !errors.Is(err, ErrCoalesced) || fault.KindOf(err) != fault.InUse {
		t.Fatalf("second job while one is queued: %v", err)
	}
	publish(t, q, job("a", Manual), job("a", Push), job("b", Scheduled))
	pending(t, q, 4)

	c := claims(t, q, 8, 0)
	claim := next(t, c, soon)
	if claim.Trigger != Manual {
		t.Fatalf("first is %q", claim.Trigger)
	}
	if err := q.Publish(ctx, job("a", Manual)); !errors.Is(err, ErrCoalesced) {
		t.Fatalf("second job while one is unacknowledged: %v", err)
	}
	ack(t, claim)
	publish(t, q, job("a", Manual))
}

func TestPublishAllAnswersInOrder(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	publish(t, q, job("u00003", Scheduled))
	js := jobs(600, Scheduled)
	js[5].AccountUID = "not.a.token"
	js[6].Trigger = "sometimes"
	js[7].Name = ""
	js[8].Name = strings.Repeat("x", maxJob)
	for i, err := range q.PublishAll(limited(t, soon), js) {
		switch i {
		case 3:
			if !errors.Is(err, ErrCoalesced) {
				t.Fatalf("job 3: %v", err)
			}
		case 5, 6, 7, 8:
			if fault.KindOf(err) != fault.Internal {
				t.Fatalf("job %d: %v", i, err)
			}
		default:
			if err != nil {
				t.Fatalf("job %d: %v", i, err)
			}
		}
	}
	pending(t, q, 596)
	if errs := q.PublishAll(limited(t, soon), nil); len(errs) != 0 {
		t.Fatal(errs)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	n.Stop()
	defer n.Start()
	err := q.Publish(limited(t, 300*time.Millisecond), job("a", Manual))
	if !errors.Is(err, context.DeadlineExceeded) || fault.KindOf(err) != fault.Internal {
		t.Fatalf("%v is of kind %v", err, fault.KindOf(err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Publish(ctx, job("a", Manual)); fault.KindOf(err) != fault.Canceled {
		t.Fatalf("%v is of kind %v", err, fault.KindOf(err))
	}
}

func TestAnAttemptWhoseAnswerWasLostCountsAsQueued(t *testing.T) {
	t.Parallel()
	_, n := newQueue(t, testAckWait)
	ctx := limited(t, soon)
	nc, js, d := n.Deaf(t, subjectOf(Manual, "a"))
	q, err := Open(ctx, nc, js, Config{AckWait: testAckWait})
	if err != nil {
		t.Fatal(err)
	}
	d.Arm()
	if err := q.Publish(ctx, job("a", Manual)); err != nil {
		t.Fatalf("a job that was queued: %v", err)
	}
	if d.Armed() {
		t.Fatal("no answer was lost")
	}
	d.Arm()
	other := job("a", Manual)
	other.ID = "another"
	if err := q.Publish(ctx, other); !errors.Is(err, ErrCoalesced) {
		t.Fatalf("a job that was refused: %v", err)
	}
	pending(t, q, 1)
}

func TestPublishOutlivesRestartAndLossOfTheStream(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	ctx := limited(t, 60*time.Second)
	done := make(chan error, 1)
	n.Stop()
	go func() { done <- q.Publish(ctx, job("a", Manual)) }()
	n.Start()
	if err := <-done; err != nil {
		t.Fatalf("over a restart: %v", err)
	}
	if err := n.JS.DeleteStream(ctx, jobsStream); err != nil {
		t.Fatal(err)
	}
	publish(t, q, jobs(20, Scheduled)...)
	pending(t, q, 20)
	wipe(t, n)
	publish(t, q, jobs(30, Scheduled)...)
	pending(t, q, 30)
}

// TestNothingIsSentBehindADeadline has a process sleep over its deadline: the timer of the context has not come yet.
func TestNothingIsSentBehindADeadline(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	ctx, cancel := context.WithTimeout(slept{context.Background()}, soon)
	defer cancel()
	if err := q.Publish(ctx, job("a", Scheduled)); !errors.Is(err, errLate) {
		t.Errorf("%v", err)
	}
	pending(t, q, 0)
}

// slept is a context whose deadline has passed and that has not noticed, for a moment.
type slept struct{ context.Context }

func (slept) Deadline() (time.Time, bool) { return time.Now().Add(-time.Second), true }

func BenchmarkPublishAll(b *testing.B) {
	q, n := newQueue(b, 30*time.Second)
	js := jobs(10_000, Scheduled)
	for b.Loop() {
		publish(b, q, js...)
		b.StopTimer()
		s, err := n.JS.Stream(context.Background(), jobsStream)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Purge(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*float64(len(js))/b.Elapsed().Seconds(), "jobs/s")
}

// TestStreamIsGoneAndNobodySaysSo deletes the stream while somebody listens on its subjects, as a server does that was
// asked to delete a stream while it made it: there is no answer at all, and the job is queued all the same.
func TestStreamIsGoneAndNobodySaysSo(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	if _, err := n.Conn.Subscribe("ferry.v1.job.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := n.JS.DeleteStream(limited(t, soon), "JOBS"); err != nil {
		t.Fatal(err)
	}
	publish(t, q, job("a", Scheduled))
	pending(t, q, 1)
}
