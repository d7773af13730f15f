package directory

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
	// defaultLimit bounds an operation whose context has no deadline.
	defaultLimit = 30 * time.Second
	// attemptLimit bounds one attempt: JetStream does not answer while it elects a leader.
	attemptLimit = 3 * time.Second
	minPause     = 10 * time.Millisecond
	maxPause     = time.Second
)

// retry does f until it succeeds, fails for good, or ctx ends. Buckets that are missing are made again.
func (d *Directory) retry(ctx context.Context, op string, f func(context.Context) error) error {
	return d.retryLong(ctx, op, attemptLimit, f)
}

// retryLong does the same for an f that may take as long as limit.
func (d *Directory) retryLong(ctx context.Context, op string, limit time.Duration, f func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(defaultLimit, 2*limit))
		defer cancel()
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := ctx.Err()
		if err == nil {
			err = d.online()
		}
		if err == nil {
			err = attempt(ctx, limit, f)
		}
		if err == nil {
			return nil
		}
		if missing(err) && ctx.Err() == nil {
			_ = attempt(ctx, attemptLimit, func(ctx context.Context) error { return d.make(ctx, false) }) // f says what is still wrong
		} else if !passing(err) {
			return fault.Wrap(fault.Internal, op, err)
		}
		if !sleep(ctx, pause) {
			return ended(ctx, op, err)
		}
	}
}

// online says whether something can be sent now. What is sent without a connection is kept by the client
// and goes out later, when nobody waits for it any more: nothing is sent then.
func (d *Directory) online() error {
	switch {
	case d.nc.IsConnected():
		return nil
	case d.nc.IsClosed():
		return nats.ErrConnectionClosed
	}
	return nats.ErrDisconnected
}

// ended returns the error of an operation that was cut off by its context; last is what it met before.
func ended(ctx context.Context, op string, last error) error {
	kind := fault.KindOf(context.Cause(ctx))
	if kind == fault.Timeout { // ours, not that of a remote server
		kind = fault.Internal
	}
	return fault.New(kind, op, fmt.Errorf("%w; last: %w", context.Cause(ctx), last))
}

func attempt(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// missing says whether a bucket or consumer may be gone, or JetStream is not up yet.
func missing(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// noReplicas is the server's code for more replicas than it has peers for, because it is no cluster.
const noReplicas jetstream.ErrorCode = 10074

// passing says whether err may be gone at the next attempt.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		if api.ErrorCode == noReplicas {
			return false
		}
		return api.Code == 503 || api.Code == 500 || api.Code == 408
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrConnectionReconnecting) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) || missing(err)
}

// sleep waits for d; it answers false at once when ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
