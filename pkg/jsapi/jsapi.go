// Package jsapi is what the rooms on JetStream share in the way they call it: when a call is tried again, how
// long an attempt may take, and which errors may be gone at the next.
package jsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// AttemptLimit bounds one attempt: JetStream does not answer while it elects a leader.
	AttemptLimit = 3 * time.Second
	// OpenLimit bounds an attempt to bring streams, consumers and buckets to their configuration: many calls, one
	// after the other.
	OpenLimit = 15 * time.Second
	// MakeLimit bounds an attempt to make what is missing: some calls.
	MakeLimit = 6 * time.Second
	// MinPause is the pause after the first attempt.
	MinPause = 10 * time.Millisecond
	// MaxPause is the longest pause between two attempts.
	MaxPause = time.Second
)

// Caller tries calls again.
type Caller struct {
	Conn *nats.Conn
	// Make makes what a call found missing.
	Make func(ctx context.Context) error
}

// Do does f, with limit for each attempt, until it succeeds, fails for good, or ctx ends. What is missing, or does not
// answer, is made again in between.
func (c Caller) Do(ctx context.Context, op string, limit time.Duration, f func(context.Context) error) error {
	for pause := MinPause; ; pause = min(2*pause, MaxPause) {
		err := ctx.Err()
		if err == nil {
			err = Online(c.Conn)
		}
		if err == nil {
			err = Attempt(ctx, limit, f)
		}
		if err == nil {
			return nil
		}
		if (Missing(err) || silent(err)) && ctx.Err() == nil {
			_ = Attempt(ctx, MakeLimit, c.Make) // f says what is still wrong
		} else if !Passing(err) {
			return fault.Wrap(fault.Internal, op, err)
		}
		if !Sleep(ctx, pause) {
			return Ended(ctx, op, err)
		}
	}
}

// Online says whether something can be sent now. What is sent without a connection is kept by the client
// and goes out later, when nobody waits for it any more: nothing is sent then.
func Online(nc *nats.Conn) error {
	switch {
	case nc.IsConnected():
		return nil
	case nc.IsClosed():
		return nats.ErrConnectionClosed
	}
	return nats.ErrDisconnected
}

// Ended returns the error of an operation that was cut off by its context; last is what it met before.
func Ended(ctx context.Context, op string, last error) error {
	kind := fault.KindOf(context.Cause(ctx))
	if kind == fault.Timeout { // ours, not that of a remote server
		kind = fault.Internal
	}
	return fault.New(kind, op, fmt.Errorf("%w; last: %w", context.Cause(ctx), last))
}

// Attempt does f within limit.
func Attempt(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// Missing says whether a stream, bucket or consumer may be gone, or JetStream is not up yet.
func Missing(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// silent says that nobody answered in time. A stream that was deleted while it was made leaves a subscription behind
// that takes what is published and says nothing: it is missing, and nobody says so.
func silent(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// noReplicas is the server's code for more replicas than it has peers for, because it is no cluster.
const noReplicas jetstream.ErrorCode = 10074

// Passing says whether err may be gone at the next attempt.
func Passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		if api.ErrorCode == noReplicas {
			return false
		}
		return api.Code == 503 || api.Code == 500 || api.Code == 408
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) || Missing(err)
}

// Sleep waits for d; it answers false at once when ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Prefix returns what the subjects of the JetStream API begin with.
func Prefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "" && o.APIPrefix[len(o.APIPrefix)-1] == '.':
		return o.APIPrefix
	case o.APIPrefix != "":
		return o.APIPrefix + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}
