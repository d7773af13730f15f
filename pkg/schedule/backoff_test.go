package schedule_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

func TestCurve(t *testing.T) {
	t.Parallel()
	growing, flat := schedule.Curve{First: 2 * time.Minute, Cap: time.Hour}, schedule.Curve{First: 24 * time.Hour, Cap: 24 * time.Hour}
	for _, tt := range []struct {
		curve schedule.Curve
		n     int
		want  time.Duration
	}{
		{growing, 1, 2 * time.Minute}, {growing, 3, 8 * time.Minute}, {growing, 1000, time.Hour}, {growing, math.MaxInt, time.Hour}, {growing, 0, 2 * time.Minute},
		{flat, 1, 24 * time.Hour}, {flat, 9, 24 * time.Hour}, {schedule.Curve{}, 5, 0},
	} {
		if got := tt.curve.Wait(tt.n); got != tt.want {
			t.Errorf("%v after %d failures: %v, want %v", tt.curve, tt.n, got, tt.want)
		}
	}
}

// TestRetry has each failure lead to a time: later than now where the curve waits, never before what the server asked for,
// at most a minute later than need be, and the same whoever asks.
func TestRetry(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)
	for i := range 20_000 {
		c := schedule.Curve{First: time.Duration(r.Int64N(int64(time.Hour)))}
		c.Cap = c.First + time.Duration(r.Int64N(int64(24*time.Hour)))
		n, uid := 1+r.IntN(40), fmt.Sprint(i)
		var until time.Time
		if r.IntN(2) == 0 {
			until = now.Add(time.Duration(r.Int64N(int64(48*time.Hour))) - time.Hour)
		}
		need := now.Add(c.Wait(n))
		if until.After(need) {
			need = until
		}
		at := schedule.Retry(uid, c, n, now, until)
		if at.Before(need) || at.After(need.Add(time.Minute)) || at.Sub(need) > need.Sub(now)/10 {
			t.Fatalf("%v after %d failures, until %v: %v, want %v or little later", c, n, until, at, need)
		}
		if again := schedule.Retry(uid, c, n, now, until); !again.Equal(at) {
			t.Fatalf("%v, and then %v", at, again)
		}
	}
	if at := schedule.Retry("u", schedule.Curve{}, 1, now, time.Time{}); !at.Equal(now) {
		t.Errorf("at once is %v", at)
	}
}
