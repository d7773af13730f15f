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
