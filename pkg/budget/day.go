package budget

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/redis/go-redis/v9"
)

//go:embed day.lua
var dayLua string

var day = redis.NewScript(dayLua)

// Day is how many octets were fetched under a name since midnight UTC, by the clock of Redis.
type Day struct {
	Octets int64
	// Ends is the next midnight.
	Ends time.Time
}

// DayLimit bounds the octets that are fetched in a day: for a domain, or from a host or all hosts of a provider.
type DayLimit struct {
	Name   string
	Octets int64
}

// UsedUp says that a limit is reached until its day ends.
type UsedUp struct {
	Limit DayLimit
	Ends  time.Time
}

func (e *UsedUp) Error() string {
	return fmt.Sprintf("%s: all that may be fetched in a day (%d octets) is fetched, it goes on at %s",
		fault.Clean(e.Limit.Name), e.Limit.Octets, e.Ends.Format(time.RFC3339))
}

// Fetched counts octets that were fetched under a name, and returns the day with them; 0 only asks.
func (b *Budget) Fetched(ctx context.Context, name string, octets int64) (Day, error) {
	reply, err := day.Run(ctx, b.rdb, []string{"mf:budget:{" + name + "}:day"}, max(octets, 0)).Int64Slice()
	if err != nil || len(reply) != 2 {
		return Day{}, fault.Wrap(fault.Unavailable, "budget of a day", err)
	}
	return Day{Octets: reply[0], Ends: time.Unix(reply[1], 0).UTC()}, nil
}

// Left is what the limit leaves of a day beside octets that are under way and not counted yet; none is 0 or less.
func (l DayLimit) Left(d Day, underway int64) int64 { return l.Octets - d.Octets - max(underway, 0) }

// Fit is how many of the messages, one after the other, are fetched where so many octets are left: one that does not fit
// is let through while there is something left, or it would wait for ever, and is the last.
func Fit(left int64, sizes []int64) (n int) {
	for n < len(sizes) && left > 0 {
		left -= max(sizes[n], 0)
		n++
	}
	return n
}
