package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

func TestNextIsOnTheGridAndDoesNotDrift(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)
	const every = 7 * time.Minute
	first := schedule.Next("a1", every, start)
	if d := first.Sub(start); d <= 0 || d > every {
		t.Fatalf("first start %v after", d)
	}
	for late := time.Duration(0); late < every; late += 13 * time.Second {
		if got := schedule.Next("a1", every, first.Add(late)); !got.Equal(first.Add(every)) {
			t.Fatalf("asked %v late: %v, want %v", late, got, first.Add(every))
		}
	}
}

func TestNextBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	after := time.Unix(-1000, 0)
	if d := schedule.Next("x", time.Minute, after).Sub(after); d <= 0 || d > time.Minute {
		t.Errorf("start %v after", d)
	}
}

func TestStartsAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	const accounts, slots = 100_000, 100
	var seen [slots]int
	for i := range accounts {
		o := schedule.Offset(fmt.Sprintf("account-%d", i), 5*time.Minute)
		seen[int(o*slots/(5*time.Minute))]++
	}
	for i, n := range seen {
		if n < accounts/slots*8/10 || n > accounts/slots*12/10 {
			t.Errorf("slot %d holds %d of %d", i, n, accounts/slots)
		}
	}
}

// TestAMillionIsFlat counts the starts of a million accounts at every five minutes: each second has a three-hundredth of
// them, give or take what chance does (four deviations), whatever the form of the schedule.
func TestAMillionIsFlat(t *testing.T) {
	t.Parallel()
	const accounts, seconds = 1_000_000, 300
	from := time.Date(2026, 3, 29, 0, 58, 0, 0, time.UTC) // clocks change within
	every, err := schedule.Parse([]string{"every 5m"}, "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var seen [seconds]int
	for i := range accounts {
		uid := fmt.Sprintf("%026x", i*7919)
		at := schedule.Next(uid, 5*time.Minute, from)
		if i%16 == 0 {
			if by := every.Next(uid, from).At; !by.Equal(at) {
				t.Fatalf("%s: %v by interval, %v by calendar", uid, at, by)
			}
		}
		seen[int(at.Sub(from)/time.Second)%seconds]++
	}
	const mean = accounts / seconds
	for i, n := range seen {
		if n < mean-4*58 || n > mean+4*58 {
			t.Errorf("second %d has %d starts of %d", i, n, mean)
		}
	}
}
