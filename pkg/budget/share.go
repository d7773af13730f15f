package budget

import (
	"sync"
	"time"
)

// Shares parts the slots of one worker among domains when they are short. A domain that has its share, by its weight, of
// those that want slots gets no more while few are left: these are for the others, who find one without waiting for a run
// of it to end. Slots that nobody else wants are anyone's, down to the few. Where one domain alone has come of late there
// is nothing to part.
//
// Nothing is shared between workers: each takes jobs of the one queue, so that what holds at each holds over all.
type Shares struct {
	slots, spare int

	mu      sync.Mutex
	running int
	took    time.Duration // how long runs last, of late
	busy    map[string]*tenant
	recent  [2]came // the domain that came last, and the last one other than that
}

// tenant is a domain that has runs, or was sent away a moment ago.
type tenant struct {
	weight  float64
	running int
	wants   time.Time // until then it counts as one that wants slots
	last    time.Time // when the last of its accounts that was sent away comes again
}

type came struct {
	domain string
	at     time.Time
}

const (
	// fewest slots that are parted at all.
	fewest = 4
	// alone is how long a domain has to itself what another has not asked for.
	alone = time.Hour
	// wanting is how long a domain that was sent away counts as one that wants slots.
	wanting = 5 * time.Second
	// The first and the last time to come again.
	soonest, latest = time.Second, time.Minute
)

// NewShares parts so many slots.
func NewShares(slots int) *Shares {
	return &Shares{slots: slots, spare: (slots + 7) / 8, took: time.Second, busy: map[string]*tenant{}}
}

// Enter takes a slot for a run of the domain and says that it did; or else, when to come again. A weight below 1 is 1.
func (s *Shares) Enter(domain string, weight int, now time.Time) (ok bool, again time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.busy[domain]
	if t == nil {
		t = &tenant{}
		s.busy[domain] = t
	}
	t.weight = float64(max(weight, 1))
	others := s.others(domain, now)
	if s.slots < fewest || !others || s.running < s.slots-s.spare || float64(t.running+1) <= s.share(t, now) {
		t.running++
		s.running++
		return true, 0
	}
	t.wants = now.Add(wanting)
	// Twice as many come as slots are likely to fall free, spread over the time.
	step := s.took / time.Duration(2*max(t.running, 1))
	if t.last = t.last.Add(step); t.last.Before(now.Add(soonest)) || t.last.After(now.Add(latest)) {
		t.last = now.Add(soonest)
	}
	return false, t.last.Sub(now)
}

// others says that another domain has come of late.
func (s *Shares) others(domain string, now time.Time) bool {
	if s.recent[0].domain != domain {
		s.recent[1] = s.recent[0]
	}
	s.recent[0] = came{domain, now}
	return s.recent[1].domain != "" && now.Sub(s.recent[1].at) < alone
}

// share is how many slots the domain may have when all are wanted, but for the few: at least one.
func (s *Shares) share(t *tenant, now time.Time) float64 {
	all := t.weight
	for name, other := range s.busy {
		switch {
		case other == t:
		case other.running > 0 || other.wants.After(now):
			all += other.weight
		default:
			delete(s.busy, name)
		}
	}
	return max(1, float64(s.slots-s.spare)*t.weight/all)
}

// Leave gives the slot back, of a run that took so long.
func (s *Shares) Leave(domain string, took time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = (9*s.took + took) / 10
	s.running--
	if t := s.busy[domain]; t != nil {
		if t.running--; t.running <= 0 && !t.wants.After(now) {
			delete(s.busy, domain)
		}
	}
}
