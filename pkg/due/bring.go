package due

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Bring brings forward the due times of active accounts that follow the schedule of their domain, or the global one, to
// what next says, where that is earlier than what stands; the zero time passes an account over. It is called when such
// a schedule was changed.
func (x *Index) Bring(ctx context.Context, next func(Entry) time.Time) error {
	for s := range Shards {
		k := keys(s)
		own, err := x.own(ctx, k[3])
		if err != nil {
			return fault.Wrap(fault.Internal, "due bring", err)
		}
		var members []redis.Z
		for e, err := range x.Entries(ctx, s) {
			if err != nil {
				return err
			}
			if !e.Active || e.Interval != 0 || own[e.UID] {
				continue
			}
			at := next(e)
			if at.IsZero() {
				continue
			}
			if at.Before(e.NotBefore) {
				at = e.NotBefore
			}
			members = append(members, redis.Z{Score: float64(at.UnixMilli()), Member: e.UID})
		}
		for len(members) > 0 {
			n := min(500, len(members))
			if err := x.rdb.ZAddArgs(ctx, k[0], redis.ZAddArgs{XX: true, LT: true, Members: members[:n]}).Err(); err != nil {
				return fault.Wrap(fault.Internal, "due bring", err)
			}
			members = members[n:]
		}
	}
	return nil
}

// own returns which accounts of a shard have a schedule of their own.
func (x *Index) own(ctx context.Context, key string) (map[string]bool, error) {
	own := map[string]bool{}
	it := x.rdb.HScan(ctx, key, 0, "", 500).Iterator()
	for it.Next(ctx) {
		own[it.Val()] = true
		it.Next(ctx) // its schedule
	}
	return own, it.Err()
}
