package budget_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// twin decides in Go what the script of a day decides in Redis.
type twin struct{ day, octets int64 }

func (w *twin) fetched(today, octets int64) budget.Day {
	if w.day < today {
		*w = twin{day: today}
	}
	w.octets += octets
	return budget.Day{Octets: w.octets, Ends: time.Unix((w.day+1)*86400, 0).UTC()}
}

// TestADayIsCounted compares the script with its twin, over days that are moved beneath it.
func TestADayIsCounted(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	names := []string{"domain example.com", "google"}
	of := map[string]*twin{}
	for _, n := range names {
		of[n] = &twin{}
	}
	var day int64
	for i := range 2000 {
		b, name := budget.New(r.Client), names[rnd.IntN(2)]
		w, octets := of[name], rnd.Int64N(1<<40)
		if rnd.IntN(3) == 0 {
			octets = 0
		}
		if now := mustDay(t, r); now != day && i > 0 {
			t.Skip("a day has just begun")
		} else {
			day = now
		}
		if w.day > 0 && rnd.IntN(10) == 0 { // yesterday, today, tomorrow: a clock that goes back stays where it was
			w.day = day - 1 + rnd.Int64N(3)
			if err := r.Client.HSet(t.Context(), "mf:budget:{"+name+"}:day", "day", w.day).Err(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.Fetched(t.Context(), name, octets)
		if want := w.fetched(day, octets); err != nil || got != want {
			t.Fatalf("%d: %+v, want %+v, %v", i, got, want, err)
		}
		if w.octets == 0 {
			*w = twin{} // nothing is kept of it
		}
	}
	if ttl := r.Client.TTL(t.Context(), "mf:budget:{google}:day").Val(); ttl < 23*time.Hour || ttl > 72*time.Hour {
		t.Errorf("it is kept for %v", ttl)
	}
	r.Stop()
	if _, err := budget.New(r.Client).Fetched(t.Context(), "google", 1); err == nil {
		t.Error("no error without Redis")
	}
}

func mustDay(t *testing.T, r *testenv.Redis) int64 {
	t.Helper()
	now, err := r.Client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now.Unix() / 86400
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		left  int64
		sizes []int64
		want  int
	}{
		{0, []int64{1}, 0},
		{-5, []int64{1}, 0},
		{1, nil, 0},
		{1, []int64{1 << 40, 1}, 1}, // larger than the limit: alone, or it would wait for ever
		{30, []int64{10, 10, 10, 1}, 3},
		{30, []int64{10, 10, 11, 1}, 3},
		{30, []int64{10, 10, 9, 1, 1}, 4},
		{5, []int64{-100, 5, 1}, 2}, // a size is what the server says
	} {
		if got := budget.Fit(tt.left, tt.sizes); got != tt.want {
			t.Errorf("%d of %v: %d, want %d", tt.left, tt.sizes, got, tt.want)
		}
	}
	l := budget.DayLimit{Name: "google", Octets: 100}
	if l.Left(budget.Day{Octets: 30}, 20) != 50 || l.Left(budget.Day{Octets: 30}, -20) != 70 || l.Left(budget.Day{Octets: 130}, 0) != -30 {
		t.Error("Left")
	}
}
