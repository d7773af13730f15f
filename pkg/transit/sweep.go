package transit

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// defaultSweepAge is how old a body is at least before it is swept.
const defaultSweepAge = time.Hour

// SweepBodies removes the bodies whose key neither TRANSIT nor DEAD holds, and whose last chunk is
// older than olderThan; an hour where that is not positive. It returns how many it removed.
func (t *Transit) SweepBodies(ctx context.Context, olderThan time.Duration) (int, error) {
	if olderThan <= 0 {
		olderThan = defaultSweepAge
	}
	n, err := t.sweep(ctx, time.Now().Add(-olderThan))
	return n, failure("transit sweep", err)
}

func (t *Transit) sweep(ctx context.Context, before time.Time) (removed int, err error) {
	bodies, err := t.bodyNames(ctx, chunkPrefix+">")
	if err != nil {
		return 0, err
	}
	old := map[string][]bodyRef{}
	for _, b := range bodies {
		if b.begun.Before(before) {
			old[b.uid] = append(old[b.uid], b)
		}
	}
	for uid, bodies := range old {
		n, err := t.sweepAccount(ctx, uid, bodies, before)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// sweepAccount removes what nothing refers to. A key moves from TRANSIT to DEAD and back, and is for a
// moment in both: TRANSIT is asked before and after DEAD.
func (t *Transit) sweepAccount(ctx context.Context, uid string, bodies []bodyRef, before time.Time) (removed int, err error) {
	wanted := map[string]bool{}
	for _, ask := range []struct{ stream, filter string }{
		{transitStream, mailOfAccount(uid)},
		{deadStream, deadPrefix + uid + ".>"},
		{transitStream, mailOfAccount(uid)},
		{deadStream, deadPrefix + uid + ".>"},
	} {
		subjects, err := t.subjects(ctx, ask.stream, ask.filter)
		if err != nil && !isCode(err, jetstream.JSErrCodeStreamNotFound) {
			return 0, err
		}
		for s := range subjects {
			for _, key := range keysOf(s) {
				wanted[key] = true
			}
		}
	}
	for _, b := range bodies {
		if wanted[b.key] {
			continue
		}
		young, err := t.youngerThan(ctx, b.name, before)
		if err != nil {
			return removed, err
		}
		if young {
			continue
		}
		if err := t.removeBody(ctx, b.name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// youngerThan reports whether the last chunk of a body was stored after the time: a slow fetch may
// still be at work.
func (t *Transit) youngerThan(ctx context.Context, name string, before time.Time) (young bool, err error) {
	d, err := t.newDirectReader(bodiesStream)
	if err != nil {
		return false, err
	}
	defer d.close()
	err = d.get(ctx, directRequest{Last: chunkSubject(name)}, func(s stored) error {
		young = !s.at.Before(before)
		return nil
	})
	return young, err
}

// bodyNames returns the bodies of which there are chunks under the filter; a bucket that is not there
// has none. What bears no name of ours is left alone.
func (t *Transit) bodyNames(ctx context.Context, filter string) ([]bodyRef, error) {
	subjects, err := t.subjects(ctx, bodiesStream, filter)
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var bodies []bodyRef
	for s := range subjects {
		if b, ok := parseBodyName(strings.TrimPrefix(s, chunkPrefix)); ok {
			bodies = append(bodies, b)
		}
	}
	return bodies, nil
}
