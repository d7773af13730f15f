// Package simulate plays the planning of a fleet on a virtual clock, with no servers and no sockets: a million accounts
// for a day in minutes.
//
// What decides is the code that decides in production: schedules and their spread (pkg/schedule), planners
// (services/planner, Turns), the budgets of remote hosts and the shares of domains (pkg/budget), verdicts and back-off (pkg/fault,
// pkg/due). What is played is what these stand between: how long sessions take, which of them find mail or break, and
// when a provider is out. All chance comes from a hash of the seed: the same configuration gives the same outcome.
//
// A job costs no time on its way to a worker, a planner or a worker never dies, and there are no manual triggers.
package simulate

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/services/planner"
)

// Config says what is simulated.
type Config struct {
	Accounts, Domains int
	Providers         []Provider
	// Workers there are, and the slots of each for scheduled jobs.
	Workers, Slots int
	// Rate is the most jobs that planners emit in a second.
	Rate int
	// Interval of all accounts, or their Schedule where it has entries.
	Interval time.Duration
	Schedule schedule.Text
	Duration time.Duration
	// Seed makes another world of the same kind.
	Seed uint64
}

// Bounds of a simulation.
const (
	MaxAccounts = 20_000_000
	MaxDomains  = 1_000_000
	MaxWorkers  = 5000
	MaxSlots    = 10_000
	MaxDuration = 7 * 24 * time.Hour
)

// Validate says what of it cannot be simulated.
func (c Config) Validate() error {
	const op = "simulate"
	switch {
	case c.Accounts < 1 || c.Accounts > MaxAccounts:
		return fault.Errorf(fault.Policy, op, "want 1 to %d accounts", MaxAccounts)
	case c.Domains < 1 || c.Domains > MaxDomains:
		return fault.Errorf(fault.Policy, op, "want 1 to %d domains", MaxDomains)
	case c.Workers < 1 || c.Workers > MaxWorkers || c.Slots < 1 || c.Slots > MaxSlots:
		return fault.Errorf(fault.Policy, op, "want 1 to %d workers of 1 to %d slots", MaxWorkers, MaxSlots)
	case c.Duration < time.Minute || c.Duration > MaxDuration || c.Duration%time.Minute != 0:
		return fault.Errorf(fault.Policy, op, "want a duration of whole minutes, up to %v", MaxDuration)
	case c.Rate < 1:
		return fault.Errorf(fault.Policy, op, "want a rate of planners above 0")
	case len(c.Providers) == 0:
		return fault.Errorf(fault.Policy, op, "want providers")
	case len(c.Schedule.Entries) == 0 && (c.Interval < time.Minute || c.Interval > MaxDuration):
		return fault.Errorf(fault.Policy, op, "want an interval of a minute to a week")
	}
	return fault.Wrap(fault.Policy, op, c.Schedule.Validate())
}

// refusal is how long a worker takes to find out that there is no place for a run.
const refusal = 5 * time.Millisecond

// sim is a simulation that goes on.
type sim struct {
	cfg   Config
	turns *planner.Turns
	// adaptive is the schedule of the accounts, if they have one.
	adaptive schedule.Schedule
	epoch    time.Time // 0 of the virtual clock
	wheel    *wheel
	accts    []acct
	domains  []string
	places   []place
	hosts    []*site
	workers  []*budget.Shares
	free     ring // the worker of each free slot, the one that is free longest first
	queue    ring // accounts whose jobs wait
	ends     ends
	claims   []uint32 // of a tick
	minute   Minute
	minutes  []Minute
	total    Total
	// Waits of the minute, and of all.
	lags, all lags
}

// place is a provider.
type place struct {
	*Provider
	index   int
	lengths [lengths]uint32 // ms
	open    int
	minute  int // sessions that began in it
	lags    lags
	total   ProviderTotal
}

// site is a host, or a source address, that has a budget.
type site struct {
	*budget.Model
	place *place
	most  int
}

// start is the first minute of the virtual clock: a Thursday in winter.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// first is when the simulation begins on the virtual clock, in ms: 0 means never.
const first = 1000

func newSim(cfg Config) (*sim, error) {
	s := &sim{cfg: cfg, epoch: start.Add(-first * time.Millisecond)}
	var err error
	if s.adaptive, err = schedule.Parse(cfg.Schedule.Entries, cfg.Schedule.Zone); err != nil {
		return nil, err
	}
	s.turns = planner.NewTurns(directory.Settings{Interval: cfg.Interval, Schedule: cfg.Schedule}, planner.Config{Rate: cfg.Rate}, start)
	for range cfg.Workers {
		s.workers = append(s.workers, budget.NewShares(cfg.Slots))
	}
	for range cfg.Slots { // one of each worker after the other
		for w := range cfg.Workers {
			s.free.push(uint32(w))
		}
	}
	s.places = make([]place, len(cfg.Providers))
	for i := range s.places {
		p := &s.places[i]
		p.Provider, p.index, p.lengths = &cfg.Providers[i], i, cfg.Providers[i].table()
		p.total.Name = p.Name
		for range p.Hosts {
			s.hosts = append(s.hosts, &site{Model: budget.NewModel(p.limit()), place: p})
		}
	}
	return s, nil
}

// Run simulates. progress, if it is not nil, is called after each virtual minute.
func Run(ctx context.Context, cfg Config, progress func(Minute)) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s, err := newSim(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.populate(ctx); err != nil {
		return nil, err
	}
	s.minute = s.newMinute()
	tick := uint32(s.turns.Tick().Milliseconds())
	last := first + uint32(cfg.Duration.Milliseconds())
	for now := first/tick*tick + tick; now <= last; now += tick {
		s.finishUntil(now)
		s.minute.Due += s.wheel.turn()
		s.emit(now)
		s.serve(now)
		if s.minute.waits(s.queue.size); (now-first)%60_000 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s.closeMinute()
			if progress != nil {
				progress(s.minutes[len(s.minutes)-1])
			}
		}
	}
	return s.result(last), nil
}

func (s *sim) time(ms uint32) time.Time { return s.epoch.Add(time.Duration(ms) * time.Millisecond) }

// ms is a time of the virtual clock, 0 for none. One that is behind its end is as good as never.
func (s *sim) ms(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Sub(s.epoch).Milliseconds(), 1), math.MaxUint32))
}

// mix is a hash of numbers, as splitmix64 makes one.
func mix(a, b uint64) uint64 {
	x := a + b*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// uid of an account.
func (s *sim) uid(i uint32) string {
	var b [16]byte
	return string(strconv.AppendUint(b[:0], mix(s.cfg.Seed, uint64(i)), 36))
}

// planned is what the due index knows of an account.
func (s *sim) planned(i uint32, uid string) due.Planned {
	a := &s.accts[i]
	p := due.Planned{Entry: due.Entry{UID: uid, Domain: s.domains[a.domain], Revision: 1, Active: true}, Next: s.timeOrZero(a.at)}
	p.State = due.State{NotBefore: s.timeOrZero(a.notBefore), Kind: a.kindOf(), Failures: int(a.failures), Quiet: int(a.quiet)}
	if a.failures > 0 {
		p.FailingSince = s.epoch
	}
	return p
}

func (s *sim) timeOrZero(ms uint32) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return s.time(ms)
}

// keep writes what was decided of an account.
func (s *sim) keep(i uint32, p *due.Planned) {
	a := &s.accts[i]
	a.notBefore, a.kind, a.failures, a.quiet = s.ms(p.NotBefore), uint8(p.Kind), uint8(min(p.Failures, math.MaxUint8)), uint8(p.Quiet)
	if at := s.ms(p.Next); at != a.at {
		s.wheel.set(i, at)
	}
}

// dialLimit is how long a worker waits for a host that does not answer.
var dialLimit = uint32(remote.Limits{}.WithDefaults().Dial.Milliseconds())
