package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// How a run can end without a verdict of its own.
var (
	errInactive  = errors.New("account is not active")
	errCoalesced = errors.New("coalesced with the run that is going on")
	errPoison    = fault.Errorf(fault.Internal, "run", "started %d times without reaching its end", maxStarts)
)

// postponed gives the job back for a while.
type postponed struct {
	delay time.Duration
	cause error
}

func (p *postponed) Error() string { return p.cause.Error() }
func (p *postponed) Unwrap() error { return p.cause }

// giveBack is for what went wrong on our side before the lock was held: nothing was done, another worker
// may do better.
func giveBack(err error) error { return &postponed{delay: time.Second, cause: err} }

// maxLost is how often a job waits for an account that the directory has lost, 30 s in all: it may be restored.
const maxLost = 4

// lost gives the job of such an account back, for longer each time, and in the end it is poison.
func (r *run) lost(err error) error {
	n := r.claim.Delivered
	if n > maxLost {
		return err
	}
	return &postponed{delay: time.Second << n, cause: err}
}

// settleTimeout bounds what is done for a run after it has ended, also when the worker is told to stop.
const settleTimeout = 15 * time.Second

// settle is step 8 as far as it needs the lock: verdict, report, lock. It answers whether a trigger came
// meanwhile.
func (r *run) settle(ctx context.Context, err error) (again bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	now := time.Now()
	kind := fault.KindOf(err)
	r.report.FinishedAt, r.report.Fault = stamp(now), shown(err)
	r.countToday(ctx)
	killpoint.Reach("worker.before-settle")
	if kind != fault.Canceled {
		r.verdict(ctx, kind, err, now)
	}
	if n := r.report.Duplicates; n > 0 {
		r.note("%d of the messages were doubles of others within the dedupe window of %s: they count as delivered, and nobody got them", n, fault.Span(r.acc.DedupeWindow))
	}
	keep := r.report.New > 0 || r.report.Deleted+r.report.Moved > 0 || len(r.report.Notes) > 0 || err != nil
	if r.notWatched != "" && (keep || r.claim.Trigger == queue.Manual) {
		r.note("%s", r.notWatched)
	}
	if keep {
		if err := r.w.Queue.PutReport(ctx, r.report); err != nil {
			r.log.Warn("run report is not kept", zap.Error(err))
		}
		r.forgetGone(ctx)
	}
	killpoint.Reach("worker.reported")
	if !r.keepWatch(ctx, err) {
		again = r.release(ctx, kind)
	}
	r.w.metrics.runs.WithLabelValues(kind.String(), string(r.claim.Trigger), string(r.acc.Protocol)).Inc()
	r.w.metrics.messages.WithLabelValues("deleted").Add(float64(r.report.Deleted))
	r.logEnd(err)
	return again && kind != fault.Canceled
}

// release frees the lock.
func (r *run) release(ctx context.Context, kind fault.Kind) (again bool) {
	end := r.hold.Done
	if kind == fault.Canceled {
		end = r.hold.Release
	}
	again, err := end(ctx)
	if err != nil {
		r.log.Debug("release", zap.Error(err)) // the lock lapses by itself
	}
	return again
}

// verdict writes what the run came to into the due index.
func (r *run) verdict(ctx context.Context, kind fault.Kind, err error, now time.Time) {
	var notBefore time.Time
	if kind != fault.None {
		n := 1
		if e, _, gerr := r.w.Due.Get(ctx, r.acc.UID); gerr == nil {
			n += e.Failures
		}
		notBefore = retry(r.acc.UID, kind, err, n, now)
	}
	if d := r.delay(); d > 0 {
		if u := r.report.StartedAt.AsTime().Add(d); u.After(notBefore) {
			notBefore = u
		}
	}
	after, serr := r.w.Due.Settle(ctx, r.acc.UID, due.Ended{Kind: kind, NotBefore: notBefore, At: now, Found: r.found(kind)})
	if serr != nil {
		r.log.Warn("verdict is not kept; the schedule goes on", zap.Error(serr))
	} else {
		r.tell(ctx, kind, err, after, now)
		r.sooner(ctx, after.WasQuiet, now)
	}
	if kind == fault.None && r.report.Fetched > 0 && r.session.Info().Consumes {
		// A server that drops what was read may list only a part at a time (Gmail): come back for the rest.
		if err := r.w.Due.Hasten(ctx, r.acc.UID, now.Add(max(r.delay(), time.Minute))); err != nil {
			r.log.Warn("what is left is fetched at the next turn", zap.Error(err))
		}
	}
}

// retry is when an account is tried again after its n-th failure in a row.
func retry(uid string, kind fault.Kind, err error, n int, now time.Time) time.Time {
	v, until := kind.Verdict(), fault.UntilOf(err)
	curve := schedule.Curve{First: v.First, Cap: v.Cap}
	switch {
	case errors.Is(err, errPoison):
		curve = schedule.Curve{First: time.Hour, Cap: time.Hour}
	case kind == fault.Throttled && until.After(now):
		curve = schedule.Curve{} // the server has said when
	}
	return schedule.Retry(uid, curve, n, now, until)
}

// delay is how long the server wants between two sessions.
func (r *run) delay() time.Duration {
	if r.session == nil {
		return 0
	}
	return r.session.Info().LoginDelay
}

func (r *run) logEnd(err error) {
	rep := r.report
	fields := []zap.Field{
		zap.String("run", rep.RunId), zap.Int64("listed", rep.Listed), zap.Int64("new", rep.New), zap.Int64("fetched", rep.Fetched),
		zap.Int64("delivered", rep.Delivered), zap.Int64("deleted", rep.Deleted), zap.Int64("moved", rep.Moved), zap.Int64("skipped", rep.Skipped), zap.Int64("left", rep.Left), zap.Int64("failed", rep.Failed), zap.Int64("bytes", rep.Bytes),
		zap.Duration("took", rep.FinishedAt.AsTime().Sub(rep.StartedAt.AsTime())), zap.String("tls", rep.Tls), zap.String("mechanism", rep.Mechanism),
	}
	if err != nil {
		r.log.Warn("run failed", append(fields, zap.String("kind", fault.KindOf(err).String()), zap.Error(err))...)
		return
	}
	if rep.New > 0 || rep.Deleted+rep.Moved > 0 || len(rep.Notes) > 0 {
		r.log.Info("run", fields...)
		return
	}
	r.log.Debug("nothing new", fields...)
}

// settleJob is the rest of step 8: the job. It answers false if the run is to be repeated at once.
func (r *run) settleJob(ctx context.Context, err error, again bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if again {
		return false
	}
	c := r.claim
	var wait *postponed
	var qerr error
	switch {
	case errors.As(err, &wait):
		r.log.Debug("job is given back", zap.Duration("for", wait.delay), zap.Error(err))
		qerr = c.Nak(ctx, wait.delay)
	case errors.Is(err, errGone):
		r.log.Info("account is gone")
		_ = r.w.Due.Remove(ctx, c.AccountUID)
		r.answer(fault.New(fault.NotFound, "account "+c.Domain+"/"+c.Name, errGone))
		qerr = c.Ack(ctx)
	case errors.Is(err, errInactive):
		r.answer(fault.New(fault.Policy, "account "+r.acc.Ref(), errInactive))
		qerr = c.Ack(ctx)
	case errors.Is(err, errCoalesced):
		r.show.coalesced()
		qerr = c.Ack(ctx)
	case errors.Is(err, directory.ErrLost):
		_, _ = r.w.Due.Settle(ctx, c.AccountUID, due.Ended{Kind: fault.Internal, NotBefore: time.Now().Add(time.Hour), At: time.Now()})
		r.answer(err)
		r.w.bury(ctx, r.log, c, err)
	case errors.Is(err, errPoison):
		r.show.done(r.report)
		r.w.bury(ctx, r.log, c, err)
	case fault.KindOf(err) == fault.Canceled:
		qerr = c.Nak(ctx, 0)
	default:
		if r.report == nil { // refused before the lock was held
			r.answer(err)
		} else {
			r.show.done(r.report)
		}
		killpoint.Reach("worker.before-ack")
		qerr = c.Ack(ctx)
	}
	if qerr != nil {
		r.log.Warn("job is not settled and comes back", zap.Error(qerr))
	}
	return true
}

// answer tells a caller who waits why nothing was run.
func (r *run) answer(err error) {
	now := stamp(time.Now())
	c := r.claim
	r.show.done(&queue.Report{
		JobId: c.ID, AccountUid: c.AccountUID, Domain: c.Domain, Name: c.Name, Trigger: c.Trigger.Proto(),
		Worker: r.w.cfg.Name, StartedAt: now, FinishedAt: now, Fault: shown(err),
	})
}

// bury puts a job that cannot be brought to its end into DEAD and takes it off the queue, so that it does
// not stand in its account's way. The order matters: a job that is in neither place would be forgotten.
func (w *Worker) bury(ctx context.Context, log *zap.Logger, c *queue.Claim, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	log.Error("poison job", zap.Error(err))
	letter := &mailferryv1.DeadLetter{
		BuriedAt: stamp(time.Now()), Fault: shown(err), JobId: cmp.Or(c.ID, "unreadable"), AccountUid: c.AccountUID, Domain: c.Domain, Name: c.Name,
	}
	if c.AccountUID == "" { // nobody to bury it for
		log.Error("the job names no account")
	} else if err := w.Transit.Bury(ctx, letter); err != nil {
		log.Warn("poison job is not buried and comes back", zap.Error(err))
		_ = c.Nak(ctx, time.Minute)
		return
	}
	if err := c.Term(ctx, fmt.Sprintf("poison: %s", fault.KindOf(err))); err != nil {
		log.Warn("poison job comes back", zap.Error(err))
	}
}

func stamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }
