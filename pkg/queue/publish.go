package queue

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrCoalesced says that the queue refused a job because one of the account and the same kind of
// trigger is queued or unacknowledged: that one serves the caller.
var ErrCoalesced = errors.New("coalesced with a job that is queued or running")

// errLate says that a deadline passed before a job was sent.
var errLate = errors.New("it is too late to send the job")

// window is how many jobs of one PublishAll wait for the server's answer at a time.
const window = 256

// Publish queues j and returns once the server has confirmed it. It returns [ErrCoalesced] if the
// account has a job of this kind already, and repeats what fails in passing until ctx ends. A job that
// was queued by an attempt whose answer was lost counts as queued. Nothing is sent behind the deadline of ctx, even by
// a process that slept over it.
func (q *Queue) Publish(ctx context.Context, j Job) error {
	subject, payload, err := j.encode()
	if err != nil {
		return fault.New(fault.Internal, "publish job", err)
	}
	once := ""
	if j.Once {
		once = j.ID
	}
	end, limited := ctx.Deadline()
	doubt := false // an earlier attempt may have queued it
	return q.retry(ctx, "publish job", func(ctx context.Context) error {
		if limited && !time.Now().Before(end) { // the timer of ctx comes a little later
			return errLate
		}
		err := q.put(ctx, subject, payload, once)
		switch {
		case errors.Is(err, ErrCoalesced) && doubt && q.holds(ctx, subject, j.ID):
			return nil
		case err != nil && !jsapi.Missing(err):
			doubt = true
		}
		return err
	})
}

// PublishAll queues jobs, many at a time, and returns an error for each of them in the same order:
// nil, [ErrCoalesced], or what [Queue.Publish] returns.
func (q *Queue) PublishAll(ctx context.Context, jobs []Job) []error {
	errs := make([]error, len(jobs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(window, len(jobs)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
				errs[i] = q.Publish(ctx, jobs[i])
			}
		})
	}
	wg.Wait()
	return errs
}

// put publishes to a stream and waits for its confirmation. A stream that has had a message of the id once, if that is
// not "", confirms it and keeps what it has.
func (q *Queue) put(ctx context.Context, subject string, payload []byte, once string) error {
	m := &nats.Msg{Subject: subject, Data: payload}
	if once != "" {
		m.Header = nats.Header{jetstream.MsgIDHeader: []string{once}}
	}
	resp, err := q.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	switch err := json.Unmarshal(resp.Data, &ack); {
	case err != nil:
		return jetstream.ErrInvalidJSAck
	case ack.Error != nil && occupied(ack.Error):
		return fault.New(fault.InUse, "queue", ErrCoalesced)
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return jetstream.ErrInvalidJSAck
	}
	return nil
}

// storeFailed is the server's error code for any message that a store refused; the description tells why.
const storeFailed jetstream.ErrorCode = 10077

func occupied(e *jetstream.APIError) bool {
	return e.ErrorCode == storeFailed && strings.Contains(e.Description, "per subject")
}

// holds says whether the job of a subject is the one named id.
func (q *Queue) holds(ctx context.Context, subject, id string) bool {
	return q.held(ctx, subject) == id
}

// Held returns the id of the job of an account and a trigger that is queued or unacknowledged, "" if none is, or if
// the queue does not say.
func (q *Queue) Held(ctx context.Context, t Trigger, accountUID string) string {
	return q.held(ctx, subjectOf(t, accountUID))
}

func (q *Queue) held(ctx context.Context, subject string) string {
	s, err := q.js.Stream(ctx, jobsStream)
	if err != nil {
		return ""
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return ""
	}
	j, err := decode(subject, m.Data)
	if err != nil {
		return ""
	}
	return j.ID
}
