package account

import (
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// ScheduleProto returns the wire form of a schedule, nil for none.
func ScheduleProto(t schedule.Text) *mailferryv1.Schedule {
	if len(t.Entries) == 0 && t.Zone == "" {
		return nil
	}
	return &mailferryv1.Schedule{Entries: t.Entries, TimeZone: t.Zone}
}

// ScheduleFromProto returns the schedule of its wire form, its entries in their short form.
func ScheduleFromProto(p *mailferryv1.Schedule) schedule.Text {
	t := schedule.Text{Entries: slices.Clone(p.GetEntries()), Zone: p.GetTimeZone()}
	for i, s := range t.Entries {
		if e, err := schedule.ParseEntry(s); err == nil {
			t.Entries[i] = e.String()
		}
	}
	return t
}

// ValidateSchedule returns an *[Error] of the field schedule if t is not valid.
func ValidateSchedule(t schedule.Text) error {
	if err := t.Validate(); err != nil {
		return invalid("schedule", "%v", err)
	}
	return nil
}

func (a Account) validateSchedule() error {
	switch {
	case a.Interval != 0 && (a.Interval < MinInterval || a.Interval > MaxInterval):
		return invalid("interval", "want %s to %s, or none for the global schedule", fault.Span(MinInterval), fault.Span(MaxInterval))
	case a.Interval != 0 && len(a.Schedule.Entries) > 0:
		return invalid("schedule", "goes without an interval of the account")
	case a.Push && len(a.Schedule.Entries) > 0:
		return invalid("schedule", "goes without push, which waits for messages at all times")
	}
	return ValidateSchedule(a.Schedule)
}

// Rules say when an account is run: every Interval, or as Text says where that is 0.
type Rules struct {
	Interval time.Duration
	Text     schedule.Text
	// Source says whose they are: "account", "domain" or "settings".
	Source string
	// Least is the least time between two starts, 0 for none, and LeastOf says whose rule that is: "domain" or "settings".
	Least   time.Duration
	LeastOf string
}

// AtLeast returns r with the least time between two starts of a domain and of the settings, of which the longer holds.
func (r Rules) AtLeast(domain, global time.Duration) Rules {
	switch {
	case domain > global:
		r.Least, r.LeastOf = domain, "domain"
	case global > 0:
		r.Least, r.LeastOf = global, "settings"
	}
	return r
}

// ValidateMinInterval returns an *[Error] of the field min_interval if d is not one, or 0.
func ValidateMinInterval(d time.Duration) error {
	if d != 0 && (d < MinInterval || d > MaxInterval) {
		return invalid("min_interval", "want %s to %s, or 0 for none", fault.Span(MinInterval), fault.Span(MaxInterval))
	}
	return nil
}

// RulesOf returns the rules of an account: its own interval or schedule, else those of its domain, else the global
// ones. Whichever schedule it is goes by the account's zone, then by the domain's, then by the global one.
func RulesOf(interval time.Duration, own, domain schedule.Text, global Rules) Rules {
	switch {
	case interval > 0:
		return Rules{Interval: interval, Source: "account"}
	case len(own.Entries) > 0:
		return Rules{Text: own.Over(domain).Over(global.Text), Source: "account"}
	case len(domain.Entries) > 0:
		text := schedule.Text{Entries: domain.Entries, Zone: own.Zone}
		return Rules{Text: text.Over(domain).Over(global.Text), Source: "domain"}
	case len(global.Text.Entries) > 0:
		text := schedule.Text{Entries: global.Text.Entries, Zone: own.Zone}
		return Rules{Text: text.Over(domain).Over(global.Text), Source: "settings"}
	}
	return Rules{Interval: global.Interval, Source: "settings"}
}
