package queue

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func outcome(o mailferryv1.TriggerOutcome) *mailferryv1.TriggerResponse {
	return &mailferryv1.TriggerResponse{Outcome: o}
}

// serve has triggers answered and carried out until the test ends, or the function it returns was called.
func serve(t testing.TB, q *Queue, answer, carry Answer) (stop func()) {
	t.Helper()
	drain, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- q.ServeTriggers(context.Background(), drain, answer, carry) }()
	stop = sync.OnceFunc(func() {
		close(drain)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestATriggerIsAnsweredInItsForm(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	if _, err := n.Conn.Request(triggerSubject, []byte(`{"all":true}`), soon); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("without a control: %v", err)
	}
	serve(t, q, func(_ context.Context, r *mailferryv1.TriggerRequest) *mailferryv1.TriggerResponse {
		return &mailferryv1.TriggerResponse{RequestId: r.GetRequestId(), Outcome: mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_ACCEPTED}
	}, nil)
	var m *nats.Msg
	testenv.Eventually(t, soon, "a control answers", func() bool {
		var err error
		m, err = n.Conn.Request(triggerSubject, []byte(`{"requestId":"one"}`), soon)
		return err == nil
	})
	if s := string(m.Data); !strings.Contains(s, `"TRIGGER_OUTCOME_ACCEPTED"`) || !strings.Contains(s, `"one"`) {
		t.Error(s)
	}
	b, err := proto.Marshal(&mailferryv1.TriggerRequest{RequestId: "two"})
	if err != nil {
		t.Fatal(err)
	}
	var a mailferryv1.TriggerResponse
	if m, err = n.Conn.Request(triggerSubject, b, soon); err != nil || proto.Unmarshal(m.Data, &a) != nil || a.GetRequestId() != "two" {
		t.Errorf("%v %v", &a, err)
	}
	for _, bad := range []string{"", "{", `{"password":"canary"}`, "\xff", strings.Repeat("x", maxTrigger+1)} {
		m, err := n.Conn.Request(triggerSubject, []byte(bad), soon)
		if err != nil || strings.Contains(string(m.Data), "canary") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestAPublishedTriggerIsCarriedOut publishes before any control runs; the first attempts fail or find no budget, and one that
// cannot be read holds nobody up.
func TestAPublishedTriggerIsCarriedOut(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	ctx := limited(t, 2*soon)
	if _, err := n.JS.Publish(ctx, triggerPublish, []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one is known
		if err := q.PublishTrigger(ctx, &mailferryv1.TriggerRequest{RequestId: "once"}); err != nil {
			t.Fatal(err)
		}
	}
	var carried atomic.Int32
	other := secondConn(t, n, testAckWait)
	for _, q := range []*Queue{q, other} {
		serve(t, q, nil, func(_ context.Context, r *mailferryv1.TriggerRequest) *mailferryv1.TriggerResponse {
			if r.GetRequestId() != "once" {
				t.Errorf("%v", r)
			}
			if carried.Add(1) == 1 {
				a := outcome(mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_LIMITED)
				a.RetryAt = timestamppb.New(time.Now())
				return a
			}
			return outcome(mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_ACCEPTED)
		})
	}
	testenv.Eventually(t, 2*soon, "the stream is empty", func() bool {
		s, err := n.JS.Stream(ctx, triggersStream)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
	if c := carried.Load(); c != 2 {
		t.Errorf("carried out %d times", c)
	}
}

// TestAJobOnceIsQueuedOnce queues a job whose like is done with.
func TestAJobOnceIsQueuedOnce(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	j := job("u1", Manual)
	j.Once = true
	publish(t, q, j)
	if id := q.Held(t.Context(), Manual, "u1"); id != j.ID {
		t.Errorf("%q is held", id)
	}
	ack(t, next(t, claims(t, q, 1, 0), soon))
	pending(t, q, 0)
	publish(t, q, j) // confirmed, and not queued
	pending(t, q, 0)
	if id := q.Held(t.Context(), Manual, "u1"); id != "" {
		t.Errorf("%q is held", id)
	}
	j.ID = "another"
	publish(t, q, j)
	pending(t, q, 1)
}

// TestStreamsAreWhatTheyWere opens the queue: nothing of it is updated by the next process, but what is changed.
func TestStreamsAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	for _, want := range []jetstream.StreamConfig{q.jobsConfig(), q.runsConfig(), q.triggersConfig()} {
		s, err := n.JS.Stream(limited(t, soon), want.Name)
		if err != nil {
			t.Fatal(err)
		}
		there := s.CachedInfo().Config
		if !jsapi.Same(there, want) {
			t.Errorf("%s would be updated: %+v", want.Name, there)
		}
		for _, change := range []func(*jetstream.StreamConfig){
			func(c *jetstream.StreamConfig) { c.MaxMsgSize++ },
			func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "another") },
			func(c *jetstream.StreamConfig) { c.AllowDirect = !c.AllowDirect },
		} {
			c := want
			change(&c)
			if jsapi.Same(there, c) {
				t.Errorf("%s: a change is not seen: %+v", want.Name, c)
			}
		}
	}
}

func FuzzReadTrigger(f *testing.F) {
	f.Add([]byte(`{"requestId":"a","domain":"example.com","name":"b"}`))
	f.Add([]byte("\n\x01a"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, js, err := readTrigger(b)
		if r == nil || js != (len(b) > 0 && b[0] == '{') || err == nil && len(b) > maxTrigger {
			t.Errorf("%v %v %v", r, js, err)
		}
	})
}
