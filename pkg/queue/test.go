package queue

import (
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// Tests of accounts are requests over core NATS: one worker of the group answers, and none is kept for later.
const (
	testSubject = "ferry.v1.test"
	testGroup   = "workers"
	// testsWaiting bounds the requests that lie in a worker's connection.
	testsWaiting = 64
	// busyFor is how long a test is offered to workers that have enough to do.
	busyFor = 10 * time.Second
)

// Test has a worker do j and returns its report. ctx bounds the whole of it. A report with a fault is no error.
func (q *Queue) Test(ctx context.Context, j *mailferryv1.TestJob) (*mailferryv1.TestReport, error) {
	const op = "test"
	payload, err := proto.Marshal(j)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	tooBusy := time.Now().Add(busyFor)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, jsapi.MaxPause) {
		if err := jsapi.Online(q.nc); err != nil {
			return nil, fault.New(fault.Unavailable, op, err)
		}
		var a mailferryv1.TestAnswer
		m, err := q.nc.RequestWithContext(ctx, testSubject, payload)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fault.Errorf(fault.Unavailable, op, "no worker answered: none is running")
		case errors.Is(err, context.DeadlineExceeded):
			return nil, fault.Errorf(fault.Unavailable, op, "no worker answered in time: the one that had the test may have died")
		case err != nil:
			return nil, fault.Wrap(fault.Unavailable, op, err)
		case proto.Unmarshal(m.Data, &a) != nil:
			return nil, fault.Errorf(fault.Internal, op, "the worker's answer cannot be read: is it of the same version?")
		case a.GetReport() != nil:
			return a.GetReport(), nil
		}
		if time.Now().After(tooBusy) || !jsapi.Sleep(ctx, pause) {
			return nil, fault.Errorf(fault.Throttled, op, "the workers have as many tests to do as they take")
		}
	}
}

// ServeTests answers tests by do, at most so many at once, until stop is closed or ctx ends; it returns when those that
// go on have ended. The context of do ends with ctx, and when nobody waits for its answer any more.
func (q *Queue) ServeTests(ctx context.Context, stop <-chan struct{}, most int, do func(context.Context, *mailferryv1.TestJob) *mailferryv1.TestReport) error {
	s := &tests{crew: crew{most: most}, do: do}
	sub, err := q.nc.QueueSubscribe(testSubject, testGroup, func(m *nats.Msg) { s.receive(ctx, m) })
	if err != nil {
		return fault.Wrap(fault.Internal, "serve tests", err)
	}
	if err := sub.SetPendingLimits(testsWaiting, -1); err != nil {
		return fault.Wrap(fault.Internal, "serve tests", err)
	}
	select {
	case <-stop:
	case <-ctx.Done():
	}
	s.end()
	_ = sub.Drain() // what lies there is told to look for another worker
	s.running.Wait()
	return nil
}

// tests are those that a worker does now.
type tests struct {
	crew
	do func(context.Context, *mailferryv1.TestJob) *mailferryv1.TestReport
}

// receive takes a test, or says at once that another worker may have more room.
func (s *tests) receive(ctx context.Context, m *nats.Msg) {
	var j mailferryv1.TestJob
	if proto.Unmarshal(m.Data, &j) != nil || !time.Now().Before(j.GetDeadline().AsTime()) {
		return // nobody waits for it, or nobody of ours
	}
	taken := s.start(func() {
		ctx, cancel := context.WithDeadline(ctx, j.GetDeadline().AsTime())
		defer cancel()
		s.answer(m, &mailferryv1.TestAnswer{Report: s.do(ctx, &j)})
	})
	if !taken {
		s.answer(m, &mailferryv1.TestAnswer{})
	}
}

func (*tests) answer(m *nats.Msg, a *mailferryv1.TestAnswer) {
	if b, err := proto.Marshal(a); err == nil {
		_ = m.Respond(b)
	}
}
