package planner

import (
	"maps"
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
	domains map[string]ofDomain // of those that have some
	// parsed are schedules by their text: to look a zone up is slow.
	parsed map[string]schedule.Schedule
}

// ofDomain is what a domain says of when its accounts are run.
type ofDomain struct {
	schedule schedule.Text
	least    time.Duration
}

func newPlan(s directory.Settings) *plan {
	return &plan{global: s, domains: map[string]ofDomain{}, parsed: map[string]schedule.Schedule{}}
}

// rules returns those that hold for an account.
func (p *plan) rules(e due.Entry) account.Rules {
	p.mu.RLock()
	defer p.mu.RUnlock()
	d := p.domains[e.Domain]
	global := account.Rules{Interval: p.global.Interval, Text: p.global.Schedule}
	return account.RulesOf(e.Interval, e.Schedule, d.schedule, global).AtLeast(d.least, p.global.MinInterval)
}

// next returns when an account is due after a time, the zero time for never.
func (p *plan) next(e due.Entry, after time.Time) time.Time {
	r := p.rules(e)
	next, boosted := p.byRules(e, r, after), schedule.Boosted(e.UID, r.Least, e.BoostedUntil, after)
	if next.IsZero() || !boosted.IsZero() && boosted.Before(next) {
		return boosted
	}
	return next
}

// byRules is next of an account whose owner does not wait for a message.
func (p *plan) byRules(e due.Entry, r account.Rules, after time.Time) time.Time {
	if r.Interval > 0 {
		return schedule.Next(e.UID, max(r.Interval, r.Least), after)
	}
	s, err := p.parse(r.Text)
	if err != nil { // of a version that knew more
		return schedule.Next(e.UID, max(p.interval(), r.Least), after)
	}
	s.Least, s.Quiet = r.Least, e.Quiet
	return s.Next(e.UID, after).At
}

// behind is after, as far behind the turn that was claimed as has to be at least.
func (p *plan) behind(c due.Claimed, at time.Time) time.Time {
	least := p.rules(c.Entry).Least
	if c.BoostedUntil.After(at) {
		least = schedule.BoostInterval(least)
	}
	if soonest := c.Due.Add(least - 1); soonest.After(at) {
		at = soonest
	}
	// By the clock of Redis it was due, and the turn lies within the millisecond that Redis has of it.
	if turn := c.Due.Add(time.Millisecond - 1); turn.After(at) {
		at = turn
	}
	return p.after(c.Entry, at)
}

// after is next, no earlier than the runs of the account have said. An interval is followed from then on; hours and
// times of day stay what they are.
func (p *plan) after(e due.Entry, at time.Time) time.Time {
	next := p.next(e, at)
	if !e.NotBefore.After(next) || next.IsZero() {
		return next
	}
	if p.anyTime(e) {
		return e.NotBefore
	}
	return p.next(e, e.NotBefore.Add(-time.Millisecond))
}

// off says that a failure made the account due at a time that its schedule does not have.
func (p *plan) off(c due.Claimed, now time.Time) bool {
	return c.Due.Equal(c.NotBefore) && !p.anyTime(c.Entry) && p.after(c.Entry, c.Due.Add(-time.Millisecond)).After(now)
}

// anyTime says that the account is run on an interval: it may be due at any time.
func (p *plan) anyTime(e due.Entry) bool {
	r := p.rules(e)
	if r.Interval > 0 {
		return true
	}
	s, err := p.parse(r.Text)
	return err != nil || s.AnyTime()
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

// setGlobal takes new settings. Where the global schedule changed it returns the plan there was, else nil.
func (p *plan) setGlobal(s directory.Settings) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.global
	p.global = s
	if old.Interval == s.Interval && old.MinInterval == s.MinInterval && same(old.Schedule, s.Schedule) {
		return nil
	}
	was := newPlan(old)
	maps.Copy(was.domains, p.domains)
	return was
}

// setDomain takes a domain. Where its schedule changed it returns the plan there was for its accounts, else nil.
func (p *plan) setDomain(d directory.Domain) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, now := p.domains[d.Name], ofDomain{d.Schedule, d.MinInterval}
	if len(d.Schedule.Entries) == 0 && d.Schedule.Zone == "" && d.MinInterval == 0 {
		delete(p.domains, d.Name)
	} else {
		p.domains[d.Name] = now
	}
	if old.least == now.least && same(old.schedule, now.schedule) {
		return nil
	}
	was := newPlan(p.global)
	was.domains[d.Name] = old
	return was
}

func same(a, b schedule.Text) bool {
	return a.Zone == b.Zone && strings.Join(a.Entries, ";") == strings.Join(b.Entries, ";")
}
