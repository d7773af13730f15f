package route

import (
	"slices"
	"strings"
	"time"
)

// Failure is an attempt to hand a message over that failed for now.
type Failure struct {
	At     time.Time `json:"t"`
	Kind   string    `json:"k"` // of the fault
	Reason string    `json:"r"`
}

// maxFailures bounds what is kept of the history of a message.
const maxFailures = 8

// Fail adds to the history of a message.
func (r *Route) Fail(at time.Time, kind, reason string) {
	if len(r.Failures) == maxFailures {
		r.Failures = slices.Delete(slices.Clone(r.Failures), 1, 2)
	}
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	r.Failures = append(r.Failures, Failure{At: at.UTC().Truncate(time.Second), Kind: kind, Reason: reason})
	r.Failed++
}

// History returns a route that knows the failures of r and nothing else: where the message goes is still to be decided.
func (r Route) History() Route {
	return Route{Failures: r.Failures, Failed: r.Failed, Uncertain: r.Uncertain, Retried: r.Retried}
}

// Undecided says that the route knows no more than its history.
func (r Route) Undecided() bool { return len(r.Legs) == 0 && r.Discarded == "" }
