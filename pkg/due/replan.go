package due

import (
	"context"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Replan takes the due times of active accounts from one plan to another. plan says of an entry when it is due by the old
// one and by the new one, the zero time for never. What stands by the old plan follows the new one; what is due at another time, as it
// is late, stands in line at its host or is retried, is brought forward only, and follows with its next turn.
func (x *Index) Replan(ctx context.Context, plan func(Entry) (old, next time.Time)) error {
	const op = "due replan"
	for s := range Shards {
		texts, err := x.rdb.HGetAll(ctx, keys(s)[3]).Result()
		if err != nil {
			return fault.Wrap(fault.Internal, op, err)
		}
		boosts, err := x.rdb.ZRangeWithScores(ctx, keys(s)[6], 0, -1).Result()
		if err != nil {
			return fault.Wrap(fault.Internal, op, err)
		}
		until := make(map[string]time.Time, len(boosts))
		for _, z := range boosts {
			uid, _ := z.Member.(string)
			until[uid] = fromMillis(int64(z.Score))
		}
		b := batches{x: x, script: x.replan}
		for e, err := range x.Entries(ctx, s) {
			if err != nil {
				return err
			}
			if !e.Active {
				continue
			}
			e.Schedule, e.BoostedUntil = textOf(texts[e.UID]), until[e.UID]
			if old, next := plan(e); !old.Equal(next) {
				b.add(ctx, s, e.UID, e.Revision, millis(old), millis(next))
			}
		}
		if err := b.flush(ctx); err != nil {
			return fault.Wrap(fault.Internal, op, err)
		}
	}
	return nil
}
