package due

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

const (
	comparedKey = "ferry:due:compared" // time in ms, blank, primary
	comparerKey = "ferry:due:comparer"
)

// Compared is when the index was last brought in line with the directory.
type Compared struct {
	// At is zero if it never was since Redis last lost its data.
	At time.Time
	// Primary is which server of Redis it was then; see [Index.Primary].
	Primary string
}

// Compared returns when the index was last brought in line with the directory.
func (x *Index) Compared(ctx context.Context) (Compared, error) {
	raw, err := x.rdb.Get(ctx, comparedKey).Result()
	if errors.Is(err, redis.Nil) {
		return Compared{}, nil
	}
	at, primary, _ := strings.Cut(raw, " ")
	ms, perr := strconv.ParseInt(at, 10, 64)
	if err = errors.Join(err, perr); err != nil {
		return Compared{}, fault.Wrap(fault.Internal, "due compared", err)
	}
	return Compared{At: time.UnixMilli(ms), Primary: primary}, nil
}

// SetCompared records that the index holds what the directory held at the time at.
func (x *Index) SetCompared(ctx context.Context, c Compared) error {
	err := x.rdb.Set(ctx, comparedKey, strconv.FormatInt(c.At.UnixMilli(), 10)+" "+c.Primary, 0).Err()
	return fault.Wrap(fault.Internal, "due compared", err)
}

// Primary names the servers of Redis that are written to: another name means that one of them was restarted or replaced,
// and may lack what was written last.
func (x *Index) Primary(ctx context.Context) (string, error) {
	if c, ok := x.rdb.(*redis.ClusterClient); ok {
		return primaries(ctx, c)
	}
	info, err := x.rdb.Info(ctx, "server").Result()
	return runID(info), fault.Wrap(fault.Internal, "redis info", err)
}

func primaries(ctx context.Context, c *redis.ClusterClient) (string, error) {
	ids := make(chan string, 1024)
	err := c.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		info, err := m.Info(ctx, "server").Result()
		select {
		case ids <- runID(info):
		default: // a cluster has no more than a thousand
		}
		return err
	})
	close(ids)
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	slices.Sort(all)
	return strings.Join(all, ","), fault.Wrap(fault.Internal, "redis info", err)
}

func runID(info string) string {
	_, rest, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

// Compare says that this planner compares the index with the directory, for as long as hold; it is false while another does.
func (x *Index) Compare(ctx context.Context, planner string, hold time.Duration) (bool, error) {
	ok, err := x.rdb.SetNX(ctx, comparerKey, planner, hold).Result()
	if err == nil && !ok {
		var who string
		if who, err = x.rdb.Get(ctx, comparerKey).Result(); who == planner {
			ok, err = x.rdb.PExpire(ctx, comparerKey, hold).Result()
		}
		if errors.Is(err, redis.Nil) {
			err = nil
		}
	}
	return ok, fault.Wrap(fault.Internal, "due compare", err)
}

// Lacking returns those that are not in the index as the directory has them: not at all, of an older revision, or due at no
// time although they should be. One round trip.
func (x *Index) Lacking(ctx context.Context, all []Planned) ([]Planned, error) {
	p := x.rdb.Pipeline()
	entries, times := map[int]*redis.SliceCmd{}, map[int]*redis.FloatSliceCmd{}
	of := map[int][]Planned{}
	for _, e := range all {
		s := ShardOf(e.UID)
		of[s] = append(of[s], e)
	}
	for s, es := range of {
		uids := make([]string, len(es))
		for i, e := range es {
			uids[i] = e.UID
		}
		entries[s], times[s] = p.HMGet(ctx, keys(s)[1], uids...), p.ZMScore(ctx, keys(s)[0], uids...)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fault.Wrap(fault.Internal, "due lacking", err)
	}
	var out []Planned
	for s, es := range of {
		for i, e := range es {
			raw, _ := entries[s].Val()[i].(string)
			has, err := decode(e.UID, raw, "")
			timed := !e.Active || e.Next.IsZero() || times[s].Val()[i] != 0
			if err != nil || has.Revision < e.Revision || !timed {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// Entries yields the entries of a shard, without their schedules; one that is written meanwhile may come twice. An error
// ends it.
func (x *Index) Entries(ctx context.Context, shard int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it := x.rdb.HScan(ctx, keys(shard)[1], 0, "", 500).Iterator()
		for it.Next(ctx) {
			uid := it.Val()
			if !it.Next(ctx) {
				break
			}
			e, err := decode(uid, it.Val(), "")
			if err != nil { // it is put anew as one that is lacking
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(Entry{}, fault.Wrap(fault.Internal, "due entries", err))
		}
	}
}
