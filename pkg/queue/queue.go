package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Names on the server.
const (
	jobsStream        = "JOBS"
	runsStream        = "RUNS"
	manualConsumer    = "manual"
	scheduledConsumer = "scheduled"
)

const (
	// maxWaiting is how many pull requests of the whole fleet may stand at one consumer. The server
	// does not let it be changed later.
	maxWaiting = 16384
	// maxJob and maxReport bound what is stored, in bytes.
	maxJob    = 16 << 10
	maxReport = 64 << 10
	// maxReports is how many reports of an account are kept, and maxReportAge how long.
	maxReports   = 20
	maxReportAge = 90 * 24 * time.Hour
)

// Config says how the streams are made. Zero fields take their default.
type Config struct {
	// Replicas of the streams, 1 by default; 3 in production.
	Replicas int
	// AckWait is how long a job that nobody keeps stays with its worker, 30 s by default.
	AckWait time.Duration
	// MaxAckPending bounds the jobs that are out or handed back with a delay, per consumer and over
	// all workers; 50,000 by default. It has to be above 1.5 × the slots of all workers.
	MaxAckPending int
}

func (c Config) withDefaults() Config {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.AckWait == 0 {
		c.AckWait = 30 * time.Second
	}
	if c.MaxAckPending == 0 {
		c.MaxAckPending = 50_000
	}
	return c
}

// Queue is the job queue. It owns no goroutine; what [Queue.Claims] returns does.
type Queue struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	cfg Config
	api string // prefix of JetStream API subjects

	ensuring sync.Mutex
	made     atomic.Int64 // consumers that were made, over time
}

// Open makes the streams and consumers, or brings them to cfg, and returns the queue. It waits for
// NATS as long as ctx lasts.
func Open(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, cfg Config) (*Queue, error) {
	q := &Queue{nc: nc, js: js, cfg: cfg.withDefaults(), api: jsapi.Prefix(js.Options())}
	err := q.caller().Do(ctx, "open queue", jsapi.OpenLimit, func(ctx context.Context) error { return q.make(ctx, true) })
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Pending returns how many jobs the queue holds: waiting, with a worker, or handed back with a delay.
func (q *Queue) Pending(ctx context.Context) (int, error) {
	var n int
	err := q.retry(ctx, "pending jobs", func(ctx context.Context) error {
		s, err := q.js.Stream(ctx, jobsStream)
		if err != nil {
			return err
		}
		n = int(s.CachedInfo().State.Msgs)
		return nil
	})
	return n, err
}

// make makes what is missing; with update it also brings what is there to the configuration.
func (q *Queue) make(ctx context.Context, update bool) error {
	q.ensuring.Lock()
	defer q.ensuring.Unlock()
	streams, ctx1 := errgroup.WithContext(ctx) // at once: the server may be far away
	for _, cfg := range []jetstream.StreamConfig{q.jobsConfig(), q.runsConfig(), q.triggersConfig()} {
		streams.Go(func() error { return jsapi.MakeStream(ctx1, q.js, cfg, update) })
	}
	if err := streams.Wait(); err != nil {
		return err
	}
	consumers, ctx2 := errgroup.WithContext(ctx)
	for _, cfg := range []jetstream.ConsumerConfig{
		q.consumerConfig(manualConsumer, subjectOf(Manual, "*")),
		q.consumerConfig(scheduledConsumer, subjectOf(Scheduled, "*"), subjectOf(Push, "*")),
	} {
		consumers.Go(func() error { return q.makeConsumer(ctx2, jobsStream, cfg, update) })
	}
	consumers.Go(func() error {
		return q.makeConsumer(ctx2, triggersStream, q.consumerConfig(triggersConsumer, triggerPublish), update)
	})
	return consumers.Wait()
}

func (q *Queue) makeConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, update bool) error {
	if !update {
		_, err := q.js.Consumer(ctx, stream, cfg.Durable)
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	_, err := q.js.CreateOrUpdateConsumer(ctx, stream, cfg)
	if err == nil {
		q.made.Add(1)
	}
	return err
}

func (q *Queue) jobsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: jobsStream, Description: "jobs from planner and triggers to workers",
		Subjects:  []string{subjectOf(Manual, "*"), subjectOf(Scheduled, "*"), subjectOf(Push, "*")},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: q.cfg.Replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgSize: maxJob, Duplicates: onceFor,
		FirstSeq: uint64(time.Now().UnixMicro()),
	}
}

func (q *Queue) runsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: runsStream, Description: "the last run reports of each account",
		Subjects: []string{runSubject("*")}, Storage: jetstream.FileStorage, Replicas: q.cfg.Replicas,
		MaxMsgsPerSubject: maxReports, MaxAge: maxReportAge, MaxMsgSize: maxReport, AllowDirect: true,
	}
}

func (q *Queue) consumerConfig(name string, filters ...string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubjects: filters, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: q.cfg.AckWait, MaxDeliver: -1, MaxAckPending: q.cfg.MaxAckPending, MaxWaiting: maxWaiting,
	}
}
