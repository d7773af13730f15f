package planner

import (
	"time"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
)

// Turns decides what planners decide, on the clock of its caller and with neither index nor queue: for a simulation.
type Turns struct {
	plan *plan
	cfg  Config
	may  [due.Shards]allowance
}

// NewTurns returns the turns of accounts under the settings, from a time on.
func NewTurns(s directory.Settings, cfg Config, from time.Time) *Turns {
	t := &Turns{plan: newPlan(s), cfg: cfg.withDefaults()}
	for i := range t.may {
		t.may[i] = allowance{rate: float64(t.cfg.Rate) / due.Shards, last: from}
	}
	return t
}

// Tick is how often a planner looks what is due.
func (t *Turns) Tick() time.Duration { return t.cfg.Tick }

// Most is how many accounts of a shard are claimed at a tick.
func (t *Turns) Most(shard int, now time.Time) int { return min(t.may[shard].take(now), t.cfg.Batch) }

// First returns when an account that has not been run yet is due after a time, the zero time for never.
func (t *Turns) First(e due.Entry, after time.Time) time.Time { return t.plan.next(e, after) }

// Claim says whether a job is emitted for an account that is claimed, and when it is due next.
func (t *Turns) Claim(c due.Claimed, now time.Time) (emit bool, next time.Time) {
	if t.plan.off(c, now) {
		return false, t.plan.after(c.Entry, now)
	}
	return true, t.plan.behind(c, now)
}
