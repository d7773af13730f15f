// Package budget bounds what one tenant may ask of the fleet, and what the fleet asks of a remote host or provider, over all
// its processes. The figures lie in Redis; those of a day are of no worth when it is over, the others after an hour. What is lost
// with them is only that something is counted from nought again.
package budget

import (
	"context"
	"strings"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/redis/go-redis/v9"
)

// Budget holds the budgets of tenants and of remote hosts.
type Budget struct {
	rdb     redis.UniversalClient
	limiter *redis_rate.Limiter
}

// New returns the budgets in rdb.
func New(rdb redis.UniversalClient) *Budget { return &Budget{rdb, redis_rate.NewLimiter(rdb)} }

// Triggers takes n manual triggers, or as many of them as there are, out of those that a domain may have in a minute.
// It returns how many it got, and if that is fewer, after which time there is one more. What is used up comes back
// evenly over the minute (GCRA).
func (b *Budget) Triggers(ctx context.Context, domain string, perMinute, n int) (got int, wait time.Duration, err error) {
	r, err := b.limiter.AllowAtMost(ctx, "mf:triggers:{"+strings.ToLower(domain)+"}", redis_rate.PerMinute(perMinute), n)
	if err != nil {
		return 0, 0, fault.Wrap(fault.Unavailable, "budget of triggers", err)
	}
	return r.Allowed, max(r.RetryAfter, 0), nil
}
