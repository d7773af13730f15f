package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Pause says that nothing is fetched for an account for now, since its destination would not take it. A run that
// somebody asked for by hand need not heed it, nor one of an account that was edited since.
type Pause struct {
	// Kind and Reason say why, in a line of 300 octets at most.
	Kind   fault.Kind
	Reason string
	// Revision of the account at whose mail it was found out.
	Revision uint64
	// Until when; Index.Pause sets it.
	Until time.Time
}

// maxPauseReason bounds what is kept of a reason, in octets.
const maxPauseReason = 300

// Pause keeps it with the index of the account the lease is on, for d; the last one holds.
func (l *Ledger) Pause(ctx context.Context, le *Lease, p Pause, d time.Duration) error {
	reason := fault.Clean(p.Reason)
	what := fmt.Sprintf("%d %d %s", p.Kind, p.Revision, strings.ToValidUTF8(reason[:min(len(reason), maxPauseReason)], ""))
	_, err := follow("ledger pause", le, func(slot Slot) ([]any, error) {
		return l.run(ctx, "pause", slot.accountKeys(le.Account), d.Milliseconds(), what)
	})
	return err
}

// Resume ends the pause, and the deferral of each key that the index, as read last, has as deferred: they are new.
func (h *Hold) Resume(ctx context.Context) error {
	ix := h.Index()
	var deferred []any
	for raw := range ix.states {
		if ix.state(raw) == StateDeferred {
			deferred = append(deferred, raw)
		}
	}
	for {
		n := min(len(deferred), maxBatch)
		if _, err := h.run(ctx, "resume", deferred[:n]...); err != nil {
			return err
		}
		if deferred = deferred[n:]; len(deferred) == 0 {
			return nil
		}
	}
}

// Pause returns the pause that held when the index was read.
func (ix *Index) Pause() (Pause, bool) {
	f := strings.SplitN(ix.pause, " ", 4)
	if len(f) != 4 {
		return Pause{}, false
	}
	until, err1 := strconv.ParseInt(f[0], 10, 64)
	kind, err2 := strconv.ParseInt(f[1], 10, 32)
	revision, err3 := strconv.ParseUint(f[2], 10, 64)
	p := Pause{Kind: fault.Kind(kind), Reason: f[3], Revision: revision, Until: time.UnixMilli(until)}
	return p, err1 == nil && err2 == nil && err3 == nil && p.Until.After(ix.now)
}
