package due_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// claim claims as one planner of several that share no shard.
func claim(ctx context.Context, x *due.Index, limit int, lease time.Duration) ([]due.Claimed, error) {
	claims, _, err := x.Claim(ctx, due.Turn{Planner: "p", Shards: due.Share(0, 1), Limit: limit, Lease: lease, Hold: time.Minute})
	return claims, err
}

func entry(uid string, rev uint64) due.Entry {
	return due.Entry{UID: uid, Domain: "example.com", Name: "a|b " + uid, Revision: rev, Interval: 5 * time.Minute, Active: true}
}

func TestClaimCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	past := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for i := range 300 {
		if err := x.Put(ctx, entry(fmt.Sprint("u", i), 1), past); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Put(ctx, entry("later", 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]int{}
	var claims []due.Claimed
	for range 4 {
		wg.Go(func() {
			cs, err := claim(ctx, x, 100, time.Minute)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			claims = append(claims, cs...)
			for _, c := range cs {
				got[c.UID]++
				if !c.Due.Equal(past) || c.Name != "a|b "+c.UID || c.Interval != 5*time.Minute {
					t.Errorf("claim %+v", c)
				}
			}
		})
	}
	wg.Wait()
	if len(got) != 300 || len(claims) != 300 {
		t.Fatalf("claimed %d accounts %d times, want each of 300 once", len(got), len(claims))
	}
	next := time.Now().Add(5 * time.Minute).Truncate(time.Millisecond)
	if err := x.Commit(ctx, claims, func(due.Claimed) time.Time { return next }); err != nil {
		t.Fatal(err)
	}
	if _, at, err := x.Get(ctx, "u7"); err != nil || !at.Equal(next) {
		t.Errorf("due at %v, %v; want %v", at, err, next)
	}
}

func TestLeaseOfADeadPlannerEnds(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	if err := x.Put(ctx, entry("a", 1), time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	dead, err := claim(ctx, x, 10, 50*time.Millisecond)
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	var alive []due.Claimed
	testenv.Eventually(t, 30*time.Second, "the claim comes back", func() bool {
		alive, err = claim(ctx, x, 10, time.Minute)
		return len(alive) == 1
	})
	// The dead planner wakes up: its commit must not cut the live claim short.
	if err := x.Commit(ctx, dead, func(due.Claimed) time.Time { return time.Unix(1, 0) }); err != nil {
		t.Fatal(err)
	}
	if again, _ := claim(ctx, x, 10, time.Minute); len(again) != 0 {
		t.Error("a stale commit made the account due again")
	}
}

func TestOlderRevisionLoses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	t1, t2 := time.Now().Add(time.Hour).Truncate(time.Millisecond), time.Now().Add(2*time.Hour).Truncate(time.Millisecond)
	steps := []struct {
		rev  uint64
		next time.Time
		want time.Time
	}{{2, t1, t1}, {1, t2, t1}, {2, t2, t1}, {3, t2, t2}}
	for _, s := range steps {
		if err := x.Put(ctx, entry("a", s.rev), s.next); err != nil {
			t.Fatal(err)
		}
		if _, at, err := x.Get(ctx, "a"); err != nil || !at.Equal(s.want) {
			t.Errorf("after revision %d: due %v, %v; want %v", s.rev, at, err, s.want)
		}
	}
	e := entry("a", 4)
	e.Active = false
	if err := x.Put(ctx, e, t1); err != nil {
		t.Fatal(err)
	}
	if _, at, _ := x.Get(ctx, "a"); !at.IsZero() {
		t.Errorf("an inactive account is due at %v", at)
	}
	if err := x.Put(ctx, entry("a", 5), t1); err != nil {
		t.Fatal(err)
	}
	if _, at, _ := x.Get(ctx, "a"); !at.Equal(t1) {
		t.Errorf("switched on again: due at %v, want %v", at, t1)
	}
}

func TestSettleHoldsBackAndAnEditForgives(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	now := time.Now().Truncate(time.Millisecond)
	soon, later := now.Add(time.Minute), now.Add(time.Hour)
	if err := x.Put(ctx, entry("a", 1), soon); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := x.Settle(ctx, "a", due.Ended{Kind: fault.Auth, NotBefore: later, At: now.Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	e, at, err := x.Get(ctx, "a")
	if err != nil || !at.Equal(later) || e.Failures != 2 || e.Kind != fault.Auth || !e.FailingSince.Equal(now) || !e.NotBefore.Equal(later) {
		t.Errorf("after two failures: %+v due %v, %v", e, at, err)
	}
	if _, err := x.Settle(ctx, "a", due.Ended{Kind: fault.InUse, NotBefore: now, At: now}); err != nil {
		t.Fatal(err)
	}
	if e, _, _ := x.Get(ctx, "a"); e.Failures != 2 || e.Kind != fault.InUse {
		t.Errorf("in-use counted: %+v", e)
	}
	for _, step := range []struct {
		in   time.Duration
		want time.Time
	}{{2 * time.Hour, later}, {time.Minute, soon}, {time.Hour, soon}} {
		if err := x.Hasten(ctx, "a", now.Add(step.in)); err != nil {
			t.Fatal(err)
		}
		if _, at, _ := x.Get(ctx, "a"); !at.Equal(step.want) {
			t.Errorf("hastened to %v: due %v", step.in, at)
		}
	}
	if err := x.Hasten(ctx, "nobody", soon); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Get(ctx, "nobody"); !errors.Is(err, due.ErrNotFound) {
		t.Errorf("hastening made an entry: %v", err)
	}
	if err := x.Put(ctx, entry("a", 2), soon); err != nil {
		t.Fatal(err)
	}
	if e, at, _ := x.Get(ctx, "a"); at.Before(now) || at.After(time.Now()) || e.Failures != 0 || !e.NotBefore.IsZero() {
		t.Errorf("after an edit: %+v due %v", e, at)
	}
	if _, err := x.Settle(ctx, "a", due.Ended{Kind: fault.None, At: now}); err != nil {
		t.Fatal(err)
	}
	if e, _, _ := x.Get(ctx, "a"); e.Kind != fault.None || !e.FailingSince.IsZero() || !e.LastRun.Equal(now) {
		t.Errorf("after a good run: %+v", e)
	}
	if err := x.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Get(ctx, "a"); !errors.Is(err, due.ErrNotFound) {
		t.Errorf("after removal: %v", err)
	}
	if _, err := x.Settle(ctx, "a", due.Ended{Kind: fault.Auth, NotBefore: later, At: now}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Get(ctx, "a"); !errors.Is(err, due.ErrNotFound) {
		t.Errorf("settling brought a removed account back")
	}
}

// TestReplan has accounts that stand by an old plan, and others that are due at a time of their own.
func TestReplan(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	at := func(m int) time.Time {
		return time.Now().Add(time.Duration(m) * time.Minute).Truncate(time.Millisecond)
	}
	old, later, sooner, never := at(60), at(120), at(30), time.Time{}
	late, line := at(-5), at(10) // stands in line at its host
	tests := map[string]struct{ stands, old, next, want time.Time }{
		"put off":                {old, old, later, later},
		"brought forward":        {old, old, sooner, sooner},
		"off":                    {old, old, never, never},
		"on":                     {never, never, sooner, sooner},
		"as it was":              {old, old, old, old},
		"late":                   {late, old, later, late},
		"late, off":              {late, old, never, late},
		"in line":                {line, old, later, line},
		"in line, sooner":        {old, at(50), sooner, sooner},
		"of another plan, later": {old, at(50), later, old},
	}
	for uid, tt := range tests {
		e := entry(uid, 1)
		e.Interval, e.Schedule = 0, schedule.Text{Zone: "Europe/Berlin", Entries: []string{"every 1h", uid}}
		if err := x.Put(ctx, e, tt.stands); err != nil {
			t.Fatal(err)
		}
	}
	inactive := entry("inactive", 1)
	inactive.Active = false
	if err := x.Put(ctx, inactive, old); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(ctx, entry("edited", 1), old); err != nil {
		t.Fatal(err)
	}
	until, _, err := x.Boost(ctx, "late", time.Hour, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = x.Replan(ctx, func(e due.Entry) (time.Time, time.Time) {
		seen++
		if e.UID == "edited" { // meanwhile
			if err := x.Put(ctx, entry("edited", 2), old); err != nil {
				t.Error(err)
			}
			return old, later
		}
		if e.Schedule.Zone != "Europe/Berlin" || e.Schedule.Entries[1] != e.UID {
			t.Errorf("the schedule of %s is %v", e.UID, e.Schedule)
		}
		if boosted := e.BoostedUntil; boosted.IsZero() != (e.UID != "late") || e.UID == "late" && !boosted.Equal(until) {
			t.Errorf("%s is boosted until %v", e.UID, boosted)
		}
		return tests[e.UID].old, tests[e.UID].next
	})
	if err != nil || seen != len(tests)+1 {
		t.Errorf("%d seen, %v", seen, err)
	}
	for uid, tt := range tests {
		if _, at, err := x.Get(ctx, uid); err != nil || !at.Equal(tt.want) {
			t.Errorf("%s is due at %v, %v; want %v", uid, at, err, tt.want)
		}
	}
	if _, at, err := x.Get(ctx, "edited"); err != nil || !at.Equal(old) {
		t.Errorf("the one that was edited meanwhile is due at %v, %v", at, err)
	}
	if _, at, err := x.Get(ctx, "inactive"); err != nil || !at.IsZero() {
		t.Errorf("an inactive account is due at %v, %v", at, err)
	}
}

func TestMoveIsForTheAccountAsItWas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	planned, moved := time.Now().Add(time.Hour).Truncate(time.Millisecond), time.Now().Add(time.Minute).Truncate(time.Millisecond)
	put := func(e due.Entry) {
		t.Helper()
		if err := x.Put(ctx, e, planned); err != nil {
			t.Fatal(err)
		}
	}
	moves := func(revision uint64, want bool, due time.Time) {
		t.Helper()
		ok, err := x.Move(ctx, "a", revision, moved)
		if err != nil || ok != want {
			t.Fatalf("moved %v, %v", ok, err)
		}
		if _, at, err := x.Get(ctx, "a"); err == nil && !at.Equal(due) {
			t.Fatalf("due at %v, want %v", at, due)
		}
	}
	moves(7, true, time.Time{}) // no entry
	put(entry("a", 7))
	moves(7, true, moved)
	moves(8, true, moved) // the index is behind
	put(entry("a", 8))
	moves(7, false, planned)
	idle := entry("a", 9)
	idle.Active = false
	put(idle)
	moves(9, false, time.Time{})
}

// TestToldOutlivesEditsAndRuns keeps what was told of an account until it is told otherwise, or the account is gone.
func TestToldOutlivesEditsAndRuns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	now := time.Now().Truncate(time.Millisecond)
	settle := func(kind fault.Kind, want due.Settled) {
		t.Helper()
		if got, err := x.Settle(ctx, "a", due.Ended{Kind: kind, NotBefore: now, At: now}); err != nil || got.Failures != want.Failures || got.Told != want.Told || got.FailingSince.IsZero() != (want.Failures == 0) {
			t.Errorf("settled %v: %+v, %v; want %+v", kind, got, err, want)
		}
	}
	told := func(s string) {
		t.Helper()
		if err := x.SetTold(ctx, "a", s); err != nil {
			t.Fatal(err)
		}
	}
	settle(fault.Auth, due.Settled{}) // nobody
	if err := x.Put(ctx, entry("a", 1), now); err != nil {
		t.Fatal(err)
	}
	settle(fault.Auth, due.Settled{Failures: 1})
	told("failing|x")
	settle(fault.InUse, due.Settled{Failures: 1, Told: "failing|x"})
	if err := x.Put(ctx, entry("a", 2), now); err != nil { // an edit
		t.Fatal(err)
	}
	settle(fault.None, due.Settled{Told: "failing|x"})
	told("")
	settle(fault.Auth, due.Settled{Failures: 1})
	told("failing|y")
	if err := x.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(ctx, entry("a", 3), now); err != nil {
		t.Fatal(err)
	}
	settle(fault.None, due.Settled{})
}

// TestSchedules keeps the calendars of accounts, and what is never due.
func TestSchedules(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	past := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	e := entry("u", 1)
	e.Interval, e.Schedule = 0, schedule.Text{Zone: "Europe/Berlin", Entries: []string{"at 06:30", "every 1h"}}
	if err := errors.Join(x.Put(ctx, e, past), x.Put(ctx, entry("v", 1), past)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := x.Get(ctx, "u"); err != nil || !reflect.DeepEqual(got.Schedule, e.Schedule) {
		t.Fatalf("%+v, %v", got, err)
	}
	claims, err := claim(ctx, x, 10, time.Minute)
	if err != nil || len(claims) != 2 {
		t.Fatalf("%+v, %v", claims, err)
	}
	for _, c := range claims {
		if want := map[string]schedule.Text{"u": e.Schedule}[c.UID]; !reflect.DeepEqual(c.Schedule, want) {
			t.Errorf("%s has %+v", c.UID, c.Schedule)
		}
	}
	if err := x.Commit(ctx, claims, func(due.Claimed) time.Time { return time.Time{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Settle(ctx, "u", due.Ended{Kind: fault.Auth, NotBefore: time.Now().Add(time.Hour), At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, at, err := x.Get(ctx, "u"); err != nil || !at.IsZero() {
		t.Errorf("what is never due is due at %v, %v", at, err)
	}
	e.Revision, e.Schedule = 2, schedule.Text{}
	if err := x.Put(ctx, e, past); err != nil {
		t.Fatal(err)
	}
	if got, at, err := x.Get(ctx, "u"); err != nil || len(got.Schedule.Entries) != 0 || !at.Equal(past) {
		t.Errorf("after an edit: %+v at %v, %v", got, at, err)
	}
	if err := x.Remove(ctx, "u"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Get(ctx, "u"); !errors.Is(err, due.ErrNotFound) {
		t.Error(err)
	}
}

// TestPutAll puts more than a script is given, one account of them twice.
func TestPutAll(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := due.New(testenv.NewRedis(t).Client)
	soon := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	var uids []string // of one shard
	for i := 0; len(uids) < 2500; i++ {
		if uid := fmt.Sprint("u", i); due.ShardOf(uid) == 7 {
			uids = append(uids, uid)
		}
	}
	var all []due.Planned
	for _, uid := range uids {
		all = append(all, due.Planned{Entry: entry(uid, 1), Next: soon})
	}
	newer, off := entry(uids[0], 2), entry(uids[1], 1)
	off.Active, off.Schedule.Entries = false, []string{"every 5m"}
	all[1].Entry = off
	all = append([]due.Planned{{Entry: newer, Next: soon.Add(time.Hour)}}, all...)
	for range 2 {
		if err := x.PutAll(ctx, all); err != nil {
			t.Fatal(err)
		}
		for i, uid := range uids {
			want := soon
			switch i {
			case 0:
				want = soon.Add(time.Hour)
			case 1:
				want = time.Time{}
			}
			if _, at, err := x.Get(ctx, uid); err != nil || !at.Equal(want) {
				t.Fatalf("%s is due at %v, %v; want %v", uid, at, err, want)
			}
		}
		n, err := x.Count(ctx, []int{7})
		if err != nil || n[due.OK] != len(uids)-1 || n[due.Suspended] != 1 {
			t.Fatalf("%v, %v", n, err)
		}
	}
}

// TestManyOfAShard claims more of one shard than a script is given at once, among them one whose entry is gone, and commits
// them together.
func TestManyOfAShard(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := testenv.NewRedis(t)
	x := due.New(r.Client)
	const n = 2500
	var all []due.Planned
	for i := 0; len(all) < n; i++ {
		if e := entry(fmt.Sprint("u", i), 1); due.ShardOf(e.UID) == 7 {
			all = append(all, due.Planned{Entry: e, Next: time.UnixMilli(int64(1000 + len(all)))})
		}
	}
	if err := x.PutAll(ctx, all); err != nil {
		t.Fatal(err)
	}
	if err := r.Client.HDel(ctx, "ferry:due:{7}:entry", all[5].UID).Err(); err != nil {
		t.Fatal(err)
	}
	var claims []due.Claimed
	for _, want := range []int{999, 1000, 500, 0} {
		got, err := claim(ctx, x, 5000, time.Hour)
		if err != nil || len(got) != want {
			t.Fatalf("%d claimed, want %d; %v", len(got), want, err)
		}
		claims = append(claims, got...)
	}
	next := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	err := x.Commit(ctx, claims, func(c due.Claimed) time.Time {
		if c.UID == all[0].UID {
			return time.Time{}
		}
		return next
	})
	if err != nil {
		t.Fatal(err)
	}
	k := "ferry:due:{7}:at"
	if total, err := r.Client.ZCard(ctx, k).Result(); err != nil || total != n-2 {
		t.Errorf("%d are due at a time, %v", total, err)
	}
	ms := fmt.Sprint(next.UnixMilli())
	if total, err := r.Client.ZCount(ctx, k, ms, ms).Result(); err != nil || total != n-2 {
		t.Errorf("%d are due next, %v", total, err)
	}
}
