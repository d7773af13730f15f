package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// Report is what one run did.
type Report = mailferryv1.RunReport

func runSubject(uid string) string { return "ferry.v1.run." + uid }

// PutReport records r as the newest report of its account; the oldest beyond 20 goes. It is repeated
// until ctx ends.
func (q *Queue) PutReport(ctx context.Context, r *Report) error {
	if err := checkUID(r.GetAccountUid()); err != nil {
		return fault.New(fault.Internal, "put run report", err)
	}
	b, err := proto.Marshal(r)
	if err != nil {
		return fault.New(fault.Internal, "put run report", err)
	}
	return q.retry(ctx, "put run report", func(ctx context.Context) error {
		return q.put(ctx, runSubject(r.GetAccountUid()), b, "")
	})
}

// Reports returns the last reports of an account, newest first, at most limit of them (all that are
// kept, if limit is 0). A replica may answer that lacks the newest for a moment.
func (q *Queue) Reports(ctx context.Context, accountUID string, limit int) ([]*Report, error) {
	if err := checkUID(accountUID); err != nil {
		return nil, fault.New(fault.Internal, "run reports", err)
	}
	var out []*Report
	err := q.retry(ctx, "run reports", func(ctx context.Context) (err error) {
		out, err = q.readReports(ctx, accountUID)
		return err
	})
	slices.Reverse(out)
	if limit > 0 && limit < len(out) {
		out = out[:limit]
	}
	return out, err
}

// readReports reads all reports of an account in one request, oldest first. One that cannot be read is
// passed over, and so is the copy of one that was put twice because an answer was lost.
func (q *Queue) readReports(ctx context.Context, uid string) ([]*Report, error) {
	inbox := q.nc.NewInbox()
	sub, err := q.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	body := fmt.Sprintf(`{"seq":1,"next_by_subj":%q,"batch":%d}`, runSubject(uid), maxReports+1)
	if err := q.nc.PublishRequest(q.api+"DIRECT.GET."+runsStream, inbox, []byte(body)); err != nil {
		return nil, err
	}
	var out []*Report
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			r := new(Report)
			if proto.Unmarshal(m.Data, r) == nil {
				out = slices.DeleteFunc(out, func(o *Report) bool { return same(o, r) })
				out = append(out, r)
			}
		case "204", "404": // the end; there is none
			return out, nil
		case "503":
			return nil, nats.ErrNoResponders
		default:
			return nil, fault.Errorf(fault.Internal, "run reports", "the server answered %s %s", status, m.Header.Get("Description"))
		}
	}
}

func same(a, b *Report) bool {
	return a.GetRunId() != "" && a.GetRunId() == b.GetRunId() && proto.Equal(a, b)
}

// EraseAccount removes all reports and jobs of an account; a run that goes on is not ended by it.
func (q *Queue) EraseAccount(ctx context.Context, accountUID string) error {
	const op = "erase runs and jobs"
	if err := checkUID(accountUID); err != nil {
		return fault.New(fault.Internal, op, err)
	}
	return q.retry(ctx, op, func(ctx context.Context) error {
		return errors.Join(q.purge(ctx, runsStream, runSubject(accountUID)), q.purge(ctx, jobsStream, subjectRoot+"*."+accountUID))
	})
}

// purge removes what lies under a subject; a stream that is not there has nothing.
func (q *Queue) purge(ctx context.Context, stream, subject string) error {
	s, err := q.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// flushLimit bounds how long the server may take to confirm a subscription.
const flushLimit = 5 * time.Second
