package simulate

import (
	"bytes"
	"fmt"
	"image/png"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
)

// world is a small configuration: one provider, with the budget.
func world(sessions, logins int, session Lengths) Config {
	return Config{
		Accounts: 6000, Domains: 1, Workers: 4, Slots: 58, Rate: 5000, Interval: 10 * time.Minute, Duration: 3 * time.Hour, Seed: 1,
		Providers: []Provider{{Name: "p", Share: 1, Hosts: 1, Sessions: &sessions, LoginsPerMinute: &logins, Session: session}},
	}
}

func run(t *testing.T, c Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sample(t *testing.T) []Provider {
	t.Helper()
	all, err := ReadProviders([]byte(Sample()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// near says that got is want, give or take so many percent.
func near(got, want, percent float64) bool {
	return got >= want*(1-percent/100) && got <= want*(1+percent/100)
}

// TestWithRoomNobodyIsLate has room for all: each turn begins at the tick after it is due.
func TestWithRoomNobodyIsLate(t *testing.T) {
	t.Parallel()
	c := Config{
		Accounts: 20_000, Domains: 500, Providers: sample(t), Workers: 10, Slots: 58, Rate: 5000, Interval: 5 * time.Minute, Duration: time.Hour, Seed: 7,
	}
	r := run(t, c)
	if tot := r.Total; tot.Missed != 0 || tot.MissedInARow != 0 || tot.Coalesced != 0 || !near(tot.P50.Seconds(), 0.125, 5) || tot.P99 > 251*time.Millisecond {
		t.Errorf("%+v", tot)
	}
	if n := float64(r.Total.Started); !near(n, 12*20_000, 1) { // failures put some turns off
		t.Errorf("%v sessions", n)
	}
	for _, p := range r.Providers {
		share := map[string]float64{"google": 0.4, "microsoft": 0.25, "yahoo": 0.15, "isps": 0.18, "slow": 0.02}[p.Name]
		if !near(float64(p.Accounts), 20_000*share, 10) {
			t.Errorf("%s has %d accounts", p.Name, p.Accounts)
		}
	}
}

// TestBudgetsHold has much less than the accounts ask for: there is never a session more than the budget, and never more than
// two logins above it in a minute, and the budget is used.
func TestBudgetsHold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sessions, logins int }{{10, 0}, {0, 120}, {10, 60}, {3, 6000}} {
		t.Run(fmt.Sprintf("%d sessions %d logins", tt.sessions, tt.logins), func(t *testing.T) {
			t.Parallel()
			c := world(tt.sessions, tt.logins, Lengths{2 * time.Second, 8 * time.Second})
			c.Accounts, c.Domains, c.Duration = 20_000, 300, time.Hour
			c.Providers[0].FaultPercent = 2
			p := run(t, c).Providers[0]
			if tt.sessions > 0 && p.MostOfHost > tt.sessions {
				t.Errorf("%d sessions at a time", p.MostOfHost)
			}
			if tt.logins > 0 && p.Logins > tt.logins+2 {
				t.Errorf("%d logins in a minute", p.Logins)
			}
			bySessions := tt.sessions > 0 && p.Busy >= time.Duration(0.85*float64(tt.sessions)*float64(time.Hour))
			byLogins := tt.logins > 0 && float64(p.Started) >= 0.9*60*float64(tt.logins)
			if !bySessions && !byLogins {
				t.Errorf("the budget is not used: %+v", p)
			}
		})
	}
}

// TestHalfTheSessionsIsTwiceTheWait has a provider that allows too little. By Little's law S sessions of L at a time are S/L of them in a
// second, so that each of N accounts is run once in P = N L / S instead of the interval I. Its turn is due at any time within I after
// its last session: half of the waits are longer than P - I/2. Nobody spins: a session costs a few jobs.
func TestHalfTheSessionsIsTwiceTheWait(t *testing.T) {
	t.Parallel()
	const length = 2 * time.Second
	for _, sessions := range []int{10, 5} {
		c := world(sessions, 0, Lengths{length, length})
		c.Duration = 4 * time.Hour
		r := run(t, c)
		period := time.Duration(c.Accounts) * length / time.Duration(sessions)
		var waits, started float64
		last := r.Minutes[len(r.Minutes)-120:] // it has settled
		for _, m := range last {
			waits += m.P50.Seconds() / float64(len(last))
			started += float64(m.Started) / 60 / float64(len(last))
		}
		if want := float64(sessions) / length.Seconds(); !near(started, want, 2) {
			t.Errorf("%d sessions: %.2f begin in a second, want %.2f", sessions, started, want)
		}
		if want := (period - c.Interval/2).Seconds(); !near(waits, want, 10) {
			t.Errorf("%d sessions: half wait %.0f s, want %.0f", sessions, waits, want)
		}
		if r.Total.Refused > 12*r.Total.Started {
			t.Errorf("%d sessions: %d jobs for %d", sessions, r.Total.Emitted, r.Total.Started)
		}
	}
}

// TestLoginsBound has a provider that allows half of the logins that are asked for.
func TestLoginsBound(t *testing.T) {
	t.Parallel()
	c := world(0, 300, Lengths{time.Second, time.Second})
	c.Duration = time.Hour
	r := run(t, c)
	if n := float64(r.Total.Started) / r.Config.Duration.Minutes(); !near(n, 0.98*300, 4) {
		t.Errorf("%.0f logins a minute", n)
	}
}

// TestAdaptiveGoesToItsLongest has nobody who gets mail, and then everybody.
func TestAdaptiveGoesToItsLongest(t *testing.T) {
	t.Parallel()
	for mail, want := range map[float64]float64{0: 1, 100: 60} { // sessions of an account in the last hour
		c := world(0, 0, Lengths{100 * time.Millisecond, 0})
		c.Providers[0].Session.P95 = c.Providers[0].Session.P50
		c.Accounts, c.Schedule, c.Duration = 2000, schedule.Text{Entries: []string{"adaptive 1m..1h"}}, 5*time.Hour
		c.Providers[0].MailPercent = mail
		var n float64
		r := run(t, c)
		for _, m := range r.Minutes[len(r.Minutes)-60:] {
			n += float64(m.Started)
		}
		if !near(n/2000, want, 2) {
			t.Errorf("%v%% find mail: %.2f sessions of an account in an hour", mail, n/2000)
		}
	}
}

// TestAnOutageIsProbedAndEnds has a host that takes no connection for an hour.
func TestAnOutageIsProbedAndEnds(t *testing.T) {
	t.Parallel()
	for _, how := range []string{outageRefused, outageTimeout} {
		c := world(200, 6000, Lengths{time.Second, time.Second})
		c.Domains = 500
		c.Providers[0].Outages = []Outage{{From: time.Hour, To: 2 * time.Hour, Fault: how}}
		r := run(t, c)
		var out, after int
		for i, m := range r.Minutes {
			switch {
			case i >= 70 && i < 120:
				out += m.Started
			case i >= 150:
				after += m.Started
				if m.P99 > time.Second || m.InLine[0] > 0 {
					t.Errorf("%s: in minute %d, %d still stand in line, p99 %v", how, i, m.InLine[0], m.P99)
				}
			}
		}
		if n := r.Total.Refused; n > 30*c.Accounts {
			t.Errorf("%s: %d jobs found no place in an hour", how, n)
		}
		if out == 0 || out > 60 {
			t.Errorf("%s: %d sessions try, of 30,000 that there are else", how, out)
		}
		if !near(float64(after), 30*600, 5) || r.Total.Unserved > 20 {
			t.Errorf("%s: %d sessions when it is over, %+v", how, after, r.Total)
		}
	}
}

// TestTheSameSeedIsTheSameOutcome compares the files.
func TestTheSameSeedIsTheSameOutcome(t *testing.T) {
	t.Parallel()
	c := Config{
		Accounts: 20_000, Domains: 500, Providers: sample(t), Workers: 1, Slots: 58, Rate: 5000, Interval: 5 * time.Minute, Duration: 20 * time.Minute, Seed: 3,
	}
	write := func(c Config) string {
		var b bytes.Buffer
		r := run(t, c)
		if err := r.WriteCSV(&b); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteSummary(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one := write(c)
	if two := write(c); one != two {
		t.Errorf("another outcome:\n%s\n%s", one, two)
	}
	if c.Seed++; one == write(c) {
		t.Error("another seed, the same outcome")
	}
}

func TestTheImageHasItsSize(t *testing.T) {
	t.Parallel()
	c := world(10, 60, Lengths{time.Second, time.Second})
	c.Duration = 10 * time.Minute
	var b bytes.Buffer
	if err := run(t, c).WritePNG(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil || img.Bounds().Dx() != 1440 || img.Bounds().Dy() != 1056 {
		t.Errorf("%v %v", img.Bounds(), err)
	}
}
