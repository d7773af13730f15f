package planner

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/queue"
)

// emitLoop emits what is due in the shards of this planner, turn by turn.
func (p *Planner) emitLoop(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Tick)
	defer tick.Stop()
	defer p.leave(ctx)
	may := allowance{rate: float64(p.cfg.Rate) / due.Shards, last: time.Now()}
	var held []int
	for {
		now, err := p.emit(ctx, held, min(may.take(time.Now()), p.cfg.Batch))
		if err != nil && ctx.Err() == nil {
			p.log.Warn("emit", zap.Error(err))
		}
		held = now
		p.shards.Store(&now)
		p.held.Set(float64(len(held)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.draining:
			return nil
		case <-tick.C:
		}
	}
}

// leave gives the shards to the others at once.
func (p *Planner) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Lease)
	defer cancel()
	if err := p.due.Leave(ctx, p.cfg.Name); err != nil {
		p.log.Warn("the shards are free when the lease ends", zap.Error(err))
	}
	p.held.Set(0)
	p.shards.Store(&[]int{})
}

// allowance is how many accounts of a shard may be emitted: so many a second, and what was not used for a second at most.
// All planners together keep to it, since each shard has one.
type allowance struct {
	rate, rest float64
	last       time.Time
}

func (a *allowance) take(now time.Time) int {
	a.rest += a.rate * min(now.Sub(a.last), time.Second).Seconds()
	a.last = now
	n := int(a.rest)
	a.rest -= float64(n)
	return n
}

// emit claims what is due, publishes its jobs and commits the next due times, in this order. It answers which shards this
// planner holds; held are those of the turn before.
func (p *Planner) emit(ctx context.Context, held []int, most int) ([]int, error) {
	// The shards of a planner that died are free, and it is not counted any more, before the lease ends.
	start, hold := time.Now(), max(p.cfg.Lease-2*p.cfg.Tick, p.cfg.Lease/2)
	place, of, err := p.due.Join(ctx, p.cfg.Name, hold)
	if err != nil {
		return held, err
	}
	mine := due.Share(place, of)
	if over := slices.DeleteFunc(slices.Clone(held), func(s int) bool { return slices.Contains(mine, s) }); len(over) > 0 {
		if err := p.due.LetGo(ctx, p.cfg.Name, over); err != nil {
			return held, err
		}
	}
	claims, held, err := p.due.Claim(ctx, due.Turn{Planner: p.cfg.Name, Shards: mine, Limit: most, Lease: p.cfg.Lease, Hold: hold})
	if err != nil {
		p.log.Warn("some shards are not asked", zap.Error(err))
	}
	if len(claims) == 0 {
		return held, nil
	}
	if claims, err = p.hours(ctx, claims, time.Now()); err != nil || len(claims) == 0 {
		return held, err
	}
	// Who is stopped and goes on when the claims are another's emits nothing.
	trusted, cancel := context.WithDeadline(ctx, start.Add(p.cfg.Lease-p.cfg.Lease/6))
	defer cancel()
	return held, p.publish(trusted, ctx, claims)
}

// publish publishes the jobs of claims and commits these. Those whose jobs the queue did not take are due as they were.
func (p *Planner) publish(trusted, ctx context.Context, claims []due.Claimed) error {
	jobs := make([]queue.Job, len(claims))
	for i, c := range claims {
		jobs[i] = queue.Job{
			ID: rand.Text(), AccountUID: c.UID, Domain: c.Domain, Name: c.Name, Revision: c.Revision,
			Trigger: queue.Scheduled, DueAt: c.Due,
		}
	}
	refused := map[string]bool{}
	var failed error
	for i, err := range p.queue.PublishAll(trusted, jobs) {
		switch {
		case err == nil:
			p.emitted.WithLabelValues("emitted").Inc()
			p.lag.Observe(time.Since(claims[i].Due).Seconds())
		case errors.Is(err, queue.ErrCoalesced):
			p.emitted.WithLabelValues("coalesced").Inc()
		default:
			p.emitted.WithLabelValues("failed").Inc()
			refused[claims[i].UID], failed = true, err
		}
	}
	at := time.Now()
	err := p.due.Commit(ctx, claims, func(c due.Claimed) time.Time {
		if refused[c.UID] {
			return c.Due
		}
		return p.plan.behind(c, at)
	})
	return errors.Join(failed, err)
}

// hours puts those off that a failure made due at a time that their schedule does not have, and returns the others.
func (p *Planner) hours(ctx context.Context, claims []due.Claimed, now time.Time) ([]due.Claimed, error) {
	var in, out []due.Claimed
	for _, c := range claims {
		if c.Due.Equal(c.NotBefore) && !p.plan.anyTime(c.Entry) && p.plan.after(c.Entry, c.Due.Add(-time.Millisecond)).After(now) {
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
