package schedule_test

import (
	"fmt"
	"math"
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
	c := &clocks{loc: loc}
	minute, end := after.Unix()/60-49*60, after.Add(most).Unix()/60
	before := c.at(minute - 1)
	first := before - 2*24*60
	shown := make([]bool, end-first+4*24*60) // minutes of the wall that clocks have shown, from the first one on
	var windows []window
	for ; minute < end; minute++ {
		w := c.at(minute)
		for s := before + 1; s <= w; s++ { // minutes of the wall that are reached now; those for the first time count
			if shown[s-first] {
				continue
			}
			shown[s-first] = true
			switch at := schedule.Clock(s % (24 * 60)); {
			case e.Every == 0 && at == e.At && on(e, s):
				if t := unix(minute).Add(schedule.Offset(uid, time.Minute)); t.After(after) {
					return t, true
				}
			case e.Every > 0 && at == e.From && on(e, s):
				windows = append(windows, window{unix(minute), closing(e, s, minute, loc)})
			}
		}
		before = w // also where clocks went back
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

func unix(minute int64) time.Time { return time.Unix(60*minute, 0).UTC() }

// clocks says what clocks show at a minute since 1970: the minutes that would have passed if they showed UTC. It asks for the
// offset of the zone once for each time it changes, so that a million cases take minutes.
type clocks struct {
	loc                *time.Location
	from, until, ahead int64 // ahead holds for the minutes in between
}

func (c *clocks) at(minute int64) int64 {
	if minute < c.from || minute >= c.until {
		t := unix(minute).In(c.loc)
		_, offset := t.Zone()
		begin, end := t.ZoneBounds()
		c.from, c.until, c.ahead = begin.Unix()/60, end.Unix()/60, int64(offset)/60
		if begin.IsZero() {
			c.from = 0
		}
		if end.IsZero() {
			c.until = math.MaxInt64
		}
	}
	return minute + c.ahead
}

// closing walks on to the last minute at which clocks show the end of the hours that begin at a minute.
func closing(e schedule.Entry, begin, minute int64, loc *time.Location) time.Time {
	c := &clocks{loc: loc}
	end := begin - begin%(24*60) + int64(e.To)
	if e.To <= e.From {
		end += 24 * 60
	}
	var first, last int64
	for m := minute; m < minute+51*60; m++ {
		w := c.at(m)
		if first == 0 && w >= end {
			first = m
		}
		if w == end {
			last = m
		}
	}
	if last == 0 || e.From == e.To { // the whole day ends when the next begins
		return unix(first)
	}
	return unix(last)
}

// on says whether the entry is in force on the day of a minute of the wall.
func on(e schedule.Entry, minute int64) bool {
	day := unix(minute)
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

// cases of the twin in a test run; MAILFERRY_SCHEDULE_CASES sets another number (`task schedule:twin` a million).
const cases = 4000

// TestTwin checks Next against its dumb twin around changes of clocks.
func TestTwin(t *testing.T) {
	t.Parallel()
	n := cases
	if s := os.Getenv("MAILFERRY_SCHEDULE_CASES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
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
