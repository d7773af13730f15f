package schedule

import (
	"fmt"
	"time"
)

// Schedule is when an account is run: at the starts of all its entries, by the clock of a zone.
type Schedule struct {
	Entries []Entry
	Zone    *time.Location
	// Least is an interval to which shorter ones are raised; 0 for none.
	Least time.Duration
	// Quiet is how many runs in a row found nothing: adaptive entries go by it.
	Quiet int
}

// Text is a schedule as people write it.
type Text struct {
	// Entries are as [ParseEntry] takes them.
	Entries []string
	// Zone is an IANA name, "" for the one that holds otherwise.
	Zone string
}

// Bounds of a schedule.
const (
	maxEntries = 16
	maxEntry   = 200 // octets
)

// Validate says what is wrong with a text.
func (t Text) Validate() error {
	if len(t.Entries) > maxEntries {
		return fmt.Errorf("at most %d entries", maxEntries)
	}
	for _, e := range t.Entries {
		if len(e) > maxEntry {
			return fmt.Errorf("an entry has at most %d octets", maxEntry)
		}
	}
	_, err := Parse(t.Entries, t.Zone)
	return err
}

// Over returns t, with the zone of one that holds for more accounts where t has none.
func (t Text) Over(wider Text) Text {
	if t.Zone == "" {
		t.Zone = wider.Zone
	}
	return t
}

// Parse reads a schedule: entries as [ParseEntry] takes them, and a zone by its IANA name, "" for UTC.
func Parse(entries []string, zone string) (Schedule, error) {
	if zone == "" {
		zone = "UTC"
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return Schedule{}, fmt.Errorf("%q is not a time zone: want an IANA name like Europe/Berlin", zone)
	}
	s := Schedule{Zone: loc}
	for _, text := range entries {
		e, err := ParseEntry(text)
		if err != nil {
			return Schedule{}, err
		}
		s.Entries = append(s.Entries, e)
	}
	return s, nil
}

// Start is a start of a schedule.
type Start struct {
	At time.Time
	// Entry is the one it comes from.
	Entry Entry
	// Note says what is unusual of it: a time of day that the day does not have, or has twice.
	Note string
}

// Next returns the first start after the given time, the zero Start if there is none. Starts do not depend on
// when runs end. Those of an interval are spread over it by a hash of uid; those of a time of day, over its minute.
//
// A time of day that a day does not have, since clocks go forward, is the first instant after the gap. One that it
// has twice counts once, the first time; hours that end with it end with the second.
func (s Schedule) Next(uid string, after time.Time) Start {
	var first Start
	for _, e := range s.Entries {
		raised := e
		if e.Every > 0 {
			raised.Every = e.Interval(s.Quiet, s.Least)
		}
		if e.Upto > 0 {
			raised.least = max(e.Every, s.Least)
		}
		n := raised.next(uid, after, s.Zone)
		if e.Upto == 0 && raised.Every > e.Every && n.note == "" {
			n.note = "raised to " + shortDuration(raised.Every)
		}
		if !n.at.IsZero() && (first.At.IsZero() || n.at.Before(first.At)) {
			first = Start{At: n.at.UTC(), Entry: e, Note: n.note}
		}
	}
	return first
}

// start is an instant and what is unusual of it.
type start struct {
	at   time.Time
	note string
}

// maxDays is how far a day is looked for: a week day that is also a certain day of the month comes within it.
const maxDays = 4000

func (e Entry) next(uid string, after time.Time, loc *time.Location) start {
	switch {
	case e.Off:
		return start{}
	case e.Every > 0 && e.Weekdays == 0 && e.Days == 0 && e.From == e.To:
		return start{at: Next(uid, e.Every, after)}
	}
	within := Offset(uid, time.Minute)
	if e.Cron != "" {
		s := e.cron.after(after.Add(-within), loc)
		if !s.at.IsZero() {
			s.at = s.at.Add(within)
		}
		return s
	}
	y, m, d := after.In(loc).Date()
	for i := -1; i < maxDays; i++ { // hours may reach into the next day
		day := time.Date(y, m, d+i, 0, 0, 0, 0, time.UTC)
		if !e.on(day) {
			continue
		}
		var s start
		if e.Every > 0 {
			s = e.tick(uid, day, after, loc)
		} else {
			s = onDay(day, e.At, loc)
			s.at = s.at.Add(within)
		}
		if s.at.After(after) {
			return s
		}
	}
	return start{}
}

// on says whether the entry is in force on a day.
func (e Entry) on(day time.Time) bool {
	return (e.Weekdays == 0 || e.Weekdays&(1<<day.Weekday()) != 0) && (e.Days == 0 || e.Days&(1<<day.Day()) != 0)
}

// tick returns the first start after the given time within the entry's hours of a day, zero if there is none.
func (e Entry) tick(uid string, day, after time.Time, loc *time.Location) start {
	from := onDay(day, e.From, loc)
	if e.To <= e.From {
		day = day.AddDate(0, 0, 1)
	}
	to := lastOnDay(day, e.To, loc)
	if e.From == e.To {
		to = onDay(day, 0, loc).at
	}
	length := to.Sub(from.at)
	if length <= 0 {
		return start{}
	}
	every := e.Every
	if e.least > 0 && every > length { // still a multiple of its least: else starts came closer when it changes
		every = max(e.least, length-length%e.least)
	}
	at := from.at.Add(Offset(uid, min(every, length)))
	if !at.After(after) {
		at = at.Add((after.Sub(at)/every + 1) * every)
	}
	if !at.Before(to) {
		return start{}
	}
	return start{at: at, note: from.note}
}

// onDay returns the first instant at which clocks show c on a day, or the first after the gap that it is in.
func onDay(day time.Time, c Clock, loc *time.Location) start {
	first, last, there := shown(day, c, loc)
	switch {
	case !there:
		return start{first, fmt.Sprintf("clocks skip %v on %s: the first instant after it", c, day.Format(time.DateOnly))}
	case !first.Equal(last):
		return start{first, fmt.Sprintf("clocks show %v twice on %s: the first time", c, day.Format(time.DateOnly))}
	}
	return start{at: first}
}

func lastOnDay(day time.Time, c Clock, loc *time.Location) time.Time {
	_, last, _ := shown(day, c, loc)
	return last
}

// shown returns the first and the last instant at which clocks show c on a day, or the end of the gap it is in.
func shown(day time.Time, c Clock, loc *time.Location) (first, last time.Time, there bool) {
	wall := day.Add(time.Duration(c) * time.Minute) // as if it were UTC
	for _, near := range []time.Duration{-25 * time.Hour, 25 * time.Hour} {
		_, offset := wall.Add(near).In(loc).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second)
		if _, o := t.In(loc).Zone(); o != offset {
			continue
		}
		if !there || t.Before(first) {
			first = t
		}
		if !there || t.After(last) {
			last = t
		}
		there = true
	}
	if there {
		return first, last, true
	}
	_, before := wall.Add(-25 * time.Hour).In(loc).Zone()
	first, _ = wall.Add(-time.Duration(before) * time.Second).In(loc).ZoneBounds()
	return first, first, false
}

// Shortest returns the shortest time between two starts in the thirty days after a time, zero if there are not two.
func (s Schedule) Shortest(after time.Time) time.Duration {
	var shortest time.Duration
	end := after.AddDate(0, 0, 30)
	var last time.Time
	for range 5000 {
		at := s.Next("", after).At
		if at.IsZero() || at.After(end) {
			break
		}
		if gap := at.Sub(last); !last.IsZero() && (shortest == 0 || gap < shortest) {
			shortest = gap
		}
		last, after = at, at
	}
	return shortest
}
