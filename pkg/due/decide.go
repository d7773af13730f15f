package due

import (
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// The decisions of the scripts about one account, in Go: a simulation goes by them, and a test holds the scripts against
// them on random input.

// maxQuiet bounds [State.Quiet].
const maxQuiet = 99

// Settle is what [Index.Settle] makes of an account.
func (p *Planned) Settle(e Ended) {
	p.NotBefore, p.Kind, p.LastRun = e.NotBefore, e.Kind, e.At
	switch e.Found {
	case Mail:
		p.Quiet = 0
	case Nothing:
		p.Quiet = min(p.Quiet+1, maxQuiet)
	case Unknown:
	}
	switch {
	case e.Kind == fault.None:
		p.Failures, p.FailingSince = 0, time.Time{}
	case e.Kind.Verdict().Counts:
		if p.Failures++; p.FailingSince.IsZero() {
			p.FailingSince = e.At
		}
	}
	if !p.Next.IsZero() && p.Next.Before(e.NotBefore) {
		p.Next = e.NotBefore
	}
}

// Hasten is what [Index.Hasten] makes of an account.
func (p *Planned) Hasten(at time.Time) {
	if !p.Next.IsZero() && at.Before(p.Next) {
		p.Next = at
	}
}

// Move is what [Index.Move] makes of an account.
func (p *Planned) Move(revision uint64, at time.Time) bool {
	if p.Revision > revision || !p.Active {
		return false
	}
	if !p.Next.IsZero() {
		p.Next = at
	}
	return true
}
