package planner

import (
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/schedule"
)

func text(zone string, entries ...string) schedule.Text {
	return schedule.Text{Zone: zone, Entries: entries}
}

// TestWhoseSchedule holds which schedule is an account's, and by which zone it goes.
func TestWhoseSchedule(t *testing.T) {
	t.Parallel()
	p := newPlan(directory.Settings{Interval: 10 * time.Minute})
	berlin := directory.Domain{Name: "berlin.example", Schedule: text("Europe/Berlin")}
	nightly := directory.Domain{Name: "nightly.example", Schedule: text("", "at 03:00")}
	for _, d := range []directory.Domain{berlin, nightly} {
		if !p.setDomain(d) || p.setDomain(d) {
			t.Errorf("%s: a change is not told, or told twice", d.Name)
		}
	}
	after := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		entry due.Entry
		want  time.Time // within a minute; zero: never
	}{
		"interval":            {due.Entry{Interval: time.Minute}, after},
		"global":              {due.Entry{Domain: "x"}, schedule.Next("u", 10*time.Minute, after)},
		"own":                 {due.Entry{Schedule: text("", "at 06:30")}, time.Date(2026, 7, 2, 6, 30, 0, 0, time.UTC)},
		"own, domain's zone":  {due.Entry{Domain: "berlin.example", Schedule: text("", "at 06:30")}, time.Date(2026, 7, 2, 4, 30, 0, 0, time.UTC)},
		"own zone":            {due.Entry{Domain: "berlin.example", Schedule: text("Asia/Kathmandu", "at 06:30")}, time.Date(2026, 7, 2, 0, 45, 0, 0, time.UTC)},
		"domain":              {due.Entry{Domain: "nightly.example"}, time.Date(2026, 7, 2, 3, 0, 0, 0, time.UTC)},
		"domain, own zone":    {due.Entry{Domain: "nightly.example", Schedule: text("Europe/Berlin")}, time.Date(2026, 7, 2, 1, 0, 0, 0, time.UTC)},
		"off":                 {due.Entry{Domain: "nightly.example", Schedule: text("", "off")}, time.Time{}},
		"of a later version":  {due.Entry{Schedule: text("", "whenever")}, schedule.Next("u", 10*time.Minute, after)},
		"after a failure":     {due.Entry{Interval: time.Minute, State: due.State{NotBefore: after.Add(time.Hour)}}, after.Add(time.Hour)},
		"after one, by clock": {due.Entry{Schedule: text("", "at 12:30", "at 06:30"), State: due.State{NotBefore: after.Add(time.Hour)}}, time.Date(2026, 7, 2, 6, 30, 0, 0, time.UTC)},
	}
	for name, tt := range tests {
		tt.entry.UID = "u"
		got := p.after(tt.entry, after)
		if d := got.Sub(tt.want); got.IsZero() != tt.want.IsZero() || d < 0 || d > time.Minute {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if p.setGlobal(directory.Settings{Interval: 10 * time.Minute, Postmaster: "x"}) || !p.setGlobal(directory.Settings{Interval: 10 * time.Minute, Schedule: text("", "at 05:00")}) {
		t.Error("a change of the global schedule is told wrongly")
	}
	if got := p.next(due.Entry{UID: "u", Domain: "berlin.example"}, after); !got.Truncate(time.Minute).Equal(time.Date(2026, 7, 2, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("the global schedule in the domain's zone: %v", got)
	}
	if !p.setDomain(directory.Domain{Name: "nightly.example"}) || len(p.domains) != 1 {
		t.Error("a domain without schedule is kept")
	}
}
