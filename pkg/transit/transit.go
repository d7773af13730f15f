package transit

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Message is a message on its way.
type Message = mailferryv1.FetchedMessage

// DeadEntry is a dead letter with the id that names it: "<account uid>/<key>".
type DeadEntry = mailferryv1.DeadEntry

// Config says how the streams are made. Its zero value works.
type Config struct {
	// Replicas of each stream; 1 by default, 3 in production.
	Replicas int
	// AckWait is the time after which a message that was neither settled nor kept is handed out again;
	// 30 s by default.
	AckWait time.Duration
	// Inline is the largest body that travels in its message; 512 KiB by default. It has to be 64 KiB
	// below max_payload of the server.
	Inline int
	// MaxBytes and MaxMessages bound TRANSIT; 1 GiB and 1,000,000 by default.
	MaxBytes, MaxMessages int64
	// MaxBodiesBytes bounds BODIES; 4 GiB by default.
	MaxBodiesBytes int64
	// DeadMaxAge is how long a dead letter is kept; 90 days by default.
	DeadMaxAge time.Duration
	// PublishTimeout bounds the wait for the answer to one message; 30 s by default.
	PublishTimeout time.Duration
	// BodyWait is how long a body that is not there is looked for; a minute by default.
	BodyWait time.Duration
	// Bodies seals what is stored and opens what was sealed. Without it bodies lie open, and a sealed one is refused.
	Bodies *vault.Bodies
}

// payloadRoom is what a message needs beside its inline body.
const payloadRoom = 64 << 10

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	defN := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.Inline <= 0 {
		c.Inline = 512 << 10
	}
	defN(&c.MaxBytes, 1<<30)
	defN(&c.MaxMessages, 1_000_000)
	defN(&c.MaxBodiesBytes, 4<<30)
	def(&c.AckWait, 30*time.Second)
	def(&c.DeadMaxAge, 90*24*time.Hour)
	def(&c.PublishTimeout, 30*time.Second)
	def(&c.BodyWait, time.Minute)
	return c
}

// Transit is the way between workers and delivery.
type Transit struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	cfg  Config
	api  string // prefix of API subjects, with its dot
	pool *pool
	acks *acks

	transit, dead, bodies *mender
}

// Open makes or updates the streams and the consumers of the lanes.
func Open(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, cfg Config) (*Transit, error) {
	cfg = cfg.withDefaults()
	if most := int(nc.MaxPayload()); most > 0 && cfg.Inline > most-payloadRoom {
		return nil, fault.Errorf(fault.Internal, "transit open",
			"the inline limit of %d bytes leaves no room in max_payload of the server (%d)", cfg.Inline, most)
	}
	t := &Transit{nc: nc, js: js, cfg: cfg, api: jsapi.Prefix(js.Options()), pool: newPool(cfg.Inline + payloadRoom)}
	t.transit = newMender(t.makeTransit)
	t.dead = newMender(t.makeDead)
	t.bodies = newMender(t.makeBodies)
	if err := t.update(ctx); err != nil {
		return nil, failure("transit open", err)
	}
	var err error
	if t.acks, err = newAcks(nc); err != nil {
		return nil, failure("transit open", err)
	}
	return t, nil
}

// Close gives up the subscription to PubAcks. Publishers are flushed and intakes stopped before; a
// closed connection does the same.
func (t *Transit) Close() { t.acks.close() }

// Stats is what the streams hold.
type Stats struct {
	Messages int64
	Bytes    int64
	Dead     int64
	// DeadBytes are those of the dead letters, less bodies in the object store; Oldest is when the oldest was buried.
	DeadBytes int64
	Oldest    time.Time
}

// Stats counts the messages in transit with their bytes, bodies in the object store included, and the
// dead letters.
func (t *Transit) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	for _, part := range []struct {
		stream      string
		msgs, bytes *int64
	}{{transitStream, &s.Messages, &s.Bytes}, {bodiesStream, nil, &s.Bytes}, {deadStream, &s.Dead, &s.DeadBytes}} {
		state, err := t.state(ctx, part.stream)
		if err != nil {
			return Stats{}, failure("transit stats", err)
		}
		if part.msgs != nil {
			*part.msgs = int64(state.Msgs)
		}
		if part.bytes != nil {
			*part.bytes += int64(state.Bytes)
		}
		if part.stream == deadStream && state.Msgs > 0 {
			s.Oldest = state.FirstTime
		}
	}
	return s, nil
}

// Held returns the keys of an account that TRANSIT holds, handed out or not, as the leader of the
// stream knows them. An error means that nothing is known, not that nothing is held.
func (t *Transit) Held(ctx context.Context, accountUID string) (map[string]bool, error) {
	if err := checkTokens("transit held", "account uid", accountUID); err != nil {
		return nil, err
	}
	subjects, err := t.subjects(ctx, transitStream, mailOfAccount(accountUID))
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		if err = t.transit.mend(ctx); err == nil {
			subjects, err = t.subjects(ctx, transitStream, mailOfAccount(accountUID))
		}
	}
	if err != nil {
		return nil, failure("transit held", err)
	}
	keys := make(map[string]bool, len(subjects))
	for s := range subjects {
		for _, key := range keysOf(s) {
			keys[key] = true
		}
	}
	return keys, nil
}
