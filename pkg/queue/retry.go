package queue

import (
	"context"

	"github.com/mailferry/mailferry/pkg/jsapi"
)

// retry does f until it succeeds, fails for good, or ctx ends. Streams that are missing are made again.
func (q *Queue) retry(ctx context.Context, op string, f func(context.Context) error) error {
	return q.caller().Do(ctx, op, jsapi.AttemptLimit, f)
}

func (q *Queue) caller() jsapi.Caller {
	return jsapi.Caller{Conn: q.nc, Make: func(ctx context.Context) error { return q.make(ctx, false) }}
}
