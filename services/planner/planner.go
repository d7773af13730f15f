// Package planner decides when accounts are run. It follows the directory's change feed into the due
// index, claims what is due, emits scheduled jobs, and commits the next due times once the queue has
// confirmed the jobs. A planner holds no state: any number of replicas share the index by leases, and a
// batch of one that died is claimed again when its lease ends. The queue refuses a second scheduled
// job of an account, so that claiming twice does no harm.
package planner

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Config tunes a planner. Zero fields take their default.
type Config struct {
	// Tick is how often the index is asked; default 500 ms.
	Tick time.Duration
	// Lease is how long claimed accounts are kept from other planners; default 30 s.
	Lease time.Duration
	// Batch is the most accounts claimed of one shard at once; default 200.
	Batch int
	// Rate caps the jobs emitted in a second, so that a clock that jumps or a long outage makes no storm;
	// default 5000.
	Rate int
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults() Config {
	if c.Tick == 0 {
		c.Tick = 500 * time.Millisecond
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.Batch == 0 {
		c.Batch = 200
	}
	if c.Rate == 0 {
		c.Rate = 5000
	}
	return c
}

// Planner is the planner role.
type Planner struct {
	dir    *directory.Directory
	due    *due.Index
	ledger *ledger.Ledger
	queue  *queue.Queue
	log    *zap.Logger
	cfg    Config

	plan     *plan
	draining chan struct{}
	emitted  *prometheus.CounterVec
	lag      prometheus.Histogram
}

// New returns a planner; its metrics are registered with reg.
func New(dir *directory.Directory, x *due.Index, l *ledger.Ledger, q *queue.Queue, log *zap.Logger, reg prometheus.Registerer, cfg Config) *Planner {
	p := &Planner{
		dir: dir, due: x, ledger: l, queue: q, log: log, cfg: cfg.withDefaults(), draining: make(chan struct{}),
		emitted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_planner_jobs_total", Help: "Accounts that were due, by what the queue said: emitted, coalesced, failed.",
		}, []string{"outcome"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailferry_planner_lag_seconds", Help: "Time between an account being due and its job being confirmed by the queue.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 14),
		}),
	}
	reg.MustRegister(p.emitted, p.lag)
	return p
}

// Run plans until ctx ends.
func (p *Planner) Run(ctx context.Context) error {
	s, err := p.dir.Settings(ctx)
	if err != nil {
		return err
	}
	p.plan = newPlan(s)
	domains, err := p.dir.Domains(ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		p.plan.setDomain(d)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.dir.WatchDomains(ctx, func(d directory.Domain) { p.domain(ctx, d) }) })
	g.Go(func() error { return p.dir.Watch(ctx, "planner", p.follow) })
	g.Go(func() error { return p.dir.WatchSettings(ctx, func(s directory.Settings) { p.settings(ctx, s) }) })
	g.Go(func() error { return p.emitLoop(ctx) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Drain stops emitting; what was claimed is committed or left to its lease.
func (p *Planner) Drain(context.Context) error {
	close(p.draining)
	return nil
}

// follow takes one change of the directory into the due index, and enrols the account with its remote
// mailbox, so that nothing is deleted there before this account has collected it too.
func (p *Planner) follow(ctx context.Context, c directory.Change) error {
	if c.UID == "" && c.Account == nil {
		return nil
	}
	uid := c.UID
	if c.Account == nil {
		if err := p.due.Remove(ctx, uid); err != nil {
			return err
		}
	} else {
		uid = c.Account.UID
		if err := p.put(ctx, *c.Account, time.Now()); err != nil {
			return err
		}
	}
	if err := p.queue.TellChanged(uid); err != nil { // whoever watches it hears of it later, from the due index
		p.log.Debug("a change of an account is not told", zap.String("uid", uid), zap.Error(err))
	}
	return nil
}

func (p *Planner) put(ctx context.Context, a account.Account, now time.Time) error {
	slot, err := ledger.SlotOfAccount(a)
	if err != nil { // cannot be stored; a record of another version might be
		p.log.Warn("account is passed over", zap.String("account", a.Ref()), zap.Error(err))
		return nil
	}
	if a.Active {
		err = p.ledger.Enroll(ctx, slot, a.UID)
	} else {
		err = p.ledger.Withdraw(ctx, slot, a.UID)
	}
	if err != nil {
		return err
	}
	e := due.Entry{
		UID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Interval: a.Interval, Schedule: a.Schedule, Active: a.Active,
	}
	next := p.plan.next(e, now)
	if a.Push { // it is watched once it has run
		if soon := schedule.Next(a.UID, 6*p.cfg.Lease, now); next.IsZero() || soon.Before(next) {
			next = soon
		}
	}
	return p.due.Put(ctx, e, next)
}

// settings takes a new global schedule, and domain that of a domain: accounts that follow it are planned anew, at the
// latest at the turn that stands.
func (p *Planner) settings(ctx context.Context, s directory.Settings) {
	if p.plan.setGlobal(s) {
		p.log.Info("global schedule", zap.Duration("interval", s.Interval), zap.Strings("schedule", s.Schedule.Entries))
		p.bring(ctx, func(due.Entry) bool { return true })
	}
}

func (p *Planner) domain(ctx context.Context, d directory.Domain) {
	if p.plan.setDomain(d) {
		p.log.Info("schedule of a domain", zap.String("domain", d.Name), zap.Strings("schedule", d.Schedule.Entries))
		p.bring(ctx, func(e due.Entry) bool { return e.Domain == d.Name })
	}
}

func (p *Planner) bring(ctx context.Context, whose func(due.Entry) bool) {
	now := time.Now()
	err := p.due.Bring(ctx, func(e due.Entry) time.Time {
		if !whose(e) {
			return time.Time{}
		}
		return p.plan.next(e, now)
	})
	if err != nil {
		p.log.Warn("due times are brought forward at their next turn only", zap.Error(err))
	}
}

func (p *Planner) emitLoop(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Tick)
	defer tick.Stop()
	shards := make([]int, due.Shards)
	for i := range shards {
		shards[i] = i
	}
	for turn := 0; ; turn++ {
		if err := p.complete(ctx); err != nil {
			p.log.Warn("due index", zap.Error(err))
		} else if err := p.emit(ctx, shards, time.Now); err != nil {
			p.log.Warn("emit", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.draining:
			return nil
		case <-tick.C:
		}
	}
}

// complete fills the due index from the directory when Redis has lost it.
func (p *Planner) complete(ctx context.Context) error {
	ok, err := p.due.Complete(ctx)
	if ok || err != nil {
		return err
	}
	start, n := time.Now(), 0
	for a, err := range p.dir.Accounts(ctx, "") {
		if err != nil {
			return err
		}
		if err := p.put(ctx, a, start); err != nil {
			return err
		}
		n++
	}
	p.log.Info("due index filled from the directory", zap.Int("accounts", n), zap.Duration("took", time.Since(start)))
	return p.due.SetComplete(ctx, start)
}

// hours puts those off that a failure made due at a time that their schedule does not have, and returns the others.
func (p *Planner) hours(ctx context.Context, claims []due.Claimed, now time.Time) ([]due.Claimed, error) {
	var in, out []due.Claimed
	for _, c := range claims {
		if c.Due.Equal(c.NotBefore) && p.plan.after(c.Entry, c.Due.Add(-time.Millisecond)).After(now) {
			out = append(out, c)
		} else {
			in = append(in, c)
		}
	}
	if len(out) == 0 {
		return in, nil
	}
	return in, p.due.Commit(ctx, out, func(c due.Claimed) time.Time { return p.plan.after(c.Entry, now) })
}

// emit claims what is due, publishes its jobs and commits the next due times, in this order.
func (p *Planner) emit(ctx context.Context, shards []int, now func() time.Time) error {
	most := max(1, min(p.cfg.Batch, int(float64(p.cfg.Rate)*p.cfg.Tick.Seconds())/len(shards)))
	claims, err := p.due.Claim(ctx, shards, most, p.cfg.Lease)
	if err != nil || len(claims) == 0 {
		return err
	}
	if claims, err = p.hours(ctx, claims, now()); err != nil || len(claims) == 0 {
		return err
	}
	jobs := make([]queue.Job, len(claims))
	for i, c := range claims {
		jobs[i] = queue.Job{
			ID: rand.Text(), AccountUID: c.UID, Domain: c.Domain, Name: c.Name, Revision: c.Revision,
			Trigger: queue.Scheduled, DueAt: c.Due,
		}
	}
	var confirmed []due.Claimed
	var failed error
	for i, err := range p.queue.PublishAll(ctx, jobs) {
		switch {
		case err == nil:
			p.emitted.WithLabelValues("emitted").Inc()
			p.lag.Observe(now().Sub(claims[i].Due).Seconds())
		case errors.Is(err, queue.ErrCoalesced):
			p.emitted.WithLabelValues("coalesced").Inc()
		default:
			p.emitted.WithLabelValues("failed").Inc()
			failed = err
			continue // stays claimed until the lease ends, then comes again
		}
		confirmed = append(confirmed, claims[i])
	}
	at := now()
	err = p.due.Commit(ctx, confirmed, func(c due.Claimed) time.Time {
		return p.plan.after(c.Entry, at)
	})
	return errors.Join(failed, err)
}
