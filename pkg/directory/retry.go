package directory

import (
	"context"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
)

// defaultLimit bounds an operation whose context has no deadline.
const defaultLimit = 30 * time.Second

// retry does f until it succeeds, fails for good, or ctx ends. Buckets that are missing are made again.
func (d *Directory) retry(ctx context.Context, op string, f func(context.Context) error) error {
	return d.retryLong(ctx, op, jsapi.AttemptLimit, f)
}

// retryLong does the same for an f that may take as long as limit.
func (d *Directory) retryLong(ctx context.Context, op string, limit time.Duration, f func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(defaultLimit, 2*limit))
		defer cancel()
	}
	c := jsapi.Caller{Conn: d.nc, Make: func(ctx context.Context) error { return d.make(ctx, false) }}
	return c.Do(ctx, op, limit, f)
}
