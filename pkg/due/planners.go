package due

import (
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

const plannersKey = "ferry:due:planners"

// Join says for as long as hold that a planner is there, and answers its place among all, from 0, and how many they are.
func (x *Index) Join(ctx context.Context, planner string, hold time.Duration) (place, of int, err error) {
	out, err := x.join.Run(ctx, x.rdb, []string{plannersKey}, planner, hold.Milliseconds()).Int64Slice()
	if err == nil && len(out) != 2 {
		err = errors.New("the answer is cut short")
	}
	if err != nil {
		return 0, 0, fault.Wrap(fault.Internal, "due join", err)
	}
	return int(out[0]), int(out[1]), nil
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
