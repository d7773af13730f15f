package planner

import (
	"fmt"
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
		if p.setDomain(d) == nil || p.setDomain(d) != nil {
			t.Errorf("%s: a change is not told, or told twice", d.Name)
		}
	}
	slow := directory.Domain{Name: "slow.example", MinInterval: 20 * time.Minute}
	if p.setDomain(slow) == nil || p.setDomain(slow) != nil {
		t.Error("a least interval is not told, or told twice")
	}
	after := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		entry due.Entry
		want  time.Time // within a minute; zero: never
	}{
		"interval":                {due.Entry{Interval: time.Minute}, after},
		"raised":                  {due.Entry{Domain: "slow.example", Interval: time.Minute}, schedule.Next("u", 20*time.Minute, after)},
		"raised by calendar":      {due.Entry{Domain: "slow.example", Schedule: text("", "every 5m")}, schedule.Next("u", 20*time.Minute, after)},
		"raised global":           {due.Entry{Domain: "slow.example"}, schedule.Next("u", 20*time.Minute, after)},
		"longer than least":       {due.Entry{Domain: "slow.example", Interval: time.Hour}, schedule.Next("u", time.Hour, after)},
		"global":                  {due.Entry{Domain: "x"}, schedule.Next("u", 10*time.Minute, after)},
		"own":                     {due.Entry{Schedule: text("", "at 06:30")}, time.Date(2026, 7, 2, 6, 30, 0, 0, time.UTC)},
		"own, domain's zone":      {due.Entry{Domain: "berlin.example", Schedule: text("", "at 06:30")}, time.Date(2026, 7, 2, 4, 30, 0, 0, time.UTC)},
		"own zone":                {due.Entry{Domain: "berlin.example", Schedule: text("Asia/Kathmandu", "at 06:30")}, time.Date(2026, 7, 2, 0, 45, 0, 0, time.UTC)},
		"domain":                  {due.Entry{Domain: "nightly.example"}, time.Date(2026, 7, 2, 3, 0, 0, 0, time.UTC)},
		"domain, own zone":        {due.Entry{Domain: "nightly.example", Schedule: text("Europe/Berlin")}, time.Date(2026, 7, 2, 1, 0, 0, 0, time.UTC)},
		"off":                     {due.Entry{Domain: "nightly.example", Schedule: text("", "off")}, time.Time{}},
		"of a later version":      {due.Entry{Schedule: text("", "whenever")}, schedule.Next("u", 10*time.Minute, after)},
		"after a failure":         {due.Entry{Interval: time.Minute, State: due.State{NotBefore: after.Add(time.Hour)}}, after.Add(time.Hour)},
		"adaptive, there is mail": {due.Entry{Schedule: text("", "adaptive 2m..1h")}, schedule.Next("u", 2*time.Minute, after)},
		"adaptive, quiet":         {due.Entry{Schedule: text("", "adaptive 2m..1h"), State: due.State{Quiet: 3}}, schedule.Next("u", 16*time.Minute, after)},
		"adaptive, raised":        {due.Entry{Domain: "slow.example", Schedule: text("", "adaptive 2m..1h"), State: due.State{Quiet: 1}}, schedule.Next("u", 40*time.Minute, after)},
		"adaptive, failed":        {due.Entry{Schedule: text("", "adaptive 2m..1h"), State: due.State{Quiet: 9, NotBefore: after.Add(time.Hour)}}, after.Add(time.Hour)},
		"boosted":                 {due.Entry{Interval: time.Hour, State: due.State{BoostedUntil: after.Add(2 * time.Minute)}}, schedule.Next("u", time.Minute, after)},
		"boosted, never else":     {due.Entry{Schedule: text("", "off"), State: due.State{BoostedUntil: after.Add(2 * time.Minute)}}, schedule.Next("u", time.Minute, after)},
		"boosted, raised":         {due.Entry{Domain: "slow.example", Schedule: text("", "at 06:30"), State: due.State{BoostedUntil: after.Add(time.Hour)}}, schedule.Next("u", 20*time.Minute, after)},
		"boost is over":           {due.Entry{Schedule: text("", "off"), State: due.State{BoostedUntil: after}}, time.Time{}},
		"boosted and failed":      {due.Entry{Interval: time.Hour, State: due.State{BoostedUntil: after.Add(2 * time.Hour), NotBefore: after.Add(time.Hour)}}, after.Add(time.Hour)},
		"after one, by clock":     {due.Entry{Schedule: text("", "at 12:30", "at 06:30"), State: due.State{NotBefore: after.Add(time.Hour)}}, time.Date(2026, 7, 2, 6, 30, 0, 0, time.UTC)},
	}
	for name, tt := range tests {
		tt.entry.UID = "u"
		got := p.after(tt.entry, after)
		if d := got.Sub(tt.want); got.IsZero() != tt.want.IsZero() || d < 0 || d > time.Minute {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if p.setGlobal(directory.Settings{Interval: 10 * time.Minute, Postmaster: "x"}) != nil || p.setGlobal(directory.Settings{Interval: 10 * time.Minute, Schedule: text("", "at 05:00")}) == nil {
		t.Error("a change of the global schedule is told wrongly")
	}
	if got := p.next(due.Entry{UID: "u", Domain: "berlin.example"}, after); !got.Truncate(time.Minute).Equal(time.Date(2026, 7, 2, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("the global schedule in the domain's zone: %v", got)
	}
	if p.setDomain(directory.Domain{Name: "nightly.example"}) == nil || len(p.domains) != 2 {
		t.Error("a domain without schedule is kept")
	}
}

// TestNoMoreOften has entries that come more often together than each: the next start is the least interval behind the last.
func TestNoMoreOften(t *testing.T) {
	t.Parallel()
	p := newPlan(directory.Settings{Interval: 10 * time.Minute, MinInterval: 15 * time.Minute})
	for _, entries := range [][]string{{"cron */10 * * * *"}, {"at 06:00", "at 06:10", "at 06:20"}, {"every 1m"}, {"adaptive 1m..20m"}, {"every 1m 05:00-07:00", "cron * * * * *"}} {
		c := due.Claimed{Entry: due.Entry{UID: "u", Schedule: text("", entries...)}, Due: time.Date(2026, 7, 1, 5, 59, 0, 0, time.UTC)}
		c.Due = p.next(c.Entry, c.Due)
		for i := range 50 {
			c.Quiet, c.BoostedUntil = i%7, c.Due.Add(time.Duration(i%5)*time.Minute)
			next := p.behind(c, c.Due.Add(time.Second))
			if next.Sub(c.Due) < 15*time.Minute {
				t.Fatalf("%q: %v behind %v", entries, next.Sub(c.Due), c.Due)
			}
			c.Due = next
		}
	}
}

// TestATurnIsNotEmittedTwice claims accounts in the very millisecond that Redis has of their turn.
func TestATurnIsNotEmittedTwice(t *testing.T) {
	t.Parallel()
	p := newPlan(directory.Settings{Interval: 5 * time.Minute})
	for i := range 1000 {
		e := due.Entry{UID: fmt.Sprint("u", i), Active: true}
		turn := p.next(e, time.Date(2026, 7, 1, 5, 0, 0, 0, time.UTC))
		now := turn.Truncate(time.Millisecond)
		if next := p.behind(due.Claimed{Entry: e, Due: now}, now); next.Sub(turn) != 5*time.Minute {
			t.Fatalf("%v behind %v", next, turn)
		}
	}
}
