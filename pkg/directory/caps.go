package directory

import (
	"fmt"
	"math"

	"github.com/mailferry/mailferry/pkg/account"
)

// Caps bound what the accounts of one domain do over the whole fleet: runs at a time, runs that begin in a minute, and how
// many accounts there are. Of a domain 0 is what the settings say and -1 not bounded; of
// the settings 0 is not bounded.
type Caps struct {
	Runs, JobsPerMinute, Accounts int
}

// Or returns the caps that hold where those of the settings are s; 0 bounds nothing.
func (c Caps) Or(s Caps) Caps {
	return Caps{Runs: or(c.Runs, s.Runs), JobsPerMinute: or(c.JobsPerMinute, s.JobsPerMinute), Accounts: or(c.Accounts, s.Accounts)}
}

func or(own, settings int) int {
	if own == 0 {
		own = settings
	}
	return max(own, 0)
}

// Validate returns an *[account.Error] of the first field that is out of bounds; least is 0, or -1 for those of a domain.
func (c Caps) Validate(least int) error {
	for _, f := range []struct {
		name string
		n    int
		most int
	}{
		{"max_runs", c.Runs, math.MaxInt32},
		{"max_jobs_per_minute", c.JobsPerMinute, maxJobs},
		{"max_accounts", c.Accounts, math.MaxInt32},
	} {
		if f.n < least || f.n > f.most {
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

// maxJobs a minute is more than any fleet does: a rate is kept in milliseconds.
const maxJobs = 1_000_000

// CapsFromProto returns the caps of a domain or of the settings.
func CapsFromProto(p interface {
	GetMaxRuns() int32
	GetMaxJobsPerMinute() int32
	GetMaxAccounts() int32
},
) Caps {
	return Caps{Runs: int(p.GetMaxRuns()), JobsPerMinute: int(p.GetMaxJobsPerMinute()), Accounts: int(p.GetMaxAccounts())}
}
