package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Entry is one line of a schedule: a time of day or an interval, on some days, in some hours. Its text form is
//
//	every 5m                      every five minutes
//	every 1h mon-fri 08:00-18:00  on these days, between these times
//	adaptive 1m..1h               between these intervals: often while mail is arriving, rarely when it is quiet
//	at 06:30 day 1,15             once, on these days of the month
//	cron 30 6 * * 1-5             the five fields of a crontab
//	off every 5m                  kept, and not in force; "off" alone: never
type Entry struct {
	Off bool
	// Every is the time between two starts; 0 for one at the time At.
	Every time.Duration
	// Upto is the longest interval of an adaptive entry, whose shortest is Every; 0 for one that stays as it is.
	Upto time.Duration
	At   Clock
	// Weekdays has the bit 1<<time.Weekday of each day, Days the bit 1<<n of the n-th of a month; 0 for every day.
	Weekdays uint8
	Days     uint32
	// From and To bound the hours of Every; the same for the whole day. A To before From is one of the next day.
	From, To Clock
	// Cron is a crontab's fields, in place of all that.
	Cron string

	cron cronSpec
	// least of an adaptive entry that is being looked at: its starts lie on a grid of that, whatever Every is now.
	least time.Duration
}

// Clock is a time of day in minutes.
type Clock int

func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c/60, c%60) }

// ParseEntry reads the text form of an entry. Its errors say what is wanted.
func ParseEntry(s string) (Entry, error) {
	words := strings.Fields(strings.ToLower(s))
	var e Entry
	if len(words) > 0 && words[0] == "off" {
		e.Off = true
		if words = words[1:]; len(words) == 0 {
			return e, nil
		}
	}
	if len(words) < 2 {
		return Entry{}, fmt.Errorf("%q: want for instance \"every 5m\", \"adaptive 1m..1h\", \"at 06:30 mon-fri\", \"cron 30 6 * * *\" or \"off\"", s)
	}
	var err error
	switch words[0] {
	case "cron":
		e.Cron = strings.Join(words[1:], " ")
		e.cron, err = parseCron(e.Cron)
		words = nil
	case "every":
		e.Every, err = parseEvery(words[1])
		words = words[2:]
	case "adaptive":
		e.Every, e.Upto, err = parseRange(words[1])
		words = words[2:]
	case "at":
		e.At, err = parseClock(words[1])
		words = words[2:]
	default:
		err = fmt.Errorf("%q: want every, adaptive, at, cron or off", words[0])
	}
	for len(words) > 0 && err == nil {
		words, err = e.restrict(words)
	}
	if err == nil && e.never() {
		err = fmt.Errorf("%q: there is no such day", s)
	}
	return e, err
}

// restrict takes a word that says which days or hours.
func (e *Entry) restrict(words []string) (rest []string, err error) {
	w := words[0]
	switch {
	case w == "day" && len(words) > 1 && e.Days == 0:
		e.Days, err = parseDays(words[1])
		return words[2:], err
	case w != "" && w[0] >= '0' && w[0] <= '9' && e.Every > 0 && e.From == e.To:
		from, to, ok := strings.Cut(w, "-")
		if !ok {
			return nil, fmt.Errorf("%q: want hours like 08:00-18:00", w)
		}
		if e.From, err = parseClock(from); err == nil {
			e.To, err = parseClock(to)
		}
		if err == nil && e.From == e.To {
			err = fmt.Errorf("%q: begins when it ends; leave it out for the whole day", w)
		}
		return words[1:], err
	case w != "day" && e.Weekdays == 0:
		e.Weekdays, err = parseWeekdays(w)
		return words[1:], err
	}
	return nil, fmt.Errorf("%q does not go with what is before it", w)
}

// never says that no month has any of the days.
func (e Entry) never() bool { return e.Cron == "" && e.Days != 0 && e.Days&^1 == 0 }

func parseEvery(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Minute || d > 7*24*time.Hour || d%time.Minute != 0 {
		return 0, fmt.Errorf("%q: want whole minutes or hours like 5m or 2h, at most a week", s)
	}
	return d, nil
}

func parseClock(s string) (Clock, error) {
	h, m, ok := strings.Cut(s, ":")
	hour, err1 := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	if !ok || err1 != nil || err2 != nil || hour > 24 || minute > 59 || len(m) != 2 || len(h) > 2 || hour == 24 && minute > 0 {
		return 0, fmt.Errorf("%q: want a time of day like 06:30", s)
	}
	return Clock(hour*60+minute) % (24 * 60), nil
}

var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func parseWeekdays(s string) (set uint8, err error) {
	index := func(name string) int {
		for i, w := range weekdays {
			if w == name {
				return i
			}
		}
		return -1
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, span := strings.Cut(part, "-")
		if !span {
			last = first
		}
		i, j := index(first), index(last)
		if i < 0 || j < 0 {
			return 0, fmt.Errorf("%q: want week days like mon-fri or sat,sun", s)
		}
		for ; ; i = (i + 1) % 7 {
			set |= 1 << i
			if i == j {
				break
			}
		}
	}
	return set, nil
}

func parseDays(s string) (set uint32, err error) {
	for part := range strings.SplitSeq(s, ",") {
		first, last, span := strings.Cut(part, "-")
		if !span {
			last = first
		}
		i, err1 := strconv.ParseUint(first, 10, 8)
		j, err2 := strconv.ParseUint(last, 10, 8)
		if err1 != nil || err2 != nil || i < 1 || j > 31 || i > j {
			return 0, fmt.Errorf("%q: want days of the month like 1,15 or 1-7", s)
		}
		for ; i <= j; i++ {
			set |= 1 << i
		}
	}
	return set, nil
}

// String returns the text form; [ParseEntry] reads it.
func (e Entry) String() string {
	var words []string
	if e.Off {
		words = append(words, "off")
	}
	switch {
	case e.Cron != "":
		words = append(words, "cron", e.Cron)
	case e.Upto > 0:
		words = append(words, "adaptive", shortDuration(e.Every)+".."+shortDuration(e.Upto))
	case e.Every > 0:
		words = append(words, "every", shortDuration(e.Every))
	case !e.Off || e.At != 0 || e.Weekdays != 0 || e.Days != 0:
		words = append(words, "at", e.At.String())
	}
	if e.Weekdays != 0 {
		words = append(words, list(uint32(e.Weekdays), func(i int) string { return weekdays[i] }))
	}
	if e.Days != 0 {
		words = append(words, "day", list(e.Days, strconv.Itoa))
	}
	if e.From != e.To {
		words = append(words, e.From.String()+"-"+e.To.String())
	}
	return strings.Join(words, " ")
}

func shortDuration(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	if d%time.Minute != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// list writes the bits of a set, runs of three and more as first-last.
func list(set uint32, name func(int) string) string {
	var parts []string
	for set != 0 {
		i := bits.TrailingZeros32(set)
		n := bits.TrailingZeros32(^(set >> i))
		if n < 3 {
			n = 1
		}
		part := name(i)
		if n > 1 {
			part += "-" + name(i+n-1)
		}
		parts = append(parts, part)
		set &^= (1<<n - 1) << i
	}
	return strings.Join(parts, ",")
}
