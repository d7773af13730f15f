package directory

import (
	"fmt"
	"math"

	"github.com/mailferry/mailferry/pkg/account"
)

// Caps bound what the accounts of one domain do over the whole fleet: runs at a time, runs that begin in a minute, how
// many accounts there are, and octets that are fetched in a day (UTC). Of a domain 0 is what the settings say and -1 not bounded; of
// the settings 0 is not bounded.
type Caps struct {
	Runs, JobsPerMinute, Accounts int
	OctetsPerDay                  int64
}

// Or returns the caps that hold where those of the settings are s; 0 bounds nothing.
func (c Caps) Or(s Caps) Caps {
	return Caps{
		Runs: or(c.Runs, s.Runs), JobsPerMinute: or(c.JobsPerMinute, s.JobsPerMinute), Accounts: or(c.Accounts, s.Accounts),
		OctetsPerDay: or(c.OctetsPerDay, s.OctetsPerDay),
	}
}

func or[N int | int64](own, settings N) N {
	if own == 0 {
		own = settings
	}
	return max(own, 0)
}

// Validate returns an *[account.Error] of the first field that is out of bounds; least is 0, or -1 for those of a domain.
func (c Caps) Validate(least int) error {
	for _, f := range []struct {
		name string
		n    int64
		most int64
	}{
		{"max_runs", int64(c.Runs), math.MaxInt32},
		{"max_jobs_per_minute", int64(c.JobsPerMinute), maxJobs},
		{"max_accounts", int64(c.Accounts), math.MaxInt32},
		{"max_octets_per_day", c.OctetsPerDay, maxOctets},
	} {
		if f.n < int64(least) || f.n > f.most {
			return &account.Error{Field: f.name, Reason: "want a number from 0, which is " + map[int]string{0: "none", -1: "as the settings say, or -1 for none"}[least]}
		}
	}
	return nil
}

// maxWeight bounds the weight of a domain.
const maxWeight = 1000

// ValidateCaps returns an *[account.Error] if the weight or a cap of the domain is out of bounds.
func (d Domain) ValidateCaps() error {
	if d.Weight < 0 || d.Weight > maxWeight {
		return &account.Error{Field: "weight", Reason: fmt.Sprintf("want 1 to %d, or 0 for 1", maxWeight)}
	}
	return d.Caps.Validate(-1)
}

// maxOctets a day is more than any fleet fetches, and Redis counts so far without loss.
const maxOctets = 1 << 52

// maxJobs a minute is more than any fleet does: a rate is kept in milliseconds.
const maxJobs = 1_000_000

// CapsFromProto returns the caps of a domain or of the settings.
func CapsFromProto(p interface {
	GetMaxRuns() int32
	GetMaxJobsPerMinute() int32
	GetMaxAccounts() int32
	GetMaxOctetsPerDay() int64
},
) Caps {
	return Caps{Runs: int(p.GetMaxRuns()), JobsPerMinute: int(p.GetMaxJobsPerMinute()), Accounts: int(p.GetMaxAccounts()), OctetsPerDay: p.GetMaxOctetsPerDay()}
}
