package worker

import (
	"context"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"go.uber.org/zap"
)

// daily are the limits of octets a day that hold for a run, and what it has to do with them. What is counted are octets
// that were fetched, not those that a server says it has: no listing uses up what others may fetch.
type daily struct {
	limits []budget.DayLimit // none: nothing is counted
	asked  int64             // octets of messages that the run marked
	added  int64             // octets that are counted already
	usedUp error             // why it fetches no more
}

// leftover is what a limit leaves of its day.
type leftover struct {
	octets int64
	limit  budget.DayLimit
	ends   time.Time
}

// afterMidnight is for how long the accounts that waited for it come again, so that they do not come at once.
const afterMidnight = 10 * time.Minute

// mayFetch finds the limits of a day that hold for the run, and refuses it where one of them is reached.
func (r *run) mayFetch(ctx context.Context, d directory.Domain, caps directory.Caps) error {
	if caps.OctetsPerDay > 0 {
		r.day.limits = append(r.day.limits, budget.DayLimit{Name: domainBudget(d), Octets: caps.OctetsPerDay})
	}
	if name, b := r.w.budgetOf(r.acc, d); b.OctetsPerDay > 0 {
		r.day.limits = append(r.day.limits, budget.DayLimit{Name: name, Octets: b.OctetsPerDay})
	}
	if len(r.day.limits) == 0 {
		return nil
	}
	left, err := r.leftToday(ctx, 0)
	if err == nil && left.octets <= 0 {
		r.w.metrics.heldBack.WithLabelValues("bytes").Inc()
		err = r.usedUp(left)
	}
	return err
}

// leftToday counts what the run has fetched so far, and returns the limit that leaves the least.
func (r *run) leftToday(ctx context.Context, fetched int64) (least leftover, err error) {
	for i, l := range r.day.limits {
		d, err := r.w.Budget.Fetched(ctx, l.Name, fetched-r.day.added)
		if err != nil {
			return leftover{}, err
		}
		if n := l.Left(d, r.day.asked-fetched); i == 0 || n < least.octets {
			least = leftover{n, l, d.Ends}
		}
	}
	r.day.added = fetched
	return least, nil
}

// usedUp is the end of a run that may not fetch any more today: the account is due again soon after midnight.
func (r *run) usedUp(l leftover) error {
	return &fault.Error{
		Kind: fault.Throttled, Op: "limit of a day", Err: &budget.UsedUp{Limit: l.limit, Ends: l.ends},
		Until: schedule.Next(r.acc.UID, afterMidnight, l.ends),
	}
}

// today takes those of a batch that may be fetched today; where they are not all, the run takes no more. Octets are
// counted batch by batch: a call of Redis for each limit, none without limits.
func (w *wave) today(ctx context.Context, batch []candidate) ([]candidate, error) {
	r := w.r
	if len(r.day.limits) == 0 {
		return batch, nil
	}
	left, err := r.leftToday(ctx, w.f.octets())
	if err != nil {
		return nil, err
	}
	sizes := make([]int64, len(batch))
	for i, c := range batch {
		sizes[i] = c.octets()
	}
	n := budget.Fit(left.octets, sizes)
	for _, size := range sizes[:n] {
		r.day.asked += size
	}
	if n < len(batch) {
		r.report.Left += int64(len(batch) - n + len(w.fresh))
		w.fresh, r.day.usedUp = nil, r.usedUp(left)
	}
	return batch[:n], nil
}

// countToday counts what is not counted yet when the run ends.
func (r *run) countToday(ctx context.Context) {
	if len(r.day.limits) == 0 || r.report.Bytes == r.day.added {
		return
	}
	if _, err := r.leftToday(ctx, r.report.Bytes); err != nil {
		r.log.Warn("what was fetched is not counted against the limits of a day", zap.Int64("octets", r.report.Bytes-r.day.added), zap.Error(err))
	}
}

// domainBudget is the name of what a domain may do.
func domainBudget(d directory.Domain) string { return "domain " + d.Name }
