package budget

import (
	"math"
	"time"
)

// Model decides for one [Limit] what the scripts decide in Redis, on the clock of its caller: a simulation asks it, and a test
// holds it against the scripts on random input. It differs in this: places are held until Leave, and what it knows does not
// lapse after an hour without visitors. Its clock must not go back.
type Model struct {
	sessions, perMinute float64

	open      int
	tat, took float64 // ms
	known     bool    // took, by a session that ended
	fails     int
	shut      float64
	line      scores // when each in line is to come
	domains   scores // the last place of each domain in line
}

// NewModel returns the budget of one host or provider that nobody has asked yet.
func NewModel(l Limit) *Model {
	return &Model{sessions: float64(l.Sessions), perMinute: float64(l.LoginsPerMinute), line: newScores(), domains: newScores()}
}

// Open is how many places are held.
func (m *Model) Open() int { return m.open }

// Waiting is how many accounts stand in line.
func (m *Model) Waiting() int { return len(m.line.of) }

// Enter takes a place for a session of the account, or says when to come again; see [Budget.Enter].
func (m *Model) Enter(account, domain uint32, hurry bool, at time.Time) (ok bool, again time.Duration) {
	if m.sessions <= 0 && m.perMinute <= 0 {
		m.open++
		return true, 0
	}
	now := float64(at.UnixMilli())
	free, step, every, places := m.room(now)
	m.line.forget(now - 30_000)
	near := float64(m.line.passed(now + 1000))
	mine, waits := m.line.get(account)
	mayGo := waits && mine <= now+1000
	switch {
	case free <= now && (hurry || mayGo || near < places):
		m.line.remove(account)
		if m.perMinute > 0 {
			m.tat = thousandths(max(m.tat, now) + every)
		}
		if m.shut > 0 {
			m.shut = now + 30_000 // one finds out
		}
		m.open++
		return true, 0
	case hurry:
		return false, millis(max(free-now, 100))
	case mayGo:
		wait, at := max(free-now, 100)+step*(near-1), now
		if wait > float64(mostAgain.Milliseconds()) {
			at += wait
		}
		m.line.set(account, at)
		return false, min(millis(wait), mostAway)
	case waits:
		return false, min(millis(mine-now), mostAway)
	}
	m.domains.forget(now)
	last, known := m.domains.get(domain)
	domains := float64(len(m.domains.of))
	if !known {
		domains++
	}
	mine = max(free, now) + step*(domains-1)
	if known {
		mine = max(last+step*domains, mine)
	}
	if len(m.line.of) >= longest {
		return false, min(millis(max(mine-now, 1000)), mostAway)
	}
	m.domains.set(domain, thousandths(mine))
	m.line.set(account, mine)
	return false, min(millis(mine-now), mostAway)
}

// room says from when on there is room, how long a place takes to fall free, the time between two logins, and how many places
// there are now.
func (m *Model) room(now float64) (free, step, every, places float64) {
	free, places = m.shut, longest
	if m.sessions > 0 {
		took := m.took
		if !m.known {
			took = 1000
		}
		step = took / m.sessions
		places = m.sessions - float64(m.open)
		if places <= 0 {
			free = max(free, now+max(step, 50))
		}
	}
	if m.perMinute > 0 {
		every = 60_000 / (0.98 * m.perMinute)
		step = max(step, every)
		burst := 2 + math.Floor(0.02*m.perMinute)
		ahead := max(m.tat, now)
		free = max(free, ahead+every-burst*every)
		places = min(places, (now-ahead)/every+burst)
	}
	return free, step, every, places
}

// Dialed says whether the host took the connection, at once if it did; see [Place.Dialed].
func (m *Model) Dialed(ok bool, at time.Time) {
	if ok {
		m.fails, m.shut = 0, 0
		return
	}
	m.fails++
	if over := m.fails - shutAfter; over >= 0 {
		pause := min(float64(shutMost.Milliseconds()), float64(shutFor.Milliseconds())*math.Pow(2, min(float64(over), 20)))
		m.shut = float64(at.UnixMilli()) + pause
	}
}

// Leave gives a place back, of a session that took so long.
func (m *Model) Leave(took time.Duration) {
	m.open--
	ms := float64(took.Milliseconds())
	if !m.known {
		m.took, m.known = ms, true
	}
	m.took = math.RoundToEven(0.9*m.took + 0.1*ms)
}

// thousandths rounds as the scripts do, who write three digits.
func thousandths(x float64) float64 {
	whole, part := math.Modf(x)
	return (whole*1000 + math.RoundToEven(part*1000)) / 1000
}

func millis(ms float64) time.Duration { return time.Duration(math.Ceil(ms)) * time.Millisecond }
