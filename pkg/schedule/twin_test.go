package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

// twin walks minute by minute from two days before a time, looks at what clocks show, and finds the first start after
// it. It shares nothing with the code it checks but the entry and its spread.
func twin(e schedule.Entry, uid string, after time.Time, loc *time.Location, most time.Duration) (time.Time, bool) {
	minute := after.Truncate(time.Minute).Add(-49 * time.Hour)
	shown := map[int64]bool{} // minutes of the wall that clocks have shown
	wall := func(t time.Time) time.Time {
		l := t.In(loc)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	before := wall(minute.Add(-time.Minute))
	var windows []window
	for ; minute.Before(after.Add(most)); minute = minute.Add(time.Minute) {
		w := wall(minute)
		var begins []time.Time // minutes of the wall that are reached now for the first time
		for s := before.Add(time.Minute); !s.After(w); s = s.Add(time.Minute) {
			if key := s.Unix(); !shown[key] {
				shown[key] = true
				begins = append(begins, s)
			}
		}
		if w.After(before) {
			before = w
		} else if !w.After(before.Add(-time.Minute)) { // clocks went back
			before = w
		}
		for _, s := range begins {
			if !on(e, s) {
				continue
			}
			at := schedule.Clock(s.Hour()*60 + s.Minute())
			switch {
			case e.Every == 0 && at == e.At:
				if t := minute.Add(schedule.Offset(uid, time.Minute)); t.After(after) {
					return t, true
				}
			case e.Every > 0 && at == e.From:
				windows = append(windows, window{minute, closing(e, s, minute, loc)})
			}
		}
	}
	for _, w := range windows {
		length := w.to.Sub(w.from)
		if length <= 0 {
			continue
		}
		for t := w.from.Add(schedule.Offset(uid, min(e.Every, length))); t.Before(w.to); t = t.Add(e.Every) {
			if t.After(after) {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

type window struct{ from, to time.Time }

// closing walks on to the last minute at which clocks show the end of the hours that begin at a minute.
func closing(e schedule.Entry, begin, minute time.Time, loc *time.Location) time.Time {
	end := time.Date(begin.Year(), begin.Month(), begin.Day(), 0, int(e.To), 0, 0, time.UTC)
	if e.To <= e.From {
		end = end.AddDate(0, 0, 1)
	}
	var first, last time.Time
	for t := minute; t.Before(minute.Add(51 * time.Hour)); t = t.Add(time.Minute) {
		l := t.In(loc)
		w := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
		if first.IsZero() && !w.Before(end) {
			first = t
		}
		if w.Equal(end) {
			last = t
		}
	}
	if last.IsZero() || e.From == e.To { // the whole day ends when the next begins
		return first
	}
	return last
}

func on(e schedule.Entry, day time.Time) bool {
	return (e.Weekdays == 0 || e.Weekdays>>day.Weekday()&1 == 1) && (e.Days == 0 || e.Days>>day.Day()&1 == 1)
}

// zones with clocks that change in every way there is: at midnight, by half an hour, in the other half of the year, for a
// month of fasting, and not at all.
var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran",
	"America/Asuncion", "Asia/Kathmandu", "Pacific/Chatham", "Asia/Gaza", "Africa/Cairo", "America/Nuuk", "Asia/Beirut",
}

func randomEntry(r *rand.Rand) schedule.Entry {
	var e schedule.Entry
	clock := func() schedule.Clock { return schedule.Clock(r.IntN(24 * 60)) }
	if r.IntN(2) == 0 {
		clock = func() schedule.Clock { return schedule.Clock(r.IntN(17) * 15) } // at night, when clocks change
	}
	if r.IntN(2) == 0 {
		e.At = clock()
	} else {
		e.Every = time.Duration(1+r.IntN(200)) * time.Minute
		if r.IntN(4) > 0 {
			if e.From, e.To = clock(), clock(); e.From == e.To {
				e.From, e.To = 0, 0
			}
		}
	}
	switch r.IntN(4) {
	case 0:
		e.Weekdays = uint8(1 + r.IntN(127))
	case 1:
		e.Days = 1 << (1 + r.IntN(31))
	}
	if e.Every > 0 && e.From == e.To && e.Weekdays == 0 && e.Days == 0 {
		e.Weekdays = 1 << r.IntN(7) // the plain grid has a test of its own
	}
	return e
}

// cases of the twin in a test run; MAILFERRY_SCHEDULE_CASES raises it.
const cases = 400

// TestTwin checks Next against its dumb twin around changes of clocks.
func TestTwin(t *testing.T) {
	t.Parallel()
	n := cases
	if s := os.Getenv("MAILFERRY_SCHEDULE_CASES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d cases", seed, n)
	r := rand.New(rand.NewPCG(seed, 1))
	changes := map[string][]time.Time{}
	for _, name := range zones {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2034; {
			_, end := at.In(loc).ZoneBounds()
			if end.IsZero() {
				break
			}
			changes[name] = append(changes[name], end)
			at = end
		}
	}
	for i := range n {
		name := zones[r.IntN(len(zones))]
		loc, _ := time.LoadLocation(name)
		e := randomEntry(r)
		after := time.Date(2024+r.IntN(10), 1, 1+r.IntN(365), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
		if c := changes[name]; len(c) > 0 && r.IntN(4) > 0 {
			after = c[r.IntN(len(c))].Add(time.Duration(r.IntN(50*3600)-30*3600) * time.Second)
		}
		uid := fmt.Sprint(i)
		const most = 72 * time.Hour
		want, found := twin(e, uid, after, loc, most)
		got := schedule.Schedule{Entries: []schedule.Entry{e}, Zone: loc}.Next(uid, after).At
		if !found && (got.IsZero() || got.After(after.Add(most-49*time.Hour))) {
			continue
		}
		if !got.Equal(want) {
			t.Errorf("seed %d: %q in %s, uid %s, after %v: %v, the twin says %v", seed, e, name, uid, after.In(loc), got.In(loc), want.In(loc))
		}
	}
}
