package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

func TestAdapt(t *testing.T) {
	t.Parallel()
	for quiet, want := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if got := schedule.Adapt(time.Minute, time.Hour, quiet); got != time.Duration(want)*time.Minute {
			t.Errorf("after %d quiet runs every %v, want %dm", quiet, got, want)
		}
	}
	for _, c := range []struct {
		low, high time.Duration
		quiet     int
		want      time.Duration
	}{
		{7 * time.Minute, time.Hour, 100, 56 * time.Minute}, // the last multiple
		{time.Hour, time.Minute, 5, time.Hour},              // raised by the least interval of a domain
		{time.Minute, 168 * time.Hour, 1 << 40, 168 * time.Hour},
		{time.Minute, time.Hour, -1, time.Minute},
		{0, time.Hour, 3, 0},
	} {
		if got := schedule.Adapt(c.low, c.high, c.quiet); got != c.want {
			t.Errorf("%v..%v after %d quiet runs: every %v, want %v", c.low, c.high, c.quiet, got, c.want)
		}
	}
}

// adaptTwin doubles run by run.
func adaptTwin(low, high time.Duration, quiet int) time.Duration {
	at := low
	for range quiet {
		at = min(at*2, high-high%low)
	}
	return at
}

// TestAdaptiveStaysInItsBounds plays runs that find something or do not: the start after each is no sooner than the low end and no
// later than the high end allow, whatever was found, and there always is one.
func TestAdaptiveStaysInItsBounds(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 500 {
		low := time.Duration(1+r.IntN(90)) * time.Minute
		high := low + time.Duration(1+r.IntN(600))*time.Minute
		least := time.Duration(r.IntN(3)) * 37 * time.Second * time.Duration(r.IntN(200))
		s, err := schedule.Parse([]string{fmt.Sprintf("adaptive %dm..%dm", low/time.Minute, high/time.Minute)}, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		s.Least = least
		low, high = max(low, least), max(high, least)
		uid, at := fmt.Sprint("u", i), time.Date(2026, 3, 28, r.IntN(24), 0, 0, 0, time.UTC)
		at = s.Next(uid, at).At
		for range 100 {
			if r.IntN(4) == 0 {
				s.Quiet = 0
			} else {
				s.Quiet++
			}
			if got, want := s.Entries[0].Interval(s.Quiet, least), adaptTwin(low, high, s.Quiet); got != want {
				t.Fatalf("%s, at least %v, after %d quiet runs: every %v, the twin says %v", s.Entries[0], least, s.Quiet, got, want)
			}
			next := s.Next(uid, at).At
			if d := next.Sub(at); d < low || d > high || d > s.Entries[0].Interval(s.Quiet, least) {
				t.Fatalf("%s, at least %v, after %d quiet runs: %v after the start before", s.Entries[0], least, s.Quiet, d)
			}
			at = next
		}
	}
}

// TestAdaptiveKeepsItsHours: the interval adapts, the hours stay, and within them two starts are never too close.
func TestAdaptiveKeepsItsHours(t *testing.T) {
	t.Parallel()
	s, err := schedule.Parse([]string{"adaptive 7m..10h mon-fri 08:00-18:00"}, "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		uid, at := fmt.Sprint("u", i), time.Date(2026, 3, 26, 0, 0, 0, 0, time.UTC)
		for n := range 60 {
			s.Quiet = (i + n*n) % 9
			next := s.Next(uid, at).At
			local := next.In(s.Zone)
			if h := local.Hour(); h < 8 || h >= 18 || local.Weekday() == time.Saturday || local.Weekday() == time.Sunday {
				t.Fatalf("a start at %v", local)
			}
			if d := next.Sub(at); n > 0 && d < 7*time.Minute {
				t.Fatalf("%v after %v", d, at.In(s.Zone))
			}
			at = next
		}
	}
}

// TestAdaptiveIsFlat: accounts that are quiet for equally long do not come together.
func TestAdaptiveIsFlat(t *testing.T) {
	t.Parallel()
	s, err := schedule.Parse([]string{"adaptive 1m..1h"}, "")
	if err != nil {
		t.Fatal(err)
	}
	const accounts, slots = 60_000, 60
	for _, quiet := range []int{0, 3, 20} {
		s.Quiet = quiet
		from, every := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), schedule.Adapt(time.Minute, time.Hour, quiet)
		var seen [slots]int
		for i := range accounts {
			seen[int(s.Next(fmt.Sprint("account-", i), from).At.Sub(from)*slots/(every+1))]++
		}
		for i, n := range seen {
			if n < accounts/slots*8/10 || n > accounts/slots*12/10 {
				t.Errorf("every %v: slot %d holds %d of %d", every, i, n, accounts/slots)
			}
		}
	}
}

func TestBoosted(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 28, 12, 0, 30, 0, time.UTC)
	until := now.Add(10 * time.Minute)
	var starts []time.Time
	for at := now; ; {
		if at = schedule.Boosted("u", 0, until, at); at.IsZero() {
			break
		}
		starts = append(starts, at)
	}
	if len(starts) != 10 || starts[9].Sub(starts[0]) != 9*time.Minute || starts[9].After(until) {
		t.Errorf("starts %v", starts)
	}
	if at := schedule.Boosted("u", 5*time.Minute, until, schedule.Boosted("u", 5*time.Minute, until, now)); at.Sub(now) < 5*time.Minute {
		t.Errorf("the least interval of a domain is 5m, the second start is at %v", at)
	}
	if at := schedule.Boosted("u", 0, time.Time{}, now); !at.IsZero() {
		t.Errorf("without a boost: %v", at)
	}
}

func TestAnyTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"every 5m": true, "adaptive 1m..1h": true, "off every 5m": false, "every 5m mon": false, "every 5m 08:00-18:00": false, "at 06:30": false, "cron * * * * *": false} {
		s, err := schedule.Parse([]string{text}, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.AnyTime(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
