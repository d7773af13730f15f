// Package worker runs accounts: it claims jobs, holds the lock of the remote mailbox, fetches what is new
// into transit, and deletes at the remote server what its destination has accepted. The order of a run
// is in run.go, as a numbered list.
package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/mailferry/mailferry/pkg/vault"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Config tunes a worker. Zero fields take their default.
type Config struct {
	// Name of the worker in locks, reports and logs.
	Name string
	// Slots is how many accounts run at once; default 64. Reserved of them take manual jobs only.
	Slots, Reserved int
	// Batch is the most messages that are marked together and fetched in one window; default 512.
	Batch int
	// InFlight bounds the messages and octets of one account that are fetched and not yet accepted, across
	// runs; default 4096 and 64 MiB. An empty window admits one message of any size.
	InFlight      int
	InFlightBytes int64
	// Patience is how long a run waits for receipts without one coming; default 60 s.
	Patience time.Duration
	// Recheck is how often a run that waits for receipts reads the index itself; default 5 s.
	Recheck time.Duration
	// BusyRetry is the first delay of a job whose remote mailbox is held for another account; default 1 s.
	BusyRetry time.Duration
	// RunLimit bounds a whole run; default 2 h.
	RunLimit time.Duration
	// PushSessions bounds the sessions that wait for messages, PushPerHost those at one host; default 500 and 200,
	// less than 0: none.
	PushSessions, PushPerHost int
	// PushGap is how far ahead the due time of an account is whose mailbox is watched, and so how long after the death
	// of its worker another takes over; default 3 min.
	PushGap time.Duration
	// PushHold is how long a mailbox is watched without a run; default 30 min.
	PushHold time.Duration
	// Notices say when somebody is told that an account fails.
	Notices notice.Rules
	// Session bounds a remote session.
	Session remote.Limits
	// Egress opens connections to remote servers, as far as the settings and the account's domain let it.
	Egress remote.Guard
	// TLS is the client configuration towards remote servers.
	TLS *tls.Config
}

func (c Config) withDefaults() Config {
	if c.Slots == 0 {
		c.Slots = 64
	}
	if c.Reserved == 0 && c.Slots > 1 {
		c.Reserved = max(1, c.Slots/10)
	}
	if c.Batch == 0 {
		c.Batch = 512
	}
	if c.InFlight == 0 {
		c.InFlight = 4096
	}
	if c.InFlightBytes == 0 {
		c.InFlightBytes = 64 << 20
	}
	if c.PushSessions == 0 {
		c.PushSessions = 500
	}
	if c.PushPerHost == 0 {
		c.PushPerHost = 200
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Patience, time.Minute)
	def(&c.Recheck, 5*time.Second)
	def(&c.BusyRetry, time.Second)
	def(&c.RunLimit, 2*time.Hour)
	def(&c.PushGap, 3*time.Minute)
	def(&c.PushHold, 30*time.Minute)
	return c
}

// Deps are the rooms a worker works in.
type Deps struct {
	Directory *directory.Directory
	Due       *due.Index
	Queue     *queue.Queue
	Transit   *transit.Transit
	Ledger    *ledger.Ledger
	Budget    *budget.Budget
	Keyer     *ledger.Keyer
	Vault     *vault.Vault
	OAuth     *oauth.Broker
	Notices   *notice.Notices
	Log       *zap.Logger
	Metrics   prometheus.Registerer
}

// Worker is the worker role.
type Worker struct {
	Deps
	cfg      Config
	metrics  *metrics
	claims   *queue.Claims
	running  sync.WaitGroup
	watchers *watchers
	// settings are those of the fleet as last seen.
	settings atomic.Pointer[directory.Settings]
	draining chan struct{}
	drain    sync.Once
	policies *policies
	shares   *budget.Shares
	reserved *semaphore.Weighted
}

// New returns a worker that has claimed nothing yet.
func New(ctx context.Context, d Deps, cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	s, err := d.Directory.Settings(ctx)
	if err != nil {
		return nil, err
	}
	claims, err := d.Queue.Claims(ctx, queue.ClaimConfig{Slots: cfg.Slots, Reserved: cfg.Reserved})
	if err != nil {
		return nil, err
	}
	w := &Worker{Deps: d, cfg: cfg, metrics: newMetrics(d.Metrics), claims: claims, draining: make(chan struct{}), policies: newPolicies(d.Directory),
		shares: budget.NewShares(cfg.Slots - cfg.Reserved), reserved: semaphore.NewWeighted(int64(cfg.Reserved)), watchers: newWatchers(cfg.PushSessions, cfg.PushPerHost)}
	w.settings.Store(&s)
	return w, nil
}

// Run claims and runs jobs until ctx ends, and returns when every run has returned.
func (w *Worker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return w.Directory.WatchSettings(ctx, func(s directory.Settings) { w.settings.Store(&s) })
	})
	g.Go(func() error { return w.claimLoop(ctx) })
	g.Go(func() error {
		w.running.Add(1)
		defer w.running.Done()
		return w.Queue.ServeTests(ctx, w.draining, testsAtOnce, w.test)
	})
	err := g.Wait()
	w.running.Wait()
	w.watchers.drain()
	w.watchers.running.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (w *Worker) claimLoop(ctx context.Context) error {
	for {
		c, err := w.claims.Next(ctx)
		if errors.Is(err, queue.ErrStopped) {
			return nil
		}
		if err != nil {
			return err
		}
		w.running.Go(func() { w.handle(ctx, c) })
	}
}

// Drain stops claiming, gives up what is watched and waits for the runs that are going on, as long as ctx lasts.
func (w *Worker) Drain(ctx context.Context) error {
	w.claims.Stop()
	w.drain.Do(func() { close(w.draining) })
	w.watchers.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.running.Wait()
		w.watchers.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
