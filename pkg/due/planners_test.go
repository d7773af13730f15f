package due_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestShare gives each shard to one planner, and to all about as many.
func TestShare(t *testing.T) {
	t.Parallel()
	for of := 1; of <= 70; of++ {
		var seen [due.Shards]int
		for place := range of {
			shards := due.Share(place, of)
			if n := len(shards); n < due.Shards/of || n > due.Shards/of+1 {
				t.Errorf("%d of %d: %d shards", place, of, n)
			}
			for _, s := range shards {
				seen[s]++
			}
		}
		if slices.Max(seen[:]) != 1 || slices.Min(seen[:]) != 1 {
			t.Errorf("of %d planners: %v", of, seen)
		}
	}
}

// TestPlannersShareTheShards has planners come, go and die.
func TestPlannersShareTheShards(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	long := time.Hour
	join := func(name string, hold time.Duration, place, of int) {
		t.Helper()
		if p, err := x.Join(ctx, name, hold); err != nil || p.Place != place || p.Of != of {
			t.Fatalf("%s is %d of %d, %v; want %d of %d", name, p.Place, p.Of, err, place, of)
		}
	}
	holds := func(name string, hold time.Duration, shards []int, want int) {
		t.Helper()
		_, held, err := x.Claim(ctx, due.Turn{Planner: name, Shards: shards, Limit: 10, Lease: long, Hold: hold})
		if err != nil || len(held) != want {
			t.Fatalf("%s holds %d shards, %v; want %d", name, len(held), err, want)
		}
	}
	join("b", long, 0, 1)
	holds("b", long, due.Share(0, 1), 64)
	join("a", long, 0, 2)
	holds("a", long, due.Share(0, 2), 0) // b has not let go
	join("b", long, 1, 2)
	if err := x.LetGo(ctx, "b", due.Share(0, 2)); err != nil {
		t.Fatal(err)
	}
	holds("a", long, due.Share(0, 2), 32)
	holds("b", long, due.Share(0, 1), 32)
	if err := x.LetGo(ctx, "b", due.Share(0, 1)); err != nil { // those of a are not b's to give
		t.Fatal(err)
	}
	holds("b", time.Millisecond, due.Share(0, 1), 32)
	join("b", time.Millisecond, 1, 2)
	testenv.Eventually(t, 30*time.Second, "the shards of b, who died, are free", func() bool {
		_, held, err := x.Claim(ctx, due.Turn{Planner: "a", Shards: due.Share(0, 1), Hold: long})
		return err == nil && len(held) == 64
	})
	join("a", long, 0, 1)
	if err := x.Leave(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	join("c", long, 0, 1)
	holds("c", long, due.Share(0, 1), 64)
}

// TestWaiting names the shards in which something is due.
func TestWaiting(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := testenv.NewRedis(t)
	x := due.New(r.Client)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	now, later := entry("now", 1), entry("later", 1)
	if err := x.PutAll(ctx, []due.Planned{{Entry: now, Next: at}, {Entry: later, Next: at.Add(time.Millisecond)}}); err != nil {
		t.Fatal(err)
	}
	if got := x.Waiting(ctx, due.Share(0, 1), at); !slices.Equal(got, []int{due.ShardOf("now")}) {
		t.Errorf("%v", got)
	}
	if got := x.Waiting(ctx, due.Share(0, 1), at.Add(-time.Millisecond)); len(got) != 0 {
		t.Errorf("%v before it is due", got)
	}
	r.Stop()
	if got := x.Waiting(ctx, []int{3, 5}, at); !slices.Equal(got, []int{3, 5}) { // who does not answer is asked
		t.Errorf("%v of a server that is down", got)
	}
}

// TestTheLongestDueComesFirst claims a backlog a few at a time.
func TestTheLongestDueComesFirst(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	var all []due.Planned
	for i := range 500 {
		all = append(all, due.Planned{Entry: entry(fmt.Sprint("u", i), 1), Next: begin.Add(time.Duration(i*7919%500) * time.Second)})
	}
	if err := x.PutAll(ctx, all); err != nil {
		t.Fatal(err)
	}
	last := map[int]time.Time{}
	for seen := 0; seen < len(all); {
		claims, err := claim(ctx, x, 2, time.Hour)
		if err != nil || len(claims) == 0 {
			t.Fatalf("%d of %d claimed, %v", seen, len(all), err)
		}
		for i, c := range claims {
			if s := due.ShardOf(c.UID); c.Due.Before(last[s]) || i > 0 && c.Due.Before(claims[i-1].Due) {
				t.Errorf("%s, due at %v, comes behind one that is due later", c.UID, c.Due)
			} else {
				last[s] = c.Due
			}
		}
		seen += len(claims)
	}
}

// TestLacking finds what the index does not have as the directory has it.
func TestLacking(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := testenv.NewRedis(t)
	x := due.New(r.Client)
	soon := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	var all []due.Planned
	for _, uid := range []string{"whole", "gone", "older", "timeless", "garbled", "off", "idle"} {
		e := due.Planned{Entry: entry(uid, 5), Next: soon}
		e.Active = uid != "idle"
		if uid == "off" {
			e.Next = time.Time{}
		}
		all = append(all, e)
		if uid == "older" {
			e.Revision = 4
		}
		if err := x.PutAll(ctx, []due.Planned{e}); err != nil {
			t.Fatal(err)
		}
	}
	key := func(uid, what string) string { return fmt.Sprintf("ferry:due:{%d}:%s", due.ShardOf(uid), what) }
	r.Client.ZRem(ctx, key("timeless", "at"), "timeless")
	r.Client.HSet(ctx, key("garbled", "entry"), "garbled", "?")
	if err := x.Remove(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	lacking, err := x.Lacking(ctx, all)
	var uids []string
	for _, e := range lacking {
		uids = append(uids, e.UID)
	}
	slices.Sort(uids)
	if want := []string{"garbled", "gone", "older", "timeless"}; err != nil || !slices.Equal(uids, want) {
		t.Fatalf("%v is lacking, %v; want %v", uids, err, want)
	}
	if err := x.PutAll(ctx, lacking); err != nil {
		t.Fatal(err)
	}
	if lacking, err := x.Lacking(ctx, all); err != nil || len(lacking) != 0 {
		t.Errorf("repaired, and %v is lacking, %v", lacking, err)
	}
	entries := 0
	for s := range due.Shards {
		for _, err := range x.Entries(ctx, s) {
			if err != nil {
				t.Fatal(err)
			}
			entries++
		}
	}
	if entries != len(all) {
		t.Errorf("%d entries of %d", entries, len(all))
	}
}

// TestCompared is known until Redis loses its data, and says which Redis it was; one planner compares at a time.
func TestCompared(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := testenv.NewRedis(t)
	x := due.New(r.Client)
	if c, err := x.Compared(ctx); !c.At.IsZero() || err != nil {
		t.Fatal(c, err)
	}
	first, err := x.Primary(ctx)
	if err != nil || first == "" {
		t.Fatal(first, err)
	}
	want := due.Compared{At: time.Now().Truncate(time.Millisecond), Primary: first}
	if err := x.SetCompared(ctx, want); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		want bool
	}{{"a", true}, {"a", true}, {"b", false}} {
		if ok, err := x.Compare(ctx, step.name, time.Hour); ok != step.want || err != nil {
			t.Errorf("%s compares: %v, %v", step.name, ok, err)
		}
	}
	r.Stop()
	r.Start()
	got, err := x.Compared(ctx)
	if err != nil || !got.At.Equal(want.At) || got.Primary != first {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if second, err := x.Primary(ctx); err != nil || second == first {
		t.Errorf("restarted, Redis is still %q, %v", second, err)
	}
	r.Client.FlushAll(ctx)
	if c, err := x.Compared(ctx); !c.At.IsZero() || err != nil {
		t.Error(c, err)
	}
}
