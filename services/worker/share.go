package worker

import (
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"go.uber.org/zap"
)

// share takes one of the slots that are parted among domains. Where it is false the domain has its share, and the job is
// settled: the account is due again when one of its slots may be free, and till then costs none. A job of push waits in the
// queue, for its account need not have a due time. Those that are asked for by hand have the reserved slots without regard to
// shares, so that nobody who looks on waits for runs of the schedule; more of them wait in the queue.
func (w *Worker) share(ctx context.Context, log *zap.Logger, c *queue.Claim) (leave func(), ok bool) {
	if c.Trigger == queue.Manual && w.reserved.TryAcquire(1) {
		return func() { w.reserved.Release(1) }, true
	}
	start := time.Now()
	d, err := w.policies.domain(ctx, c.Domain)
	if err != nil {
		d = directory.Domain{} // whoever needs to know more of it says so
	}
	ok, wait := w.shares.Enter(c.Domain, d.Weight, start)
	if ok {
		return func() {
			now := time.Now()
			w.shares.Leave(c.Domain, now.Sub(start), now)
		}, true
	}
	w.metrics.heldBack.WithLabelValues("share").Inc()
	log.Debug("the domain has its share of the slots", zap.Duration("again", wait))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if c.Trigger == queue.Scheduled {
		_, err = w.Due.Move(ctx, c.AccountUID, c.Revision, time.Now().Add(wait))
	}
	if c.Trigger != queue.Scheduled || err != nil {
		err = c.Nak(ctx, wait)
	} else {
		err = c.Ack(ctx)
	}
	if err != nil {
		log.Warn("job is not settled and comes back", zap.Error(err))
	}
	return nil, false
}

// capped takes a place under the caps of the domain: a run at a time, and one that begins. There is none where what may be
// fetched today is fetched.
func (r *run) capped(ctx context.Context) (*budget.Place, error) {
	d, err := r.w.policies.domain(ctx, r.acc.Domain)
	if err != nil {
		return nil, err
	}
	caps := d.Caps.Or(r.w.settings.Load().Caps)
	if err := r.mayFetch(ctx, d, caps); err != nil {
		return nil, err
	}
	place, err := r.w.Budget.Enter(ctx, budget.Limit{Name: domainBudget(d), Sessions: caps.Runs, LoginsPerMinute: caps.JobsPerMinute},
		budget.Visitor{Account: r.acc.UID, Hurry: r.claim.Trigger == queue.Manual})
	var full *budget.Full
	if errors.As(err, &full) {
		r.w.metrics.heldBack.WithLabelValues("cap").Inc()
		err = &fault.Error{Kind: fault.Throttled, Op: "domain", Err: err, Until: time.Now().Add(full.Wait)}
	}
	return place, err
}
