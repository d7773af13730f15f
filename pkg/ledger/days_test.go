package ledger

import (
	"context"
	"testing"
	"time"
)

// TestDays tells how long a key has been in the index, and not less than nothing when the clock goes back.
func TestDays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{TTL: 1000 * 24 * time.Hour})
	hold := h.open("a1", "e1")
	k := h.uid(1)
	h.mark(hold, k, 10)
	h.commit(h.deliver("a1", k))
	for _, tt := range []struct {
		pass time.Duration
		want int
	}{{0, 0}, {30 * 24 * time.Hour, 30}, {-33 * 24 * time.Hour, 0}} {
		h.pass(tt.pass)
		ix, err := hold.Reload(context.Background())
		h.ok(err)
		if got, ok := ix.Days(k); !ok || got != tt.want {
			t.Errorf("%d days, %v, want %d", got, ok, tt.want)
		}
		if _, ok := ix.Days(h.uid(2)); ok {
			t.Error("a key that is not there has an age")
		}
	}
}
