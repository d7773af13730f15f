package transit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	transitStream = "TRANSIT"
	deadStream    = "DEAD"
	bodiesBucket  = "BODIES"
	bodiesStream  = "OBJ_" + bodiesBucket
)

// maxWaiting bounds the long pulls on one lane: one for each intake of the fleet.
const maxWaiting = 4096

func (t *Transit) transitConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 transitStream,
		Description:          "messages between worker and delivery",
		Subjects:             []string{mailPrefix + ">"},
		Retention:            jetstream.WorkQueuePolicy,
		Storage:              jetstream.FileStorage,
		Replicas:             t.cfg.Replicas,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
		MaxMsgs:              t.cfg.MaxMessages,
		MaxBytes:             t.cfg.MaxBytes,
	}
}

func (t *Transit) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              deadStream,
		Description:       "messages and jobs that could not be brought to their end",
		Subjects:          []string{deadPrefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          t.cfg.Replicas,
		MaxMsgsPerSubject: 1,
		MaxAge:            t.cfg.DeadMaxAge,
		AllowDirect:       true,
	}
}

func (t *Transit) bodiesConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        bodiesStream,
		Description: "bodies above the inline limit",
		Subjects:    []string{chunkPrefix + ">", metaPrefix + ">"},
		Storage:     jetstream.FileStorage,
		Replicas:    t.cfg.Replicas,
		Discard:     jetstream.DiscardNew,
		AllowRollup: true,
		AllowDirect: true,
		MaxBytes:    t.cfg.MaxBodiesBytes,
	}
}

// firstSeq makes the sequences of a stream that is made again different from those of the one that
// was lost, so that a late acknowledgement of an old message cannot hit a new one.
func firstSeq() uint64 { return uint64(time.Now().UnixMicro()) }

// update brings all streams and consumers to this configuration.
func (t *Transit) update(ctx context.Context) error {
	for _, cfg := range []jetstream.StreamConfig{t.transitConfig(), t.deadConfig(), t.bodiesConfig()} {
		if err := t.makeStream(ctx, cfg, true); err != nil {
			return fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
	}
	for lane := range laneCount {
		if _, err := t.js.CreateOrUpdateConsumer(ctx, transitStream, t.laneConfig(lane)); err != nil {
			return fmt.Errorf("consumer %s: %w", laneName(lane), err)
		}
	}
	return nil
}

func (t *Transit) makeStream(ctx context.Context, cfg jetstream.StreamConfig, update bool) error {
	if cfg.Name == transitStream {
		cfg.FirstSeq = firstSeq()
	}
	return jsapi.MakeStream(ctx, t.js, cfg, update)
}

func laneName(lane int) string { return fmt.Sprintf("lane-%d", lane) }

func (t *Transit) laneConfig(lane int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       laneName(lane),
		FilterSubject: fmt.Sprintf("%s%d.>", mailPrefix, lane),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       t.cfg.AckWait,
		MaxDeliver:    -1,
		// A delayed Nak counts as pending: the whole stream may wait so.
		MaxAckPending: int(t.cfg.MaxMessages),
		MaxWaiting:    maxWaiting,
	}
}

func (t *Transit) makeTransit(ctx context.Context) error {
	if err := t.makeStream(ctx, t.transitConfig(), false); err != nil {
		return err
	}
	for lane := range laneCount {
		_, err := t.js.CreateConsumer(ctx, transitStream, t.laneConfig(lane))
		if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			return err
		}
	}
	return nil
}

func (t *Transit) makeDead(ctx context.Context) error {
	return t.makeStream(ctx, t.deadConfig(), false)
}
func (t *Transit) makeBodies(ctx context.Context) error {
	return t.makeStream(ctx, t.bodiesConfig(), false)
}

// mender makes a stream again that was found missing; callers that find it missing at the same time
// share one attempt.
type mender struct {
	turn chan struct{}
	done atomic.Uint64
	make func(context.Context) error
}

// mendTimeout bounds one attempt.
const mendTimeout = 5 * time.Second

func newMender(mk func(context.Context) error) *mender {
	return &mender{turn: make(chan struct{}, 1), make: mk}
}

func (m *mender) mend(ctx context.Context) error {
	seen := m.done.Load()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	if m.done.Load() != seen {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	err := m.make(ctx)
	if err == nil {
		m.done.Add(1)
	}
	return err
}
