// Package delivery hands fetched messages over to their destinations and commits the keys of what was
// accepted to the UID index. It is the only process that says "collected". The order of a hand-over is
// in handover.go, as a numbered list.
package delivery

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Config tunes a delivery. Zero fields take their default.
type Config struct {
	// Name of this process, for logs.
	Name string
	// Handlers is how many messages are handed over at once, their inline bodies 64 MiB at most; default 256: most wait for
	// Redis or for a destination.
	Handlers int
	// Lease is how long a hand-over is protected from others between two renewals; it must be that of the
	// ledger. Default 30 s.
	Lease time.Duration
	// RetryMin and RetryMax bound the back-off of a destination that refuses for now; default 2 s, 2 min.
	RetryMin, RetryMax time.Duration
	// DeferAfter is how long TRANSIT holds a message that its destination refuses for now, before the remote
	// server gets it back; DeferFor is for how long. Default 1 h and 1 h.
	DeferAfter, DeferFor time.Duration
	// GiveUpAfter is how long after its first attempt a message is tried that its destination refuses for now; then its
	// recipients count as refused for good. Default 5 days.
	GiveUpAfter time.Duration
	// MaxConns is how many connections are kept to one LMTP endpoint; default 16.
	MaxConns int
	// TLS towards destinations; default is the system's certificate authorities.
	TLS *tls.Config
}

func (c Config) withDefaults() Config {
	if c.Handlers == 0 {
		c.Handlers = 256
	}
	if c.MaxConns == 0 {
		c.MaxConns = 16
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Lease, 30*time.Second)
	def(&c.RetryMin, 2*time.Second)
	def(&c.RetryMax, 2*time.Minute)
	def(&c.DeferAfter, time.Hour)
	def(&c.DeferFor, time.Hour)
	def(&c.GiveUpAfter, 5*24*time.Hour)
	return c
}

// Deps are the rooms a delivery works in.
type Deps struct {
	Directory *directory.Directory
	Transit   *transit.Transit
	Ledger    *ledger.Ledger
	Vault     Vault
	Notices   *notice.Notices
	// DomainHooks post webhooks of domains, within bounds that they cannot choose, and FleetHooks that of the settings.
	DomainHooks, FleetHooks *notice.Poster

	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Vault is what delivery needs of the vault.
type Vault interface {
	Unseal(sealed []byte, context string) (string, error)
}

// Delivery is the delivery role.
type Delivery struct {
	Deps
	cfg      Config
	metrics  *metrics
	intake   *transit.Intake
	accounts *accounts
	dests    *destinations
	waiting  waiting
	running  sync.WaitGroup
	receipts *receipts
	backlog  *backlog
	inHand   *semaphore.Weighted
	holder   string
}

// New returns a delivery that has pulled nothing yet.
func New(ctx context.Context, d Deps, cfg Config) (*Delivery, error) {
	cfg = cfg.withDefaults()
	intake, err := d.Transit.Lanes(ctx, transit.LaneConfig{Prefetch: cfg.Handlers})
	if err != nil {
		return nil, err
	}
	dests := newDestinations(cfg, d.Vault)
	return &Delivery{
		Deps: d, cfg: cfg, metrics: newMetrics(d.Metrics, dests.down), intake: intake, accounts: newAccounts(d.Directory),
		dests: dests, waiting: waiting{m: map[string]wait{}}, receipts: newReceipts(d.Transit), backlog: newBacklog(d.Metrics), inHand: semaphore.NewWeighted(maxInHand), holder: rand.Text(),
	}, nil
}

// Run hands messages over until ctx ends, and returns when every hand-over has returned.
func (d *Delivery) Run(ctx context.Context) error {
	defer d.dests.close()
	defer d.receipts.flush()
	sweeping, stop := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		d.sweepLoop(sweeping)
	}()
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		d.countLoop(sweeping)
	}()
	told := make(chan struct{})
	go func() {
		defer close(told)
		d.tellAll(sweeping)
	}()
	defer func() {
		stop()
		<-swept
		<-told
		<-counted
	}()
	handlers, pulling := errgroup.WithContext(ctx) // an error stops the pulling, no hand-over
	for range d.cfg.Handlers {
		d.running.Add(1)
		handlers.Go(func() error {
			defer d.running.Done()
			return d.handleAll(ctx, pulling)
		})
	}
	return handlers.Wait()
}

// handleAll hands over one message after the other.
func (d *Delivery) handleAll(ctx, pulling context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // its own: hundreds that wait for the end of one contend for its lock
	defer cancel()
	pulling, stop := context.WithCancel(pulling)
	defer stop()
	for {
		p, err := d.intake.Next(pulling)
		if errors.Is(err, transit.ErrStopped) || pulling.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.handleBounded(ctx, p); err != nil {
			return nil //nolint:nilerr // told to stop: the message was given back
		}
	}
}

// maxInHand bounds the inline bodies of the messages in hand, in octets. Larger ones are streamed.
const maxInHand = 64 << 20

// handleBounded is handle for when there is memory for the message. An error says that ctx ended before.
func (d *Delivery) handleBounded(ctx context.Context, p *transit.Parcel) error {
	octets := int64(len(p.GetInline()))
	if !d.inHand.TryAcquire(octets) {
		p.Keep(context.WithoutCancel(ctx))
		if err := d.inHand.Acquire(ctx, octets); err != nil {
			_ = p.Nak(context.WithoutCancel(ctx), 0) // else it comes again after AckWait
			return err
		}
	}
	defer d.inHand.Release(octets)
	d.handle(ctx, p)
	return nil
}

const (
	sweepEvery = 15 * time.Minute
	sweepAge   = time.Hour
)

// sweepLoop removes bodies that nothing in TRANSIT or DEAD refers to: what a worker stored and died before it
// published. Every delivery does it; it is the same whoever does.
func (d *Delivery) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := d.Transit.SweepBodies(ctx, sweepAge)
		if err != nil {
			d.Log.Warn("sweep of bodies", zap.Error(err))
		} else if n > 0 {
			d.Log.Info("bodies without a message are removed", zap.Int("bodies", n))
		}
	}
}

// Drain stops pulling and waits for the hand-overs that are going on, as long as ctx lasts.
func (d *Delivery) Drain(ctx context.Context) error {
	d.intake.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
