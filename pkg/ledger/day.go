package ledger

import (
	"context"
	"time"
)

// Day is what was fetched of an account since midnight UTC, by the clock of Redis.
type Day struct {
	Messages, Octets int64
	// Ends is the next midnight.
	Ends time.Time
}

func dayKey(account string) string { return "mf:day:" + account }

// Day returns what was fetched of the account today.
func (l *Ledger) Day(ctx context.Context, account string) (Day, error) {
	return l.Spend(ctx, account, 0, 0)
}

// Spend counts what is about to be fetched of the account, and returns the day with it. What is counted and then
// not fetched stays counted: a crash never fetches more than a limit allows.
func (l *Ledger) Spend(ctx context.Context, account string, messages, octets int64) (Day, error) {
	reply, err := l.run(ctx, "day", []string{dayKey(account)}, max(messages, 0), max(octets, 0))
	if err != nil {
		return Day{}, err
	}
	return Day{Messages: number(reply, 1), Octets: number(reply, 2), Ends: time.UnixMilli(number(reply, 3)).UTC()}, nil
}
