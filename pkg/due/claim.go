package due

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/redis/go-redis/v9"
)

// Claimed is an entry that is due, held by one planner until the lease ends.
type Claimed struct {
	Entry
	// Due is the time it was due at.
	Due time.Time
	// lease is the score that says the claim still stands, in milliseconds.
	lease string
}

// Claim takes up to limit due accounts of each shard, for the length of the lease: nobody else gets
// them before it ends. One round trip to Redis for all shards.
func (x *Index) Claim(ctx context.Context, shards []int, limit int, lease time.Duration) ([]Claimed, error) {
	cmds := make([]*redis.Cmd, len(shards))
	ask := func(c redis.Scripter) {
		for i, s := range shards {
			cmds[i] = redis.NewScript(claimLua).EvalSha(ctx, c, keys(s), limit, lease.Milliseconds())
		}
	}
	p := x.rdb.Pipeline()
	ask(p)
	if _, err := p.Exec(ctx); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		for i, s := range shards {
			cmds[i] = run(ctx, x.rdb, claimLua, s, limit, lease.Milliseconds())
		}
	}
	var out []Claimed
	var errs []error
	for _, c := range cmds {
		rows, err := c.Slice()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := 0; i+4 < len(rows); i += 5 {
			cl, err := claimed(rows[i : i+5])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = append(out, cl)
		}
	}
	return out, fault.Wrap(fault.Internal, "due claim", errors.Join(errs...))
}

func claimed(row []any) (Claimed, error) {
	uid, _ := row[0].(string)
	raw, _ := row[1].(string)
	at, _ := row[2].(string)
	lease, _ := row[3].(string)
	text, _ := row[4].(string)
	e, err := decode(uid, raw, text)
	if err != nil {
		return Claimed{}, err
	}
	ms, err := strconv.ParseFloat(at, 64)
	if err != nil {
		return Claimed{}, fmt.Errorf("due time of %s: %w", uid, err)
	}
	return Claimed{Entry: e, Due: time.UnixMilli(int64(ms)), lease: lease}, nil
}

// Commit sets the next due time of claimed accounts; the zero time is never. A claim whose lease ended, or whose account was
// edited meanwhile, is passed over: another due time stands already.
func (x *Index) Commit(ctx context.Context, claims []Claimed, next func(Claimed) time.Time) error {
	byShard := map[int][]any{}
	for _, c := range claims {
		s := ShardOf(c.UID)
		byShard[s] = append(byShard[s], c.UID, c.lease, millis(next(c)))
	}
	p := x.rdb.Pipeline()
	for s, args := range byShard {
		redis.NewScript(commitLua).Eval(ctx, p, keys(s), args...)
	}
	_, err := p.Exec(ctx)
	return fault.Wrap(fault.Internal, "due commit", err)
}

// decode reads an entry: revision|active|interval s|not-before ms|kind|failures|since ms|last ms|domain|name.
// The scripts write it; name comes last because it may hold any character. text is the schedule of an account that has
// one: zone;entry;entry…
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
	zone, entries, ok := strings.Cut(text, ";")
	var own schedule.Text
	if ok {
		own = schedule.Text{Zone: zone, Entries: strings.Split(entries, ";")}
	}
	return Entry{
		Schedule: own,
		UID:      uid, Domain: f[8], Name: f[9], Revision: uint64(n[0]), Active: n[1] == 1,
		Interval: time.Duration(n[2]) * time.Second,
		State: State{
			NotBefore: fromMillis(n[3]), Kind: fault.Kind(n[4]), Failures: int(n[5]),
			FailingSince: fromMillis(n[6]), LastRun: fromMillis(n[7]),
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

// Bring brings forward the due times of active accounts that follow the schedule of their domain, or the global one, to
// what next says, where that is earlier than what stands; the zero time passes an account over. It is called when such
// a schedule was changed.
func (x *Index) Bring(ctx context.Context, next func(Entry) time.Time) error {
	for s := range Shards {
		k := keys(s)
		own, err := x.own(ctx, k[3])
		if err != nil {
			return fault.Wrap(fault.Internal, "due bring", err)
		}
		it := x.rdb.HScan(ctx, k[1], 0, "", 500).Iterator()
		var members []redis.Z
		for it.Next(ctx) {
			uid := it.Val()
			if !it.Next(ctx) {
				break
			}
			e, err := decode(uid, it.Val(), "")
			if err != nil || !e.Active || e.Interval != 0 || own[uid] {
				continue
			}
			at := next(e)
			if at.IsZero() {
				continue
			}
			if at.Before(e.NotBefore) {
				at = e.NotBefore
			}
			members = append(members, redis.Z{Score: float64(at.UnixMilli()), Member: uid})
		}
		if err := it.Err(); err != nil {
			return fault.Wrap(fault.Internal, "due bring", err)
		}
		for len(members) > 0 {
			n := min(500, len(members))
			if err := x.rdb.ZAddArgs(ctx, k[0], redis.ZAddArgs{XX: true, LT: true, Members: members[:n]}).Err(); err != nil {
				return fault.Wrap(fault.Internal, "due bring", err)
			}
			members = members[n:]
		}
	}
	return nil
}

// own returns which accounts of a shard have a schedule of their own.
func (x *Index) own(ctx context.Context, key string) (map[string]bool, error) {
	own := map[string]bool{}
	it := x.rdb.HScan(ctx, key, 0, "", 500).Iterator()
	for it.Next(ctx) {
		own[it.Val()] = true
		it.Next(ctx) // its schedule
	}
	return own, it.Err()
}
