package jsapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestDo(t *testing.T) {
	t.Parallel()
	n := testenv.NewNATS(t)
	made := 0
	c := jsapi.Caller{Conn: n.Conn, Make: func(context.Context) error { made++; return nil }}
	do := func(ctx context.Context, results ...error) (calls int, err error) {
		err = c.Do(ctx, "ask", time.Minute, func(context.Context) error {
			r := results[min(calls, len(results)-1)]
			calls++
			return r
		})
		return calls, err
	}
	if calls, err := do(t.Context(), nats.ErrTimeout, jetstream.ErrStreamNotFound, nil); calls != 3 || err != nil || made != 2 {
		t.Errorf("%d calls, %v, made %d times", calls, err, made)
	}
	for _, final := range []error{errors.New("no"), &jetstream.APIError{Code: 400}, &jetstream.APIError{Code: 500, ErrorCode: 10074}} {
		if calls, err := do(t.Context(), final); calls != 1 || !errors.Is(err, final) || fault.KindOf(err) != fault.Internal {
			t.Errorf("%d calls, %v", calls, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := do(ctx, nats.ErrTimeout); !errors.Is(err, nats.ErrTimeout) || fault.KindOf(err) != fault.Internal {
		t.Errorf("cut off: %v", err)
	}
	n.Conn.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if calls, err := do(ctx, nil); calls != 0 || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("%d calls without a connection, %v", calls, err)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]jetstream.JetStreamOptions{
		"$JS.API.":     {},
		"$JS.hub.API.": {Domain: "hub"},
		"js.b.":        {APIPrefix: "js.b"},
		"js.c.":        {APIPrefix: "js.c."},
	} {
		if got := jsapi.Prefix(o); got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}
