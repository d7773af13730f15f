package due

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

const plannersKey = "ferry:due:planners"

// Joined is the place of a planner among all that there are, from 0, and what time it is by the clock of Redis.
type Joined struct {
	Place, Of int
	Now       time.Time
}

// Join says for as long as hold that a planner is there, and answers its place.
func (x *Index) Join(ctx context.Context, planner string, hold time.Duration) (Joined, error) {
	out, err := x.join.Run(ctx, x.rdb, []string{plannersKey}, planner, hold.Milliseconds()).Int64Slice()
	if err == nil && len(out) != 3 {
		err = errors.New("the answer is cut short")
	}
	if err != nil {
		return Joined{}, fault.Wrap(fault.Internal, "due join", err)
	}
	return Joined{int(out[0]), int(out[1]), time.UnixMilli(out[2])}, nil
}

// Waiting returns those of shards in which something is due at a time, and those that do not answer. One round trip, and
// less work for Redis than [Index.Claim].
func (x *Index) Waiting(ctx context.Context, shards []int, at time.Time) []int {
	p, n, upTo := x.rdb.Pipeline(), make([]*redis.IntCmd, len(shards)), strconv.FormatInt(at.UnixMilli(), 10)
	for i, s := range shards {
		n[i] = p.ZCount(ctx, keys(s)[0], "-inf", upTo)
	}
	_, _ = p.Exec(ctx) // each says how it went
	var waiting []int
	for i, s := range shards {
		if n[i].Err() != nil || n[i].Val() > 0 {
			waiting = append(waiting, s)
		}
	}
	return waiting
}

// Leave says that a planner is not there any more.
func (x *Index) Leave(ctx context.Context, planner string) error {
	err := x.join.Run(ctx, x.rdb, []string{plannersKey}, planner, 0).Err()
	return errors.Join(fault.Wrap(fault.Internal, "due leave", err), x.LetGo(ctx, planner, Share(0, 1)))
}

// LetGo gives shards that the planner holds to whoever asks next.
func (x *Index) LetGo(ctx context.Context, planner string, shards []int) error {
	args := make(map[int][]any, len(shards))
	for _, s := range shards {
		args[s] = []any{planner}
	}
	var errs []error
	for _, c := range x.onEach(ctx, x.letGo, args) {
		errs = append(errs, c.Err())
	}
	return fault.Wrap(fault.Internal, "due let go", errors.Join(errs...))
}

// Share returns the shards of the planner at a place among all: those of different places are different, and together
// they are all there are.
func Share(place, of int) []int {
	var shards []int
	for s := place; s < Shards; s += max(of, 1) {
		shards = append(shards, s)
	}
	return shards
}
