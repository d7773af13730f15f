package due

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// Claimed is an entry that is due, held by one planner until the lease ends.
type Claimed struct {
	Entry
	// Due is the time it was due at.
	Due time.Time
	// lease is the score that says the claim still stands, in milliseconds.
	lease string
}

// Turn is what a planner asks of its shards.
type Turn struct {
	// Planner is its name; Shards are those that it wants.
	Planner string
	Shards  []int
	// Limit is the most that is claimed of a shard, 1,000 at most.
	Limit int
	// Lease is how long nobody else gets what is claimed, Hold how long nobody else gets the shards.
	Lease, Hold time.Duration
}

// Claim takes due accounts of each shard that no other planner holds, the longest due first, and holds these shards. One
// round trip to Redis for all of them.
func (x *Index) Claim(ctx context.Context, t Turn) (claims []Claimed, held []int, err error) {
	args := make(map[int][]any, len(t.Shards))
	for _, s := range t.Shards {
		args[s] = []any{min(t.Limit, maxBatch), t.Lease.Milliseconds(), t.Planner, t.Hold.Milliseconds()}
	}
	var errs []error
	for s, c := range x.onEach(ctx, x.claim, args) {
		reply, err := c.Slice()
		if err != nil {
			errs = append(errs, err)
		}
		if len(reply) == 0 {
			continue
		}
		held = append(held, s)
		got, err := claimed(reply)
		claims, errs = append(claims, got...), append(errs, err)
	}
	slices.SortFunc(claims, func(a, b Claimed) int { return a.Due.Compare(b.Due) })
	return claims, held, fault.Wrap(fault.Internal, "due claim", errors.Join(errs...))
}

// claimed reads what the script answered of a shard; an entry that cannot be read keeps none of the others.
func claimed(reply []any) ([]Claimed, error) {
	if len(reply) == 1 { // nothing is due
		return nil, nil
	}
	if len(reply) != 5 {
		return nil, errors.New("a claim is cut short")
	}
	lease, _ := reply[0].(string)
	rows, _ := reply[1].([]any)
	raws, _ := reply[2].([]any)
	own, _ := reply[3].([]any)
	boosts, _ := reply[4].([]any)
	claims, errs := make([]Claimed, 0, len(raws)), []error(nil)
	for i, raw := range raws {
		entry, ok := raw.(string)
		if !ok || 2*i+1 >= len(rows) { // removed meanwhile
			continue
		}
		c, err := claim(rows[2*i], rows[2*i+1], entry, at(own, i), at(boosts, i))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.lease = lease
		claims = append(claims, c)
	}
	return claims, errors.Join(errs...)
}

// at is the text at a place of a list that may be empty, and have nothing there.
func at(list []any, i int) string {
	if i >= len(list) {
		return ""
	}
	s, _ := list[i].(string)
	return s
}

func claim(uid, due any, entry, text, boost string) (Claimed, error) {
	u, _ := uid.(string)
	d, _ := due.(string)
	e, err := decode(u, entry, text)
	if err != nil {
		return Claimed{}, err
	}
	ms, err := strconv.ParseFloat(d, 64)
	if err != nil {
		return Claimed{}, fmt.Errorf("due time of %s: %w", u, err)
	}
	if boost != "" {
		until, err := strconv.ParseFloat(boost, 64)
		if err != nil {
			return Claimed{}, fmt.Errorf("boost of %s: %w", u, err)
		}
		e.BoostedUntil = time.UnixMilli(int64(until))
	}
	return Claimed{Entry: e, Due: time.UnixMilli(int64(ms))}, nil
}

// Commit sets the next due time of claimed accounts; the zero time is never. A claim whose lease ended, or whose account was
// edited meanwhile, is passed over: another due time stands already.
func (x *Index) Commit(ctx context.Context, claims []Claimed, next func(Claimed) time.Time) error {
	b := batches{x: x, script: x.commit}
	for _, c := range claims {
		b.add(ctx, ShardOf(c.UID), c.UID, c.lease, millis(next(c)))
	}
	return fault.Wrap(fault.Internal, "due commit", b.flush(ctx))
}

// decode reads an entry: revision|active|interval s|not-before ms|kind|failures|since ms|last ms|domain|name.
// In front of the domain there is ~quiet| where the last runs found nothing.
// The scripts write it; name comes last because it may hold any character. text is as textOf takes it.
func decode(uid, raw, text string) (Entry, error) {
	f := strings.SplitN(raw, "|", 10)
	if len(f) != 10 {
		return Entry{}, fault.Errorf(fault.Internal, "due entry", "%q of account %s cannot be read", fault.Clean(raw), uid)
	}
	var n [8]int64
	for i := range n {
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return Entry{}, fault.Errorf(fault.Internal, "due entry", "%q of account %s cannot be read", fault.Clean(raw), uid)
		}
		n[i] = v
	}
	var quiet uint64
	if q, ok := strings.CutPrefix(f[8], "~"); ok {
		var err error
		domain, name, whole := strings.Cut(f[9], "|")
		if quiet, err = strconv.ParseUint(q, 10, 16); err != nil || !whole {
			return Entry{}, fault.Errorf(fault.Internal, "due entry", "%q of account %s cannot be read", fault.Clean(raw), uid)
		}
		f[8], f[9] = domain, name
	}
	return Entry{
		Schedule: textOf(text),
		UID:      uid, Domain: f[8], Name: f[9], Revision: uint64(n[0]), Active: n[1] == 1,
		Interval: time.Duration(n[2]) * time.Second,
		State: State{
			NotBefore: fromMillis(n[3]), Kind: fault.Kind(n[4]), Failures: int(n[5]),
			FailingSince: fromMillis(n[6]), LastRun: fromMillis(n[7]), Quiet: int(quiet),
		},
	}, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// textOf is the schedule of an account that has one: zone;entry;entry…
func textOf(text string) schedule.Text {
	zone, entries, ok := strings.Cut(text, ";")
	if !ok {
		return schedule.Text{}
	}
	return schedule.Text{Zone: zone, Entries: strings.Split(entries, ";")}
}
