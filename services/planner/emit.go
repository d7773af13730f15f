package planner

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
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
	held := map[int]time.Time{}
	for {
		if err := p.emit(ctx, held, min(may.take(time.Now()), p.cfg.Batch)); err != nil && ctx.Err() == nil {
			p.log.Warn("emit", zap.Error(err))
		}
		now := slices.Sorted(maps.Keys(held))
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

// emit claims what is due, publishes its jobs and commits the next due times, in this order. held are the shards that this
// planner holds, and when each was asked last; it brings them up to date.
func (p *Planner) emit(ctx context.Context, held map[int]time.Time, most int) error {
	// The shards of a planner that died are free, and it is not counted any more, before the lease ends.
	start, hold := time.Now(), max(p.cfg.Lease-2*p.cfg.Tick, p.cfg.Lease/2)
	turn, err := p.due.Join(ctx, p.cfg.Name, hold)
	if err != nil {
		return err
	}
	mine := due.Share(turn.Place, turn.Of)
	if over := slices.DeleteFunc(slices.Collect(maps.Keys(held)), func(s int) bool { return slices.Contains(mine, s) }); len(over) > 0 {
		if err := p.due.LetGo(ctx, p.cfg.Name, over); err != nil {
			return err
		}
		remove(held, over)
	}
	asked := p.asked(ctx, held, mine, start, turn.Now)
	claims, got, err := p.due.Claim(ctx, due.Turn{Planner: p.cfg.Name, Shards: asked, Limit: most, Lease: p.cfg.Lease, Hold: hold})
	if err != nil {
		p.log.Warn("some shards are not asked", zap.Error(err))
	}
	remove(held, asked)
	for _, s := range got {
		held[s] = start
	}
	if len(claims) == 0 {
		return nil
	}
	if claims, err = p.hours(ctx, claims, time.Now()); err != nil || len(claims) == 0 {
		return err
	}
	// Who is stopped and goes on when the claims are another's emits nothing.
	trusted, cancel := context.WithDeadline(ctx, start.Add(p.cfg.Lease-p.cfg.Lease/6))
	defer cancel()
	return p.publish(trusted, ctx, claims)
}

// asked returns the shards that are asked this time: those in which something is due, so that one in which there is nothing
// costs next to nothing, and those that this planner does not hold yet, or not for long any more. now is the time of Redis;
// the clocks of a cluster's servers may differ by a tick.
func (p *Planner) asked(ctx context.Context, held map[int]time.Time, mine []int, start, now time.Time) []int {
	var ask, rest []int
	for _, s := range mine {
		if at, ok := held[s]; ok && start.Sub(at) < p.cfg.Lease/6 {
			rest = append(rest, s)
		} else {
			ask = append(ask, s)
		}
	}
	return append(ask, p.due.Waiting(ctx, rest, now.Add(p.cfg.Tick))...)
}

func remove(held map[int]time.Time, shards []int) {
	for _, s := range shards {
		delete(held, s)
	}
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
		if p.plan.off(c, now) {
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
