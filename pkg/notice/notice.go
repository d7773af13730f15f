// Package notice tells owners and administrators that the state of an account has changed: what is told and when
// ([Decide], pure), the stream NOTICES that brings it from the worker that settled a run to a delivery, and the two forms
// that it takes there, a mail and the body of a webhook.
//
// A notice holds the names of the account and of its fault, in the words of its run report: no credential, and nothing of
// a message.
package notice

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// Channel is a way to somebody. Each has a queue of its own, so that one that is stuck holds up and repeats no other.
type Channel string

// The channels: mail to the owner and to the administrators of the domain and of the fleet, and their webhooks.
const (
	OwnerMail     Channel = "owner-mail"
	DomainMail    Channel = "domain-mail"
	FleetMail     Channel = "fleet-mail"
	DomainWebhook Channel = "domain-webhook"
	FleetWebhook  Channel = "fleet-webhook"
)

// Channels are all of them.
var Channels = []Channel{OwnerMail, DomainMail, FleetMail, DomainWebhook, FleetWebhook}

const (
	stream  = "NOTICES"
	subject = "ferry.v1.notice."
	// maxNotices is how many notices are kept that somebody has not got yet; none is taken on top, and is told after a
	// later run.
	maxNotices = 200_000
	maxBytes   = 256 << 20
	maxNotice  = 16 << 10
	// MaxAge is for how long a notice is tried.
	MaxAge = 24 * time.Hour
	// ackWait is how long a notice stays with a process that died.
	ackWait = time.Minute
	// dedupe is how long a copy of a notice is known as one.
	dedupe = time.Hour
	// pullFor is how long one request for a notice stands.
	pullFor = 30 * time.Second
)

// Config says how the stream is made. Zero fields take their default.
type Config struct {
	// Replicas of the stream, 1 by default; 3 in production.
	Replicas int
}

// Notices is the stream. It owns no goroutine.
type Notices struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	cfg    Config
	making sync.Mutex
}

// Open makes the stream and its consumers, or brings them to cfg.
func Open(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, cfg Config) (*Notices, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	n := &Notices{nc: nc, js: js, cfg: cfg}
	return n, n.caller().Do(ctx, "open notices", jsapi.OpenLimit, n.make)
}

func (n *Notices) caller() jsapi.Caller { return jsapi.Caller{Conn: n.nc, Make: n.make} }

// make makes the consumers with the stream: a notice is kept for those that are there.
func (n *Notices) make(ctx context.Context) error {
	n.making.Lock()
	defer n.making.Unlock()
	err := jsapi.MakeStream(ctx, n.js, jetstream.StreamConfig{
		Name: stream, Description: "what owners and administrators are to be told", Subjects: []string{subject + "*"},
		Retention: jetstream.InterestPolicy, Storage: jetstream.FileStorage, Replicas: n.cfg.Replicas, Discard: jetstream.DiscardNew,
		MaxMsgs: maxNotices, MaxBytes: maxBytes, MaxMsgSize: maxNotice, MaxAge: MaxAge, Duplicates: dedupe,
	}, true)
	for _, c := range Channels {
		if err == nil {
			_, err = n.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
				Durable: string(c), AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxNotices,
			})
		}
	}
	return err
}

// Publish hands a notice over to all channels. One with an id that was handed over within the hour is not repeated.
func (n *Notices) Publish(ctx context.Context, m *mailferryv1.Notice) error {
	const op = "publish notice"
	b, err := proto.Marshal(m)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	return n.caller().Do(ctx, op, jsapi.AttemptLimit, func(ctx context.Context) error {
		_, err := n.js.PublishMsg(ctx, &nats.Msg{Subject: subject + m.GetAccountUid(), Data: b}, jetstream.WithMsgID(m.GetId()), jetstream.WithRetryAttempts(0))
		return err
	})
}

// EraseAccount removes the notices of an account that somebody has not got yet.
func (n *Notices) EraseAccount(ctx context.Context, accountUID string) error {
	return n.caller().Do(ctx, "erase notices", jsapi.AttemptLimit, func(ctx context.Context) error {
		s, err := n.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject(subject+accountUID))
	})
}

// Claim is a notice in the hands of a process. It must be settled by [Claim.Done] or [Claim.Again].
type Claim struct {
	*mailferryv1.Notice
	// Delivered is how often it was handed out, this time included.
	Delivered int
	msg       jetstream.Msg
}

// Done says that the notice needs nothing more on this channel.
func (c *Claim) Done(ctx context.Context) error { return c.msg.DoubleAck(ctx) }

// Again gives it back for a while.
func (c *Claim) Again(wait time.Duration) error { return c.msg.NakWithDelay(wait) }

// Next waits for a notice of a channel until ctx ends. One that cannot be read is dropped and told as an error.
func (n *Notices) Next(ctx context.Context, ch Channel) (*Claim, error) {
	for pause := jsapi.MinPause; ; {
		c, err := n.pull(ctx, ch)
		switch {
		case ctx.Err() != nil:
			if c != nil {
				_ = c.Again(0)
			}
			return nil, ctx.Err()
		case c != nil:
			return c, nil
		case err != nil && !jsapi.Missing(err) && !jsapi.Passing(err):
			return nil, fault.Wrap(fault.Internal, "next notice", err)
		case err != nil:
			if jsapi.Missing(err) {
				_ = jsapi.Attempt(ctx, jsapi.MakeLimit, n.make)
			}
			jsapi.Sleep(ctx, pause)
			pause = min(2*pause, jsapi.MaxPause)
		default:
			pause = jsapi.MinPause
		}
	}
}

// pull asks once; neither a claim nor an error says that there was none.
func (n *Notices) pull(ctx context.Context, ch Channel) (*Claim, error) {
	if err := jsapi.Online(n.nc); err != nil {
		return nil, err
	}
	cons, err := n.js.Consumer(ctx, stream, string(ch))
	if err != nil {
		return nil, err
	}
	pull, cancel := context.WithTimeout(ctx, pullFor)
	defer cancel()
	batch, err := cons.Fetch(1, jetstream.FetchContext(pull))
	if err != nil {
		return nil, err
	}
	m, ok := <-batch.Messages()
	if !ok {
		if err := batch.Error(); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			return nil, err
		}
		return nil, nil
	}
	meta, err := m.Metadata()
	p := new(mailferryv1.Notice)
	if err == nil {
		err = proto.Unmarshal(m.Data(), p)
	}
	if err != nil {
		_ = m.TermWithReason("it cannot be read")
		return nil, errors.New("a notice cannot be read")
	}
	return &Claim{Notice: p, Delivered: int(meta.NumDelivered), msg: m}, nil
}
