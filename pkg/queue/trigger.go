package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Triggers of other programs.
const (
	triggerSubject   = "ferry.v1.trigger"         // requests, over core NATS
	triggerPublish   = "ferry.v1.trigger.publish" // what is only published
	triggersStream   = "TRIGGERS"
	triggersConsumer = "control"
	triggerGroup     = "control"
)

const (
	// onceFor is how long the queue knows a job, or a published trigger, by its id.
	onceFor = 10 * time.Minute
	// maxTrigger bounds a trigger in bytes, maxTriggers how many wait, and maxTriggerAge how long.
	maxTrigger    = 4 << 10
	maxTriggers   = 10_000
	maxTriggerAge = time.Hour
	// triggersAtOnce and carriedAtOnce bound what one control does at a time; triggersWaiting, what lies in its connection.
	triggersAtOnce, carriedAtOnce = 64, 4
	triggersWaiting               = 1024
	// triggerPause is when a trigger that a part of the fleet did not answer is tried again.
	triggerPause = 5 * time.Second
)

// Answer is what a control says of a trigger.
type Answer = func(context.Context, *mailferryv1.TriggerRequest) *mailferryv1.TriggerResponse

func (q *Queue) triggersConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: triggersStream, Description: "triggers that were published, until a control has carried them out",
		Subjects: []string{triggerPublish}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: q.cfg.Replicas,
		MaxMsgs: maxTriggers, MaxAge: maxTriggerAge, MaxMsgSize: maxTrigger + 1024, Discard: jetstream.DiscardNew, Duplicates: onceFor,
	}
}

// PublishTrigger keeps a trigger until a control has carried it out. One of the same request id that was kept within the
// last ten minutes serves for it.
func (q *Queue) PublishTrigger(ctx context.Context, r *mailferryv1.TriggerRequest) error {
	const op = "publish trigger"
	b, err := proto.Marshal(r)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	return q.retry(ctx, op, func(ctx context.Context) error { return q.put(ctx, triggerPublish, b, r.GetRequestId()) })
}

// ServeTriggers has requests answered by answer and published triggers carried out by carry, until stop is closed or ctx
// ends, and returns when those that are under way have ended. What carry could not do comes again.
func (q *Queue) ServeTriggers(ctx context.Context, stop <-chan struct{}, answer, carry Answer) error {
	asked := &crew{most: triggersAtOnce}
	sub, err := q.nc.QueueSubscribe(triggerSubject, triggerGroup, func(m *nats.Msg) { receiveTrigger(ctx, asked, m, answer) })
	if err == nil {
		err = sub.SetPendingLimits(triggersWaiting, -1)
	}
	if err != nil {
		return fault.Wrap(fault.Internal, "serve triggers", err)
	}
	pull, cancel := context.WithCancel(ctx)
	defer cancel()
	var carriers sync.WaitGroup
	for range carriedAtOnce {
		carriers.Go(func() {
			for pull.Err() == nil {
				if err := q.carryNext(ctx, pull, carry); err != nil && !jsapi.Sleep(pull, jsapi.MaxPause) {
					return
				}
			}
		})
	}
	select {
	case <-stop:
	case <-ctx.Done():
	}
	cancel()
	asked.end()
	_ = sub.Drain()
	asked.running.Wait()
	carriers.Wait()
	return nil
}

// receiveTrigger takes a request.
func receiveTrigger(ctx context.Context, asked *crew, m *nats.Msg, answer Answer) {
	r, js, err := readTrigger(m.Data)
	switch {
	case err != nil:
		respondTrigger(m, js, &mailferryv1.TriggerResponse{
			Outcome: mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_INVALID, Message: fault.Clean(err.Error()),
		})
	case !asked.start(func() { respondTrigger(m, js, answer(ctx, r)) }):
		respondTrigger(m, js, &mailferryv1.TriggerResponse{
			RequestId: r.GetRequestId(), Outcome: mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_UNAVAILABLE,
			Message: "this control is busy: try again in a moment, with the same request_id",
		})
	}
}

// readTrigger reads a trigger, which is JSON if it begins with a brace: no message in protobuf does.
func readTrigger(b []byte) (r *mailferryv1.TriggerRequest, js bool, err error) {
	r = new(mailferryv1.TriggerRequest)
	js = len(b) > 0 && b[0] == '{'
	switch {
	case len(b) == 0 || len(b) > maxTrigger:
		return r, js, fmt.Errorf("want a TriggerRequest of 1 to %d bytes, in protobuf or in JSON", maxTrigger)
	case js:
		if protojson.Unmarshal(b, r) != nil { // its own words quote the request
			err = errors.New("the JSON is no TriggerRequest: its fields are requestId, domain, name, all, failing, label")
		}
	default:
		if proto.Unmarshal(b, r) != nil {
			err = errors.New("neither JSON nor a TriggerRequest in protobuf")
		}
	}
	return r, js, err
}

// respondTrigger answers in the form of the request.
func respondTrigger(m *nats.Msg, js bool, a *mailferryv1.TriggerResponse) {
	b, err := proto.Marshal(a)
	if js {
		b, err = protojson.Marshal(a)
	}
	if err == nil && m.Reply != "" {
		_ = m.Respond(b)
	}
}

// carryNext takes the next published trigger, waits for it as long as pull lasts, and carries it out.
func (q *Queue) carryNext(ctx, pull context.Context, carry Answer) error {
	pull, cancel := context.WithTimeout(pull, time.Minute)
	defer cancel()
	c, err := q.js.Consumer(pull, triggersStream, triggersConsumer)
	if jsapi.Missing(err) {
		return q.make(pull, false)
	}
	if err != nil {
		return err
	}
	batch, err := c.Fetch(1, jetstream.FetchContext(pull))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		q.carry(ctx, m, carry)
	}
	if err := batch.Error(); pull.Err() == nil {
		return err
	}
	return nil
}

// keepTrigger keeps a trigger with this control until the function it returns was called.
func (q *Queue) keepTrigger(m jetstream.Msg) (done func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(q.cfg.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = m.InProgress()
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// carry carries out one published trigger and settles it.
func (q *Queue) carry(ctx context.Context, m jetstream.Msg, carry Answer) {
	r, _, err := readTrigger(m.Data())
	if err != nil {
		_ = m.TermWithReason(fault.Clean(err.Error()))
		return
	}
	done := q.keepTrigger(m)
	a := carry(ctx, r)
	done()
	switch a.GetOutcome() {
	case mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_UNAVAILABLE:
		_ = m.NakWithDelay(triggerPause)
	case mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_LIMITED:
		_ = m.NakWithDelay(max(time.Until(a.GetRetryAt().AsTime()), triggerPause))
	case mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_INVALID:
		_ = m.TermWithReason(a.GetMessage())
	default:
		_ = m.Ack()
	}
}
