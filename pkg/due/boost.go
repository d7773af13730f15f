package due

import (
	"context"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Boost keeps in mind that the owner of an account waits for a message, and makes its next run due at once: not before its failures
// allow, and no sooner than every after its last run. It ends by itself after d; one that is repeated lasts the longer
// of both. It answers until when it lasts, and the due time. It returns [ErrNotFound] for an account that has no entry or is
// not active.
func (x *Index) Boost(ctx context.Context, uid string, d, every time.Duration) (until, next time.Time, err error) {
	const op = "due boost"
	out, err := x.on(ctx, x.boost, ShardOf(uid), uid, d.Milliseconds(), every.Milliseconds()).StringSlice()
	switch {
	case err != nil:
		return until, next, fault.Wrap(fault.Internal, op, err)
	case len(out) != 2:
		return until, next, ErrNotFound
	}
	for i, t := range []*time.Time{&until, &next} {
		ms, err := strconv.ParseFloat(out[i], 64)
		if err != nil {
			return until, next, fault.Wrap(fault.Internal, op, err)
		}
		*t = time.UnixMilli(int64(ms))
	}
	return until, next, nil
}
