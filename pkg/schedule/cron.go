package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// cronSpec is a parsed crontab line. The times of one whose hours are named are those of a wall clock; others go by
// elapsed time, as Debian's cron has it.
type cronSpec struct {
	next func(time.Time) time.Time
	wall bool
}

func parseCron(s string) (cronSpec, error) {
	fields := strings.Fields(s)
	if len(fields) != 5 || strings.Contains(s, "tz=") || strings.HasPrefix(s, "@") {
		return cronSpec{}, fmt.Errorf("cron %q: want five fields: minute, hour, day of month, month, week day", s)
	}
	parsed, err := cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom).Parse(s)
	if err != nil {
		return cronSpec{}, fmt.Errorf("cron %q: %w", s, err)
	}
	if parsed.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return cronSpec{}, fmt.Errorf("cron %q: there is no such day", s)
	}
	return cronSpec{next: parsed.Next, wall: !strings.Contains(fields[1], "*")}, nil
}

// after returns the first start after the given time, or zero.
func (c cronSpec) after(after time.Time, loc *time.Location) start {
	if !c.wall {
		return start{at: c.next(after.In(loc))}
	}
	y, m, d := after.In(loc).Date()
	w := time.Date(y, m, d-1, 0, 0, 0, 0, time.UTC)
	for {
		if w = c.next(w); w.IsZero() {
			return start{}
		}
		if s := onDay(w.Truncate(24*time.Hour), Clock(w.Hour()*60+w.Minute()), loc); s.at.After(after) {
			return s
		}
	}
}
