package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// found is what the run tells an adaptive schedule. Only a scheduled one that finds nothing says that it is quiet: who presses
// the button waits for something.
func (r *run) found(kind fault.Kind) due.Found {
	switch {
	case r.report.Fetched > 0:
		return due.Mail
	case kind == fault.None && r.claim.Trigger == queue.Scheduled:
		return due.Nothing
	}
	return due.Unknown
}

// sooner brings the next run of an account forward whose adaptive schedule had made it rare, as there is mail now.
func (r *run) sooner(ctx context.Context, wasQuiet int, now time.Time) {
	if wasQuiet == 0 || r.report.Fetched == 0 || r.day.usedUp != nil {
		return
	}
	at, err := r.adapted(ctx, now)
	if err == nil && !at.IsZero() {
		err = r.w.Due.Hasten(ctx, r.acc.UID, at)
	}
	if err != nil {
		r.log.Warn("the schedule adapts at the next turn only", zap.Error(err))
	}
}

// adapted is when an account with an adaptive schedule is due after a run that found mail; the zero time without one.
func (r *run) adapted(ctx context.Context, now time.Time) (time.Time, error) {
	d, err := r.w.policies.domain(ctx, r.acc.Domain)
	if err != nil {
		return time.Time{}, err
	}
	set := r.w.settings.Load()
	rules := account.RulesOf(r.acc.Interval, r.acc.Schedule, d.Schedule, account.Rules{Interval: set.Interval, Text: set.Schedule}).AtLeast(d.MinInterval, set.MinInterval)
	s, err := schedule.Parse(rules.Text.Entries, rules.Text.Zone)
	if err != nil {
		return time.Time{}, err
	}
	s.Least = rules.Least
	return s.Sooner(r.acc.UID, r.report.StartedAt.AsTime(), now), nil
}
