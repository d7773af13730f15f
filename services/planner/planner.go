// Package planner decides when accounts are run. It follows the directory's change feed into the due
// index, claims what is due, emits scheduled jobs, and commits the next due times once the queue has
// confirmed the jobs. A planner holds no state: any number of replicas share the shards of the index without a
// leader, and what one that died held is another's when its lease ends. Nothing is emitted on a claim that is as old as
// its lease, and the queue refuses a second job of an account, so that claiming twice does no harm. One replica at a
// time compares the index with the directory and repairs what differs.
package planner

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Config tunes a planner. Zero fields take their default.
type Config struct {
	// Name of this planner, unlike that of any other.
	Name string
	// Tick is how often the index is asked; default 250 ms.
	Tick time.Duration
	// Lease is how long claimed accounts and the shards of a planner that died are kept from other planners; default
	// 30 s. It is longer than four ticks.
	Lease time.Duration
	// Batch is the most accounts claimed of one shard at once; default 200.
	Batch int
	// Rate caps the jobs that all planners together emit in a second, so that a clock that jumps or a long outage makes
	// no storm; default 5000.
	Rate int
	// CompareEvery is how often the index is compared with the directory, and CompareRate how many accounts of it in a
	// second; defaults 1 h and 10,000.
	CompareEvery time.Duration
	CompareRate  int
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults() Config {
	if c.Tick == 0 {
		c.Tick = 250 * time.Millisecond
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
	if c.CompareEvery == 0 {
		c.CompareEvery = time.Hour
	}
	if c.CompareRate == 0 {
		c.CompareRate = 10_000
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
	shards   atomic.Pointer[[]int] // that this planner holds
	draining chan struct{}
	emitted  *prometheus.CounterVec
	lag      prometheus.Histogram
	held     prometheus.Gauge
	accounts *prometheus.GaugeVec
	drifted  *prometheus.CounterVec
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
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailferry_planner_shards", Help: "Shards of the due index that this planner holds; 64 over all planners.",
		}),
		accounts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mailferry_accounts", Help: "Accounts in the shards of this planner, by state: ok, failing, throttled, suspended, consent-needed, over-quota; all of them over all planners.",
		}, []string{"state"}),
		drifted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_planner_drift_total", Help: "Accounts of which the due index differed from the directory and was repaired, by how: lacking, left over.",
		}, []string{"how"}),
	}
	reg.MustRegister(p.emitted, p.lag, p.held, p.accounts, p.drifted)
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
	g.Go(func() error { return p.compareLoop(ctx) })
	g.Go(func() error { return p.countLoop(ctx) })
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
