package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/schedule"
	"go.uber.org/zap"
)

// What ends a watch, besides the end of the session and of the lock.
var (
	errNews    = errors.New("messages came")           // a job with trigger push follows
	errOver    = errors.New("watched for long enough") // a run looks after what only runs do
	errChanged = errors.New("the account was changed")
	errDrained = errors.New("the worker is told to stop")
)

// wantedBy ends a watch because a run wants the mailbox: of this account, of another one, or "" if that is not known.
type wantedBy string

func (a wantedBy) Error() string { return "a run wants the mailbox" }

const (
	// yieldTime is how long the session may take to end once it has to.
	yieldTime = time.Second
	// steady is how long a watch must have lasted to be taken up again at once when the server ended it; else the
	// account is polled on its schedule.
	steady = 2 * time.Minute
	// pause is how soon after its start a watch tells of messages, so that a stream of them makes no stream of runs;
	// alarmPause is the same after a run that found nothing although the server had told of messages.
	pause, alarmPause = time.Second, time.Minute
)

// watch is a session that waits for messages.
type watch struct {
	w       *Worker
	log     *zap.Logger
	acc     account.Account
	hold    *ledger.Hold
	session remote.Session
	idler   remote.Idler
	host    string
	news    bool // messages came already
	// falseAlarm says that the run before was told of messages and found none.
	falseAlarm bool
	since      time.Time
}

// run waits until something ends the watch, and hands over what it held.
func (x *watch) run(ctx context.Context) {
	x.since = time.Now()
	x.w.metrics.watchers.Inc()
	defer x.w.metrics.watchers.Dec()
	defer func() {
		if p := recover(); p != nil {
			x.log.Error("a watch panicked", zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
			x.session.Abort()
		}
	}()
	x.log.Debug("watching")
	watching, stop := context.WithCancelCause(x.hold.Context())
	defer stop(nil)
	given, err := x.w.Queue.OnYield(x.acc.UID, func(by string) {
		if by == "" {
			stop(errChanged)
		} else {
			stop(wantedBy(by))
		}
	})
	if err != nil {
		x.log.Debug("watch", zap.Error(err)) // a run that wants the mailbox leaves word in the lock
		given = func() {}
	}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		x.keep(watching, stop)
	}()
	err = x.wait(watching)
	if watching.Err() != nil {
		err = context.Cause(watching)
	}
	stop(err)
	<-kept
	x.end(context.WithoutCancel(ctx), err, given)
}

// wait idles until messages came, the session failed or ctx ended. It gives the session some time to end in order.
func (x *watch) wait(ctx context.Context) error {
	late := context.AfterFunc(ctx, func() {
		time.AfterFunc(yieldTime, x.session.Abort)
	})
	defer late()
	length := remote.IdleFor(x.host)
	length -= schedule.Offset(x.acc.UID, length/10) // not all of them at once
	var err error
	for !x.news && err == nil && ctx.Err() == nil {
		x.news, err = x.idler.Idle(ctx, length)
	}
	if err != nil {
		return err
	}
	wait := pause
	if x.falseAlarm {
		wait = alarmPause
	}
	timer := time.NewTimer(time.Until(x.since.Add(wait)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return errNews
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keep moves the account's due time on, and stops the watch when it has to end.
func (x *watch) keep(ctx context.Context, stop context.CancelCauseFunc) {
	most := x.w.cfg.PushHold
	over := time.NewTimer(most - schedule.Offset(x.acc.UID, most/5))
	defer over.Stop()
	tick := time.NewTicker(x.w.cfg.PushGap / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ok, err := x.moveOn(ctx); ok || err != nil {
				continue
			}
			stop(errChanged)
		case <-ctx.Done():
		case <-x.hold.Wanted():
			stop(wantedBy(""))
		case <-x.w.watchers.ctx.Done():
			stop(errDrained)
		case <-over.C:
			stop(errOver)
		}
		return
	}
}

// moveOn moves the account's due time on: it is false where the account was changed.
func (x *watch) moveOn(ctx context.Context) (bool, error) {
	return x.w.Due.Move(ctx, x.acc.UID, x.acc.Revision, time.Now().Add(x.w.cfg.PushGap))
}

// end ends the session, says when the account is run next, and frees the lock, in this order.
func (x *watch) end(ctx context.Context, why error, given func()) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	x.leave(ctx)
	if at := x.next(why, time.Now()); !at.IsZero() {
		if _, err := x.w.Due.Move(ctx, x.acc.UID, x.acc.Revision, at); err != nil {
			x.log.Warn("the account is run again when its due time has come", zap.Error(err))
		}
	}
	if errors.Is(why, errChanged) {
		_ = x.w.Due.Hasten(ctx, x.acc.UID, time.Now())
	}
	if _, err := x.hold.Release(ctx); err != nil {
		x.log.Debug("release", zap.Error(err)) // the lock lapses by itself
	}
	given()
	if errors.Is(why, errNews) {
		x.publish(ctx)
	}
	x.w.metrics.watchEnds.WithLabelValues(reason(why)).Inc()
	x.log.Debug("watched", zap.String("end", reason(why)), zap.Duration("for", time.Since(x.since)), zap.NamedError("why", why))
}

// leave ends the session in order, or at once where that takes too long.
func (x *watch) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, yieldTime)
	defer cancel()
	_ = x.session.Close(ctx)
	x.session.Abort()
	x.w.watchers.leave(x.host)
}

// publish queues the job that fetches what came. One that is queued already does it.
func (x *watch) publish(ctx context.Context) {
	a := x.acc
	err := x.w.Queue.Publish(ctx, queue.Job{
		ID: rand.Text(), AccountUID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Trigger: queue.Push, DueAt: time.Now(),
	})
	if err != nil && !errors.Is(err, queue.ErrCoalesced) {
		x.log.Warn("messages came, and no job could be queued for them: they are fetched at the next turn", zap.Error(err))
		_ = x.w.Due.Hasten(context.WithoutCancel(ctx), a.UID, time.Now())
	}
}

// next returns when a watch that ended is to be followed by a scheduled run, the zero time where a run follows by
// itself, or the due time that stands is right.
func (x *watch) next(why error, now time.Time) time.Time {
	var by wantedBy
	switch {
	case errors.Is(why, errNews), errors.Is(why, errChanged), fault.KindOf(why) == fault.Canceled:
		return time.Time{}
	case errors.As(why, &by):
		if by == "" || string(by) == x.acc.UID {
			return time.Time{}
		}
	case errors.Is(why, errDrained), errors.Is(why, errOver):
		return now
	case now.Sub(x.since) >= steady:
		return now.Add(schedule.Offset(x.acc.UID, 10*time.Second))
	}
	interval := x.acc.Interval
	if interval == 0 {
		interval = x.w.settings.Load().Interval
	}
	return schedule.Next(x.acc.UID, interval, now)
}

// reason is the label of an end.
func reason(why error) string {
	switch {
	case errors.Is(why, errNews):
		return "news"
	case errors.As(why, new(wantedBy)):
		return "wanted"
	case errors.Is(why, errChanged):
		return "changed"
	case errors.Is(why, errDrained):
		return "drained"
	case errors.Is(why, errOver):
		return "over"
	case errors.Is(why, ledger.ErrStale), errors.Is(why, ledger.ErrUntrusted):
		return "lock"
	}
	return "session"
}
