package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

func TestEntryText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"every 5m":                         "every 5m",
		"adaptive 1m..60m":                 "adaptive 1m..1h",
		"adaptive 5m..2h Mon-Fri":          "adaptive 5m..2h mon-fri",
		"Every 120m Mon-Fri":               "every 2h mon-fri",
		"every 10m mon,tue,sat 8:00-18:30": "every 10m mon,tue,sat 08:00-18:30",
		"every 10m 22:00-24:00 fri-mon":    "every 10m sun,mon,fri,sat 22:00-00:00",
		"at 6:30":                          "at 06:30",
		"at 06:30 day 1,15,20-25":          "at 06:30 day 1,15,20-25",
		"at 24:00 fri day 13":              "at 00:00 fri day 13",
		"cron 30  6 * * 1-5":               "cron 30 6 * * 1-5",
		"off":                              "off",
		"off every 5m sun":                 "off every 5m sun",
		"off at 00:00":                     "off",
	} {
		e, err := schedule.ParseEntry(in)
		if err != nil || e.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, e, err, want)
		}
	}
	for _, bad := range []string{
		"adaptive", "adaptive 5m", "adaptive 5m..5m", "adaptive 1h..5m", "adaptive ..1h", "adaptive 1m..", "adaptive 30s..1h", "adaptive 1m..1h..2h",
		"", "every", "at", "every 5", "every 0m", "every -5m", "every 90s", "every 169h", "every 5m mon fri", "every 5m 8-18",
		"every 5m 08:00-08:00", "every 5m 08:00-18:00 19:00-20:00", "at 06:60", "at 25:00", "at 6:3", "at 06:30 08:00-09:00",
		"at 06:30 day 0", "at 06:30 day 32", "at 06:30 day 5-3", "at 06:30 day", "at 06:30 monday", "cron * * * *", "cron TZ= * * * *",
		"cron @every 5m", "cron 0 0 31 2 *", "cron 61 * * * *", "daily", "off off", "at 06:30 day 1 day 2", "at 06:30 mon-",
	} {
		if e, err := schedule.ParseEntry(bad); err == nil {
			t.Errorf("%q is taken as %q", bad, e)
		}
	}
}

// TestClocksChange holds what is promised for days on which clocks change.
func TestClocksChange(t *testing.T) {
	t.Parallel()
	const berlin, santiago = "Europe/Berlin", "America/Santiago"
	tests := map[string]struct {
		entry, zone, after string
		want               []string
	}{
		"spring, skipped":          {"at 02:30", berlin, "2026-03-28T12:00:00+01:00", []string{"2026-03-29T03:00:00+02:00 skip", "2026-03-30T02:30:00+02:00"}},
		"autumn, twice":            {"at 02:30", berlin, "2026-10-24T12:00:00+02:00", []string{"2026-10-25T02:30:00+02:00 twice", "2026-10-26T02:30:00+01:00"}},
		"autumn, asked in between": {"at 02:30", berlin, "2026-10-25T02:10:00+01:00", []string{"2026-10-26T02:30:00+01:00"}},
		"midnight skipped":         {"at 00:30", santiago, "2026-09-05T12:00:00-04:00", []string{"2026-09-06T01:00:00-03:00 skip", "2026-09-07T00:30:00-03:00"}},
		"cron, skipped":            {"cron 30 2 * * *", berlin, "2026-03-28T12:00:00+01:00", []string{"2026-03-29T03:00:00+02:00 skip", "2026-03-30T02:30:00+02:00"}},
		"cron, twice":              {"cron 30 2 * * *", berlin, "2026-10-24T12:00:00+02:00", []string{"2026-10-25T02:30:00+02:00 twice", "2026-10-26T02:30:00+01:00"}},
		"cron, any hour":           {"cron 30 * * * *", berlin, "2026-10-25T01:45:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"}},
		"cron, day or week day":    {"cron 0 6 13 * 5", berlin, "2026-11-01T00:00:00+01:00", []string{"2026-11-06T06:00:00+01:00", "2026-11-13T06:00:00+01:00", "2026-11-20T06:00:00+01:00"}},
		"days of a month":          {"at 06:00 day 31", berlin, "2026-03-31T07:00:00+02:00", []string{"2026-05-31T06:00:00+02:00", "2026-07-31T06:00:00+02:00"}},
		"a week day and a day":     {"at 06:00 fri day 13", berlin, "2026-03-14T00:00:00+01:00", []string{"2026-11-13T06:00:00+01:00", "2027-08-13T06:00:00+02:00"}},
		"never":                    {"off every 5m", berlin, "2026-03-14T00:00:00+01:00", []string{""}},
	}
	for name, tt := range tests {
		s, err := schedule.Parse([]string{tt.entry}, tt.zone)
		if err != nil {
			t.Fatal(name, err)
		}
		after, err := time.Parse(time.RFC3339, tt.after)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, want := range tt.want {
			got := s.Next("uid", after)
			instant, note, _ := strings.Cut(want, " ")
			if instant == "" {
				if !got.At.IsZero() {
					t.Errorf("%s: %v", name, got)
				}
				break
			}
			at, err := time.Parse(time.RFC3339, instant)
			if err != nil {
				t.Fatal(name, err)
			}
			if d := got.At.Sub(at); d < 0 || d >= time.Minute || !strings.Contains(got.Note, note) || note == "" && got.Note != "" {
				t.Errorf("%s: %v %q, want %s", name, got.At.In(s.Zone), got.Note, want)
			}
			after = got.At
		}
	}
}

// TestHours counts the starts of a window on ordinary and on odd days.
func TestHours(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		entry, day string
		want       int
	}{
		{"every 30m 01:00-05:00", "2026-06-01", 8},
		{"every 30m 01:00-05:00", "2026-03-29", 6},  // 02:00 to 03:00 is not there
		{"every 30m 01:00-05:00", "2026-10-25", 10}, // and is there twice
		{"every 30m 22:00-02:00", "2026-06-01", 8},
		{"every 1h wed", "2026-06-03", 24},
		{"every 1h sun", "2026-03-29", 23},
		{"every 1h sun", "2026-10-25", 25},
		{"every 2h 08:00-08:30", "2026-06-01", 1}, // shorter than the interval: once
	} {
		s, err := schedule.Parse([]string{tt.entry}, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.ParseInLocation(time.DateOnly, tt.day, s.Zone)
		if err != nil {
			t.Fatal(err)
		}
		from, to := day, day.AddDate(0, 0, 1)
		if strings.Contains(tt.entry, "22:00") {
			from, to = day.Add(12*time.Hour), to.Add(12*time.Hour)
		}
		for _, uid := range []string{"a", "b", "c"} {
			n := 0
			for at := s.Next(uid, from.Add(-1)).At; at.Before(to); at = s.Next(uid, at).At {
				n++
			}
			if n != tt.want {
				t.Errorf("%s on %s: %d starts of %s, want %d", tt.entry, tt.day, n, uid, tt.want)
			}
		}
	}
}

func TestShortest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for entries, want := range map[string]time.Duration{
		"every 5m": 5 * time.Minute, "adaptive 2m..1h": 2 * time.Minute, "at 06:30": 24 * time.Hour, "at 06:30;at 06:32": 2 * time.Minute, "off": 0, "cron */10 8 * * *": 10 * time.Minute,
	} {
		s, err := schedule.Parse(strings.Split(entries, ";"), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Shortest(at); got != want {
			t.Errorf("%s: %v, want %v", entries, got, want)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, s := range []string{"every 5m mon-fri 08:00-18:00", "at 06:30 day 1,15", "cron 30 6 * * 1-5", "off every 5m", "off", "adaptive 1m..1h", "off adaptive 5m..2h sat,sun 22:00-06:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := schedule.ParseEntry(s)
		if err != nil {
			return
		}
		again, err := schedule.ParseEntry(e.String())
		if err != nil || again.String() != e.String() {
			t.Errorf("%q is written as %q, which reads as %q, %v", s, e, again, err)
		}
		after := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
		if next := (schedule.Schedule{Entries: []schedule.Entry{e}, Zone: time.UTC}).Next("u", after).At; !next.IsZero() && !next.After(after) {
			t.Errorf("%q: %v is not after %v", s, next, after)
		}
	})
}
