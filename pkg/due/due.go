// Package due is the due index: when each account is to be run next, and what its last runs came to.
//
// It lives in Redis, in 64 shards, each a sorted set of due times and a hash of entries under one hash
// tag. Planners claim what is due in batches under a lease, emit jobs, and commit the next due times
// once the queue has confirmed the jobs; a planner that dies in between delays its batch by the
// lease. Workers settle runs here: the verdict, the failures in a row and the time before which a
// retry is useless. Everything but the verdicts can be rebuilt from the directory; an entry carries
// the revision it was made from, and an older one loses. Time is that of Redis.
package due

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/redis/go-redis/v9"
)

// Shards is the number of shards. It never changes: the shard is part of the key names.
const Shards = 64

// ErrNotFound says that the index has no entry of an account.
var ErrNotFound = errors.New("not in the due index")

// Entry is what planning knows of one account.
type Entry struct {
	UID, Domain, Name string
	// Revision of the account in the directory that the entry was made from.
	Revision uint64
	// Interval of the account, 0 for Schedule.
	Interval time.Duration
	// Schedule of the account; without entries, that of its domain or the global one.
	Schedule schedule.Text
	// Active accounts are due at times; others keep their entry and are never due.
	Active bool
	// State is what runs wrote.
	State
}

// State is what the runs of an account came to.
type State struct {
	// NotBefore is the time before which a scheduled run is useless; zero if none.
	NotBefore time.Time
	// Kind of the last run's fault.
	Kind fault.Kind
	// Failures in a row, and since when.
	Failures     int
	FailingSince time.Time
	// LastRun is when the last run ended.
	LastRun time.Time
	// Quiet is how many scheduled runs in a row found nothing, 99 at most: adaptive schedules go by it. An edit of the account
	// sets it to 0.
	Quiet int
	// BoostedUntil is until when the owner waits for a message; zero, or past, if nobody does.
	BoostedUntil time.Time
}

// Index is the due index.
type Index struct {
	rdb redis.UniversalClient

	put, remove, claim, commit, settle, move, join, letGo, boost, replan *redis.Script
}

// New returns the due index in rdb.
func New(rdb redis.UniversalClient) *Index {
	return &Index{
		rdb: rdb, put: script("put"), remove: script("remove"), claim: script("claim"), commit: script("commit"), settle: script("settle"), move: script("move"),
		join: script("join"), letGo: script("letgo"), boost: script("boost"), replan: script("replan"),
	}
}

// ShardOf returns the shard of an account, 0 to Shards-1.
func ShardOf(uid string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return int(h.Sum32() % Shards)
}

// Planned is an entry and when it is due: the zero time for never.
type Planned struct {
	Entry
	Next time.Time
}

// Put writes what the directory says of an account. next is the due time of one that is new, became
// active or was edited, the zero time for never; the same revision again keeps the due time there is, and an older one changes
// nothing. An edit forgives: it clears the failures, and an account whose last run did not end well is due at once.
func (x *Index) Put(ctx context.Context, e Entry, next time.Time) error {
	return x.PutAll(ctx, []Planned{{e, next}})
}

// PutAll is Put of many, in one round trip for each thousand of a shard. Of an account that is there twice the newer one
// holds.
func (x *Index) PutAll(ctx context.Context, all []Planned) error {
	newest := make(map[string]int, len(all))
	for i, e := range all {
		if was, ok := newest[e.UID]; !ok || all[was].Revision <= e.Revision {
			newest[e.UID] = i
		}
	}
	b := batches{x: x, script: x.put}
	for i, e := range all {
		if newest[e.UID] == i {
			b.add(ctx, ShardOf(e.UID), putArgs(e)...)
		}
	}
	return fault.Wrap(fault.Internal, "due put", b.flush(ctx))
}

func putArgs(e Planned) []any {
	active, text := 0, ""
	if e.Active {
		active = 1
	}
	if len(e.Schedule.Entries) > 0 {
		text = e.Schedule.Zone + ";" + strings.Join(e.Schedule.Entries, ";")
	}
	return []any{e.UID, e.Revision, active, int64(e.Interval / time.Second), e.Domain, e.Name, millis(e.Next), text}
}

// Remove forgets deleted accounts.
func (x *Index) Remove(ctx context.Context, uids ...string) error {
	b := batches{x: x, script: x.remove}
	for _, uid := range uids {
		b.add(ctx, ShardOf(uid), uid)
	}
	return fault.Wrap(fault.Internal, "due remove", b.flush(ctx))
}

// Settled is what an account has come to after a run.
type Settled struct {
	// Failures in a row, and since when.
	Failures     int
	FailingSince time.Time
	// Told is what [Index.SetTold] was called with last, "" if it never was.
	Told string
	// WasQuiet is [State.Quiet] before this run.
	WasQuiet int
}

// Ended is how a run ended.
type Ended struct {
	Kind fault.Kind
	// NotBefore is the time before which a scheduled run is useless; zero if none.
	NotBefore time.Time
	At        time.Time
	// Found says whether there was mail.
	Found Found
}

// Found says whether a run found mail.
type Found string

// What a run found.
const (
	// Unknown: it did not get to know, or is no measure of how much mail there is. State.Quiet stays as it is.
	Unknown Found = ""
	Nothing Found = "none"
	Mail    Found = "some"
)

// Settle records how a run of the account ended. A failure that counts raises Failures; the
// next scheduled run is put off to NotBefore where that is later than what was planned. An account that
// has no entry is passed over.
func (x *Index) Settle(ctx context.Context, uid string, e Ended) (Settled, error) {
	counts := 0
	if e.Kind.Verdict().Counts && e.Kind != fault.None {
		counts = 1
	}
	clears := 0
	if e.Kind == fault.None {
		clears = 1
	}
	const op = "due settle"
	out, err := x.on(ctx, x.settle, ShardOf(uid), uid, int(e.Kind), counts, clears, millis(e.NotBefore), millis(e.At), string(e.Found)).StringSlice()
	if err != nil || len(out) != 4 {
		return Settled{}, fault.Wrap(fault.Internal, op, err)
	}
	fails, err1 := strconv.Atoi(out[0])
	since, err2 := strconv.ParseInt(out[1], 10, 64)
	quiet, err3 := strconv.Atoi(out[3])
	return Settled{Failures: fails, FailingSince: fromMillis(since), Told: out[2], WasQuiet: quiet}, fault.Wrap(fault.Internal, op, errors.Join(err1, err2, err3))
}

// SetTold keeps what the owner of an account was told of it; the word is the caller's own. Unlike the failures it outlives
// an edit.
func (x *Index) SetTold(ctx context.Context, uid, told string) error {
	k := keys(ShardOf(uid))[2]
	if told == "" {
		return fault.Wrap(fault.Internal, "due told", x.rdb.HDel(ctx, k, uid).Err())
	}
	return fault.Wrap(fault.Internal, "due told", x.rdb.HSet(ctx, k, uid, told).Err())
}

// Hasten makes the next scheduled run of the account due at the time at, unless it is due before. An account
// that has no entry, or whose run is due at no time, is passed over.
func (x *Index) Hasten(ctx context.Context, uid string, at time.Time) error {
	err := x.rdb.ZAddArgs(ctx, keys(ShardOf(uid))[0], redis.ZAddArgs{
		XX: true, LT: true, Members: []redis.Z{{Score: float64(millis(at)), Member: uid}},
	}).Err()
	return fault.Wrap(fault.Internal, "due hasten", err)
}

// Move sets when the next scheduled run of the account is due. It is false, and changes nothing, where the account was
// edited since the revision or is not active any more; an account that has no entry is passed over.
func (x *Index) Move(ctx context.Context, uid string, revision uint64, at time.Time) (bool, error) {
	n, err := x.on(ctx, x.move, ShardOf(uid), uid, revision, millis(at)).Int()
	return err == nil && n == 1, fault.Wrap(fault.Internal, "due move", err)
}

// Get returns the entry of an account and when it is due: the zero time if never. It returns [ErrNotFound].
func (x *Index) Get(ctx context.Context, uid string) (Entry, time.Time, error) {
	k := keys(ShardOf(uid))
	p := x.rdb.Pipeline()
	raw, at, text, boost := p.HGet(ctx, k[1], uid), p.ZScore(ctx, k[0], uid), p.HGet(ctx, k[3], uid), p.ZScore(ctx, k[6], uid)
	_, _ = p.Exec(ctx)
	if err := raw.Err(); err != nil {
		if errors.Is(err, redis.Nil) {
			return Entry{}, time.Time{}, ErrNotFound
		}
		return Entry{}, time.Time{}, fault.Wrap(fault.Internal, "due get", err)
	}
	e, err := decode(uid, raw.Val(), text.Val())
	if err != nil {
		return Entry{}, time.Time{}, err
	}
	e.BoostedUntil = fromMillis(int64(boost.Val()))
	if at.Err() != nil {
		return e, time.Time{}, nil
	}
	return e, time.UnixMilli(int64(at.Val())), nil
}

// Ping says whether Redis answers.
func (x *Index) Ping(ctx context.Context) error {
	return fault.Wrap(fault.Internal, "redis", x.rdb.Ping(ctx).Err())
}
