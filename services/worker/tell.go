package worker

import (
	"context"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"go.uber.org/zap"
)

// tellLimit bounds what is done for the notices of a run.
const tellLimit = 4 * time.Second

// tell says what the run has changed in the state of its account, to whoever wants to know. It is said first and noted
// then: a worker that dies in between has it said again under the same id.
func (r *run) tell(ctx context.Context, kind fault.Kind, runErr error, after due.Settled, now time.Time) {
	told := notice.ParseTold(after.Told)
	next, events := notice.Decide(told, notice.Run{
		ID: r.report.GetRunId(), Account: r.acc.UID, At: now, Kind: kind, Failures: after.Failures, Since: after.FailingSince,
		Skipped: r.report.GetSkipped(),
	}, r.w.cfg.Notices)
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellLimit) // the lock is released after it
	defer cancel()
	wanted, err := r.noticesWanted(ctx)
	if !wanted && err == nil {
		if after.Told == "" {
			return
		}
		next, events = notice.Told{}, nil // whoever begins to listen is told of what is wrong then
	}
	for _, e := range events {
		if err == nil {
			err = r.w.Notices.Publish(ctx, &mailferryv1.Notice{
				Id: e.ID, Type: notice.ProtoType(e.Type), At: stamp(now), AccountUid: r.acc.UID, Domain: r.acc.Domain, Name: r.acc.Name,
				Fault: shown(runErr), Failures: int64(after.Failures), Since: stamp(e.Since), Skipped: skippedOf(e.Type, r.report), RunId: r.report.GetRunId(),
			})
		}
	}
	killpoint.Reach("worker.told")
	if err == nil {
		err = r.w.Due.SetTold(ctx, r.acc.UID, next.String())
	}
	if err != nil {
		r.log.Warn("a notice is not sent; it is tried again after the next run", zap.Error(err))
	}
}

func skippedOf(t notice.Type, r *queue.Report) int64 {
	if t == notice.OversizeSkipped {
		return r.GetSkipped()
	}
	return 0
}

// noticesWanted says whether notices of the account go to anybody.
func (r *run) noticesWanted(ctx context.Context) (bool, error) {
	if r.acc.Notify || r.w.settings.Load().Anybody() {
		return true, nil
	}
	d, err := r.w.policies.domain(ctx, r.acc.Domain)
	return d.Anybody(), err
}
