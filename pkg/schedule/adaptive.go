package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Adapt returns the interval of an adaptive schedule between low and high after so many runs in a row that found nothing: low while
// there is mail, and with each quiet run twice as long, up to high. A run that finds something begins again at low. So a mailbox that
// gets a message is looked at often for as long again as it was quiet, and one that gets none at high.
//
// It is always a multiple of low, at most high. Grids of multiples of low lie on that of low, see [Offset]: two
// starts are never closer than low, also when the interval changes between them.
func Adapt(low, high time.Duration, quiet int) time.Duration {
	if low <= 0 {
		return 0
	}
	return low * min(1<<min(max(quiet, 0), 30), max(high/low, 1))
}

// Interval returns the time between two starts of the entry, of none shorter than least, after quiet runs in a row that found nothing;
// 0 for one that names times.
func (e Entry) Interval(quiet int, least time.Duration) time.Duration {
	switch {
	case e.Every == 0:
		return 0
	case e.Upto == 0:
		return max(e.Every, least)
	}
	return Adapt(max(e.Every, least), e.Upto, quiet)
}

// Adaptive says that an entry that is in force is adaptive.
func (s Schedule) Adaptive() bool {
	for _, e := range s.Entries {
		if e.Upto > 0 && !e.Off {
			return true
		}
	}
	return false
}

// Sooner returns when an account with an adaptive schedule is due, at a time now, after a run that found mail and began at
// the time started: as if none had been quiet, and no closer than Least. It is the zero time without such a schedule.
func (s Schedule) Sooner(uid string, started, now time.Time) time.Time {
	if !s.Adaptive() {
		return time.Time{}
	}
	s.Quiet = 0
	if soonest := started.Add(s.Least); soonest.After(now) {
		now = soonest.Add(-time.Nanosecond)
	}
	return s.Next(uid, now).At
}

// AnyTime says that starts may be at any time: an interval is in force the whole of each day.
func (s Schedule) AnyTime() bool {
	for _, e := range s.Entries {
		if e.Every > 0 && !e.Off && e.Weekdays == 0 && e.Days == 0 && e.From == e.To {
			return true
		}
	}
	return false
}

// Boosted returns the first start after the given time of an account whose owner waits for a message until then: on the grid
// of a minute, or of least where that is longer. It is the zero time where there is none.
func Boosted(uid string, least time.Duration, until, after time.Time) time.Time {
	if until.IsZero() {
		return time.Time{}
	}
	if at := Next(uid, BoostInterval(least), after); !at.After(until) {
		return at
	}
	return time.Time{}
}

// BoostInterval is the time between two starts of such an account.
func BoostInterval(least time.Duration) time.Duration { return max(least, time.Minute) }

func parseRange(s string) (low, high time.Duration, err error) {
	from, to, ok := strings.Cut(s, "..")
	if !ok {
		return 0, 0, fmt.Errorf("%q: want the shortest and the longest interval like 1m..1h", s)
	}
	if low, err = parseEvery(from); err == nil {
		high, err = parseEvery(to)
	}
	if err == nil && low >= high {
		err = fmt.Errorf("%q: the longest interval is not longer than the shortest; want one like 1m..1h", s)
	}
	return low, high, err
}
