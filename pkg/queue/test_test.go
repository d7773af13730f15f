package queue

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// testers answers tests by do until the test ends; stop lets it answer no more.
func testers(t testing.TB, q *Queue, most int, do func(context.Context, *mailferryv1.TestJob) *mailferryv1.TestReport) (stop func()) {
	t.Helper()
	drain, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- q.ServeTests(context.Background(), drain, most, do) }()
	stop = sync.OnceFunc(func() {
		close(drain)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func testJob(id string) *mailferryv1.TestJob {
	return &mailferryv1.TestJob{Id: id, Deadline: timestamppb.New(time.Now().Add(time.Minute))}
}

// TestATestGoesToAWorkerWithRoom gives tests to two workers, of which one is busy for as long as it lasts.
func TestATestGoesToAWorkerWithRoom(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	if _, err := q.Test(limited(t, soon), testJob("nobody")); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without a worker: %v", err)
	}
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	busy := testers(t, q, 1, func(context.Context, *mailferryv1.TestJob) *mailferryv1.TestReport {
		held <- struct{}{}
		<-hold
		return &mailferryv1.TestReport{Worker: "busy"}
	})
	first := make(chan string, 1)
	ask := func(id string) string {
		var r *mailferryv1.TestReport
		testenv.Eventually(t, soon, "a worker answers", func() bool { // it may just be subscribing
			var err error
			r, err = q.Test(limited(t, soon), testJob(id))
			return err == nil
		})
		return r.GetWorker()
	}
	go func() { first <- ask("first") }()
	<-held
	other := secondConn(t, n, testAckWait)
	idle := testers(t, other, 1, func(ctx context.Context, j *mailferryv1.TestJob) *mailferryv1.TestReport {
		if until, ok := ctx.Deadline(); !ok || !until.Equal(j.GetDeadline().AsTime()) {
			t.Errorf("the test is bounded by %v", until)
		}
		return &mailferryv1.TestReport{Worker: "idle"}
	})
	for range 10 {
		if by := ask("more"); by != "idle" {
			t.Errorf("done by %s", by)
		}
	}
	idle()
	close(hold)
	if by := <-first; by != "busy" {
		t.Errorf("the first was done by %s", by)
	}
	busy()
	if _, err := q.Test(limited(t, soon), testJob("none")); fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.Throttled {
		t.Errorf("after all workers have stopped: %v", err)
	}
}

// TestATestThatNobodyWaitsForIsNotDone lets one come after its deadline.
func TestATestThatNobodyWaitsForIsNotDone(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	done := make(chan string, 10)
	testers(t, q, 1, func(_ context.Context, j *mailferryv1.TestJob) *mailferryv1.TestReport {
		done <- j.GetId()
		return &mailferryv1.TestReport{}
	})
	testenv.Eventually(t, soon, "a worker answers", func() bool {
		_, err := q.Test(limited(t, soon), testJob("in time"))
		return err == nil
	})
	late := testJob("late")
	late.Deadline = timestamppb.New(time.Now())
	if _, err := q.Test(limited(t, 300*time.Millisecond), late); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a late one: %v", err)
	}
	if _, err := q.Test(limited(t, soon), testJob("in time")); err != nil { // the late one lay before it
		t.Error(err)
	}
	close(done)
	for id := range done {
		if id == "late" {
			t.Error("it was done")
		}
	}
}
