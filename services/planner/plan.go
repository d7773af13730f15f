package planner

import (
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// plan knows the schedules that accounts fall back on, and says when each is due.
type plan struct {
	mu      sync.RWMutex
	global  directory.Settings
	domains map[string]schedule.Text // of those that have one, or a zone
	// parsed are schedules by their text: to look a zone up is slow.
	parsed map[string]schedule.Schedule
}

func newPlan(s directory.Settings) *plan {
	return &plan{global: s, domains: map[string]schedule.Text{}, parsed: map[string]schedule.Schedule{}}
}

// next returns when an account is due after a time, the zero time for never.
func (p *plan) next(e due.Entry, after time.Time) time.Time {
	p.mu.RLock()
	r := rules(e.Interval, e.Schedule, p.domains[e.Domain], p.global)
	p.mu.RUnlock()
	if r.Interval > 0 {
		return schedule.Next(e.UID, r.Interval, after)
	}
	s, err := p.parse(r.Text)
	if err != nil { // of a version that knew more
		return schedule.Next(e.UID, p.interval(), after)
	}
	return s.Next(e.UID, after).At
}

// after is next, no earlier than the runs of the account have said. An interval is followed from then on; hours and
// times of day stay what they are.
func (p *plan) after(e due.Entry, at time.Time) time.Time {
	next := p.next(e, at)
	if !e.NotBefore.After(next) || next.IsZero() {
		return next
	}
	p.mu.RLock()
	r := rules(e.Interval, e.Schedule, p.domains[e.Domain], p.global)
	p.mu.RUnlock()
	if r.Interval > 0 {
		return e.NotBefore
	}
	return p.next(e, e.NotBefore.Add(-time.Millisecond))
}

func (p *plan) interval() time.Duration {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.global.Interval
}

// maxParsed bounds the schedules that are kept parsed.
const maxParsed = 10_000

func (p *plan) parse(t schedule.Text) (schedule.Schedule, error) {
	key := t.Zone + ";" + strings.Join(t.Entries, ";")
	p.mu.RLock()
	s, ok := p.parsed[key]
	p.mu.RUnlock()
	if ok {
		return s, nil
	}
	s, err := schedule.Parse(t.Entries, t.Zone)
	if err != nil {
		return s, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parsed) >= maxParsed {
		clear(p.parsed)
	}
	p.parsed[key] = s
	return s, nil
}

// setGlobal takes new settings and says whether the global schedule changed.
func (p *plan) setGlobal(s directory.Settings) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.global
	p.global = s
	return old.Interval != s.Interval || !same(old.Schedule, s.Schedule)
}

// setDomain takes a domain and says whether its schedule changed.
func (p *plan) setDomain(d directory.Domain) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.domains[d.Name]
	if len(d.Schedule.Entries) == 0 && d.Schedule.Zone == "" {
		delete(p.domains, d.Name)
	} else {
		p.domains[d.Name] = d.Schedule
	}
	return !same(old, d.Schedule)
}

func same(a, b schedule.Text) bool {
	return a.Zone == b.Zone && strings.Join(a.Entries, ";") == strings.Join(b.Entries, ";")
}

// rules is account.Rules with the schedules of domain and settings.
func rules(interval time.Duration, own, domain schedule.Text, s directory.Settings) account.Rules {
	return account.RulesOf(interval, own, domain, account.Rules{Interval: s.Interval, Text: s.Schedule})
}
