package planner

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
)

// compareLoop fills the due index when Redis has lost it, and compares it with the directory every hour and whenever Redis
// is another. What is known is emitted meanwhile.
func (p *Planner) compareLoop(ctx context.Context) error {
	tick := time.NewTicker(8 * p.cfg.Tick)
	defer tick.Stop()
	for {
		if err := p.compareIfWanted(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("the due index is not compared with the directory", zap.Error(err))
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

func (p *Planner) compareIfWanted(ctx context.Context) error {
	last, err := p.due.Compared(ctx)
	if err != nil {
		return err
	}
	primary, err := p.due.Primary(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if !last.At.IsZero() && last.Primary == primary && start.Sub(last.At) < p.cfg.CompareEvery {
		return nil
	}
	if ok, err := p.due.Compare(ctx, p.cfg.Name, p.cfg.Lease); !ok || err != nil {
		return err
	}
	c := comparison{p: p, start: start, fill: last.At.IsZero()}
	if err := c.run(ctx); err != nil {
		return err
	}
	if err := p.due.SetCompared(ctx, due.Compared{At: start, Primary: primary}); err != nil {
		return err
	}
	c.report()
	return nil
}

// comparison is one pass over directory and due index.
type comparison struct {
	p     *Planner
	start time.Time
	// fill says that there is nothing to look at: Redis has lost it.
	fill bool
	// known are hashes of the uids of the directory, unless it is a fill; seen is how many accounts it has.
	known   []uint64
	seen    int
	lacking atomic.Int64
	extra   int
}

const (
	// comparePage is how many accounts are compared at a time, and comparePages how many times that at once: the directory
	// is read while Redis is written.
	comparePage  = 2000
	comparePages = 3
)

func (c *comparison) run(ctx context.Context) error {
	if err := c.pages(ctx); err != nil || c.fill {
		return err
	}
	slices.Sort(c.known)
	for s := range due.Shards {
		if err := c.leftOver(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pages takes all accounts of the directory.
func (c *comparison) pages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(comparePages)
	page := make([]account.Account, 0, comparePage)
	for a, err := range c.p.dir.Scan(ctx) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if page = append(page, a); len(page) < comparePage {
			continue
		}
		if err := c.take(ctx, g, page); err != nil {
			return errors.Join(err, g.Wait())
		}
		page = make([]account.Account, 0, comparePage)
	}
	return errors.Join(c.take(ctx, g, page), g.Wait())
}

// take puts those accounts of a page that the index lacks, when there is room for one more page.
func (c *comparison) take(ctx context.Context, g *errgroup.Group, page []account.Account) error {
	c.seen += len(page)
	if !c.fill {
		for _, a := range page {
			c.known = append(c.known, hashOf(a.UID))
		}
	}
	g.Go(func() error { return c.p.put(ctx, page, time.Now(), c.choose) })
	return c.pace(ctx)
}

// choose chooses those that the index lacks.
func (c *comparison) choose(ctx context.Context, all []due.Planned) ([]due.Planned, error) {
	if c.fill {
		return all, nil
	}
	lacking, err := c.p.due.Lacking(ctx, all)
	c.lacking.Add(int64(len(lacking)))
	c.p.drifted.WithLabelValues("lacking").Add(float64(len(lacking)))
	return lacking, err
}

// leftOver removes the entries of a shard that the directory has no account of.
func (c *comparison) leftOver(ctx context.Context, shard int) error {
	for e, err := range c.p.due.Entries(ctx, shard) {
		if err != nil {
			return err
		}
		if _, ok := slices.BinarySearch(c.known, hashOf(e.UID)); ok {
			continue
		}
		// It may be younger than the list. One that the directory has lost may be restored.
		if _, err := c.p.dir.AccountAt(ctx, e.Domain, e.Name, e.UID, e.Revision); !errors.Is(err, directory.ErrNotFound) {
			if err != nil && ctx.Err() == nil {
				c.p.log.Warn("an account of the due index cannot be read", zap.String("account", e.Domain+"/"+e.Name), zap.Error(err))
			}
			continue
		}
		if err := c.p.due.Remove(ctx, e.UID); err != nil {
			return err
		}
		c.extra++
		c.p.drifted.WithLabelValues("left over").Inc()
	}
	return c.pace(ctx)
}

// pace keeps the work that is this planner's, and the comparison to its rate.
func (c *comparison) pace(ctx context.Context) error {
	if ok, err := c.p.due.Compare(ctx, c.p.cfg.Name, c.p.cfg.Lease); err != nil || !ok {
		return errors.Join(err, context.Canceled)
	}
	if c.fill {
		return ctx.Err()
	}
	ahead := time.Duration(c.seen)*time.Second/time.Duration(c.p.cfg.CompareRate) - time.Since(c.start)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ahead):
		return nil
	}
}

func (c *comparison) report() {
	lacking := int(c.lacking.Load())
	fields := []zap.Field{zap.Int("accounts", c.seen), zap.Duration("took", time.Since(c.start))}
	switch {
	case c.fill:
		c.p.log.Info("due index filled from the directory", fields...)
	case lacking+c.extra > 0:
		c.p.log.Warn("the due index differed from the directory and was repaired", append(fields, zap.Int("lacking", lacking), zap.Int("left_over", c.extra))...)
	default:
		c.p.log.Debug("the due index is as the directory", fields...)
	}
}

func hashOf(uid string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	return h.Sum64()
}
