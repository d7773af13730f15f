package simulate

import "time"

// Minute is what happened in one minute of the virtual clock.
type Minute struct {
	// At is its end, from the beginning on.
	At time.Duration
	// Due accounts came due, of them Emitted got a job, and Coalesced had one. Overdue were left at the end.
	Due, Emitted, Coalesced, Overdue int
	// Started sessions; Refused jobs found no place at their host, HeldBack ones no share of their domain.
	Started, Refused, HeldBack int
	Failed, Mail               int
	// P50, P99 and Max are of the time from when a turn was due to when its session began.
	P50, P99, Max time.Duration
	// Queue, Running and Sessions, of each provider, are the most at a time; InLine, of each provider, those at the end.
	Queue, Running   int
	Sessions, InLine []int
}

func (m *Minute) waits(queue int) { m.Queue = max(m.Queue, queue) }

func (m *Minute) run(sessions int) { m.Running = max(m.Running, sessions) }

func (m *Minute) session(open, provider int) {
	m.Sessions[provider] = max(m.Sessions[provider], open)
}

// Total is what happened in all.
type Total struct {
	Minutes, Due, Emitted, Coalesced, Started, Refused, HeldBack, Failed, Mail int
	P50, P99, Max                                                              time.Duration
	// Missed turns began never, since the account was at its last one when they were due. MissedInARow is the most of one account.
	Missed, MissedInARow int
	// Unserved accounts had not begun a turn that was due, the longest of them for Oldest, at the end.
	Unserved int
	Oldest   time.Duration
	// Most at a time.
	Queue, Running int
	// Busiest is the most sessions that began in a minute.
	Busiest int
}

// ProviderTotal is what happened at a provider.
type ProviderTotal struct {
	Name                               string
	Accounts, Started, Refused, Failed int
	// Sessions is the most at a time, MostOfHost that at one of its hosts; Logins is the most in a minute.
	Sessions, MostOfHost, Logins int
	// SessionsAllowed and LoginsAllowed are the budgets of all its hosts, 0 for none.
	SessionsAllowed, LoginsAllowed int
	// Busy is the session time spent there.
	Busy     time.Duration
	P50, P99 time.Duration
	Max      time.Duration
}

// Result is the outcome of a simulation.
type Result struct {
	Config    Config
	Minutes   []Minute
	Total     Total
	Providers []ProviderTotal
}

// closeMinute ends a minute and begins the next.
func (s *sim) closeMinute() {
	m, t := &s.minute, &s.total
	m.At = time.Duration(len(s.minutes)+1) * time.Minute
	m.P50, m.P99, m.Max = s.lags.quantile(0.5), s.lags.quantile(0.99), ms(s.lags.max)
	m.InLine = make([]int, len(s.places))
	for _, h := range s.hosts {
		m.InLine[h.place.index] += h.Waiting()
	}
	for i := range s.places {
		p := &s.places[i]
		p.total.Started += p.minute
		p.total.Logins = max(p.total.Logins, p.minute)
		p.total.Sessions = max(p.total.Sessions, m.Sessions[i])
		p.minute = 0
	}
	t.Minutes++
	t.Due += m.Due
	t.Emitted += m.Emitted
	t.Coalesced += m.Coalesced
	t.Started += m.Started
	t.Refused += m.Refused
	t.HeldBack += m.HeldBack
	t.Failed += m.Failed
	t.Mail += m.Mail
	t.Queue, t.Running, t.Busiest = max(t.Queue, m.Queue), max(t.Running, m.Running), max(t.Busiest, m.Started)
	s.all.merge(&s.lags)
	s.lags = lags{}
	s.minutes = append(s.minutes, *m)
	s.minute = s.newMinute()
}

// newMinute begins with the sessions that go on.
func (s *sim) newMinute() Minute {
	m := Minute{Sessions: make([]int, len(s.places)), Running: len(s.ends), Queue: s.queue.size}
	for i := range s.places {
		m.Sessions[i] = s.places[i].open
	}
	return m
}

// result sums up, at the end.
func (s *sim) result(now uint32) *Result {
	t := s.total
	t.P50, t.P99, t.Max = s.all.quantile(0.5), s.all.quantile(0.99), ms(s.all.max)
	for i := range s.accts {
		a := &s.accts[i]
		since := a.since
		if since == 0 && a.flags&running == 0 {
			since = a.at
		}
		if since != 0 && since <= now {
			t.Unserved++
			t.Oldest = max(t.Oldest, ms(now-since))
		}
	}
	r := &Result{Config: s.cfg, Minutes: s.minutes, Total: t}
	for i := range s.places {
		p := &s.places[i]
		p.total.P50, p.total.P99, p.total.Max = p.lags.quantile(0.5), p.lags.quantile(0.99), ms(p.lags.max)
		p.total.SessionsAllowed, p.total.LoginsAllowed = p.Hosts**p.Provider.Sessions, p.Hosts**p.LoginsPerMinute
		r.Providers = append(r.Providers, p.total)
	}
	for _, h := range s.hosts {
		r.Providers[h.place.index].MostOfHost = max(r.Providers[h.place.index].MostOfHost, h.most)
	}
	return r
}
