package ledger

import (
	"context"
	"testing"
	"time"
)

// TestDayCounts adds up what is fetched in a day of Redis, begins anew with the next, and never again with a day
// that it has left.
func TestDayCounts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHouse(t, Config{})
	first, err := h.Day(ctx, "a1")
	h.ok(err)
	noon := first.Ends.Add(12 * time.Hour)
	now, err := h.rdb.Time(ctx).Result()
	h.ok(err)
	h.pass(noon.Sub(now)) // of a day of the test's own, far from its ends
	for i, tt := range []struct {
		pass                     time.Duration
		account                  string
		messages, octets         int64
		wantMessages, wantOctets int64
		wantEnds                 int // days after the first
	}{
		{0, "a1", 0, 0, 0, 0, 1},
		{0, "a1", 3, 1 << 40, 3, 1 << 40, 1},
		{time.Hour, "a1", 2, 5, 5, 1<<40 + 5, 1},
		{0, "a2", 0, 0, 0, 0, 1},
		{24 * time.Hour, "a1", 0, 0, 0, 0, 2},
		{0, "a1", 1, 1, 1, 1, 2},
		{-24 * time.Hour, "a1", 1, -7, 2, 1, 2},
		{24 * time.Hour, "a1", 0, 0, 2, 1, 2},
	} {
		h.pass(tt.pass)
		d, err := h.Spend(ctx, tt.account, tt.messages, tt.octets)
		h.ok(err)
		if want := (Day{tt.wantMessages, tt.wantOctets, first.Ends.AddDate(0, 0, tt.wantEnds)}); d != want {
			t.Errorf("%d: %+v, want %+v", i, d, want)
		}
	}
}
