package due_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// twin decides in Go what the scripts decide in Redis, for one account.
type twin struct {
	there bool
	e     due.Entry
	at    time.Time // zero for never
	never bool      // by the schedule
}

// put answers whether the account is due at once.
func (w *twin) put(e due.Entry, next time.Time) (atOnce bool) {
	if w.there && w.e.Revision > e.Revision {
		return false
	}
	was := w.e
	edited, running := w.there && was.Revision < e.Revision, w.there && was.Revision == e.Revision && was.Active
	e.State = was.State
	if edited {
		e.NotBefore, e.Failures, e.FailingSince, e.Quiet = time.Time{}, 0, time.Time{}, 0
	}
	atOnce = edited && was.Kind != fault.None && next.After(time.Now())
	if boosted := e.BoostedUntil.After(time.Now()); boosted && !w.at.IsZero() && (next.IsZero() || w.at.Before(next)) {
		atOnce = atOnce && w.at.After(time.Now())
		next = w.at
	}
	w.e, w.there, w.never = e, true, next.IsZero()
	switch {
	case !e.Active || w.never:
		w.at = time.Time{}
	case running:
		if w.at.IsZero() {
			w.at = next
		}
	default:
		w.at = next
		return atOnce
	}
	return false
}

// after is what the decisions of [due.Planned] make of an account that is there.
func (w *twin) after(decide func(*due.Planned)) {
	if w.there {
		p := due.Planned{Entry: w.e, Next: w.at}
		decide(&p)
		w.e, w.at = p.Entry, p.Next
	}
}

func (w *twin) move(revision uint64, at time.Time) bool {
	ok := true
	w.after(func(p *due.Planned) { ok = p.Move(revision, at) })
	return ok
}

// TestModel plays random operations against the index and its twin: both decide the same, accounts are counted by what
// they are, and none is lost: an active one is due at a time, unless its schedule says never. MAILFERRY_DUE_CASES sets how many.
func TestModel(t *testing.T) {
	t.Parallel()
	cases := 3000
	if s := os.Getenv("MAILFERRY_DUE_CASES"); s != "" {
		cases, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d operations", seed, cases)
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), x: due.New(testenv.NewRedis(t).Client), twins: map[string]*twin{}, claims: map[string]due.Claimed{}, leased: map[string]time.Time{}}
	for i := range 9 {
		m.twins[fmt.Sprint("u", i)] = &twin{}
	}
	for i := range cases {
		uid := fmt.Sprint("u", m.r.IntN(len(m.twins)))
		op := m.step(uid)
		m.same(uid, op)
		if i%25 == 0 || i == cases-1 {
			m.count()
		}
		if t.Failed() {
			t.Fatalf("after %d operations", i+1)
		}
	}
}

type model struct {
	t      *testing.T
	r      *rand.Rand
	x      *due.Index
	twins  map[string]*twin
	claims map[string]due.Claimed
	leased map[string]time.Time // until when they hold
}

// when is long ago or in a long time: what is due does not change while the test runs.
func (m *model) when() time.Time {
	d := time.Duration(1+m.r.IntN(1000)) * time.Hour
	if m.r.IntN(2) == 0 {
		d = -d
	}
	return time.Now().Add(d).Truncate(time.Millisecond)
}

func (m *model) maybe() time.Time {
	if m.r.IntN(4) == 0 {
		return time.Time{}
	}
	return m.when()
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) step(uid string) string {
	ctx, w := m.t.Context(), m.twins[uid]
	switch m.r.IntN(13) {
	case 0, 1, 2:
		e := due.Entry{UID: uid, Domain: "d", Name: "n|m", Revision: max(2, w.e.Revision+uint64(m.r.IntN(4))) - 1, Active: m.r.IntN(4) > 0}
		if m.r.IntN(2) == 0 {
			e.Interval = 5 * time.Minute
		} else if m.r.IntN(2) == 0 {
			e.Schedule = schedule.Text{Zone: "UTC", Entries: []string{"at 06:30", "every 1h"}}
		}
		next := m.maybe()
		before := time.Now().Truncate(time.Millisecond)
		m.must(m.x.Put(ctx, e, next))
		if w.put(e, next) {
			m.now(uid, before, 0)
		}
		return "put"
	case 3, 4, 5:
		kind := fault.Kind(m.r.IntN(int(fault.Internal) + 1))
		var notBefore time.Time
		if kind != fault.None {
			notBefore = m.when()
		}
		now := time.Now().Truncate(time.Millisecond)
		found := []due.Found{due.Unknown, due.Nothing, due.Nothing, due.Mail}[m.r.IntN(4)]
		ended := due.Ended{Kind: kind, NotBefore: notBefore, At: now, Found: found}
		was, err := m.x.Settle(ctx, uid, ended)
		m.must(err)
		if was.WasQuiet != w.e.Quiet {
			m.t.Errorf("it was quiet for %d runs, want %d", was.WasQuiet, w.e.Quiet)
		}
		w.after(func(p *due.Planned) { p.Settle(ended) })
		return "settle " + kind.String()
	case 6:
		at := m.when()
		m.must(m.x.Hasten(ctx, uid, at))
		w.after(func(p *due.Planned) { p.Hasten(at) })
		return "hasten"
	case 7:
		rev, at := max(1, w.e.Revision+uint64(m.r.IntN(3)))-1, m.when()
		ok, err := m.x.Move(ctx, uid, rev, at)
		m.must(err)
		if want := w.move(rev, at); ok != want {
			m.t.Errorf("moved %v, want %v", ok, want)
		}
		return "move"
	case 8:
		if m.r.IntN(4) == 0 {
			m.must(m.x.Remove(ctx, uid))
			*w = twin{}
		}
		return "remove"
	case 9, 10:
		m.claim(due.ShardOf(uid))
		return "claim"
	case 11:
		m.boost(uid)
		return "boost"
	}
	m.commit(uid)
	return "commit"
}

// now takes over a due time that Redis made of its clock.
func (m *model) now(uid string, before time.Time, lease time.Duration) {
	_, at, err := m.x.Get(m.t.Context(), uid)
	m.must(err)
	if at.Before(before.Add(lease)) || at.After(time.Now().Add(lease)) {
		m.t.Errorf("%s is due at %v, want %v from now", uid, at, lease)
	}
	m.twins[uid].at = at
}

func (m *model) boost(uid string) {
	w, d, every := m.twins[uid], time.Duration(1+m.r.IntN(1000))*time.Hour, time.Duration(m.r.IntN(2))*time.Hour
	before := time.Now().Truncate(time.Millisecond)
	until, next, err := m.x.Boost(m.t.Context(), uid, d, every)
	if !w.there || !w.e.Active {
		if !errors.Is(err, due.ErrNotFound) {
			m.t.Errorf("a boost of nobody: %v", err)
		}
		return
	}
	m.must(err)
	switch was := w.e.BoostedUntil; {
	case was.After(time.Now().Add(d)) && !until.Equal(was), was.Before(before.Add(d)) && (until.Before(before.Add(d)) || until.After(time.Now().Add(d))):
		m.t.Errorf("boosted until %v after %v, for %v", until, was, d)
	}
	w.e.BoostedUntil = until
	soonest := w.e.NotBefore
	if !w.e.LastRun.IsZero() && w.e.LastRun.Add(every).After(soonest) {
		soonest = w.e.LastRun.Add(every)
	}
	switch {
	case !w.at.IsZero() && !w.at.After(before), !w.at.IsZero() && !w.at.After(soonest): // it is due as soon as can be
	case soonest.After(time.Now()):
		w.at = soonest
	default:
		m.now(uid, before, 0)
	}
	if w.never = false; !next.Equal(w.at) {
		m.t.Errorf("a boost answers %v, it is due at %v", next, w.at)
	}
}

func (m *model) claim(shard int) {
	const lease = time.Hour
	want := map[string]time.Time{}
	for uid, w := range m.twins {
		if due.ShardOf(uid) == shard && w.there && !w.at.IsZero() && w.at.Before(time.Now()) {
			want[uid] = w.at
		}
	}
	before := time.Now().Truncate(time.Millisecond)
	claims, _, err := m.x.Claim(m.t.Context(), due.Turn{Planner: "p", Shards: []int{shard}, Limit: 100, Lease: lease, Hold: time.Hour})
	m.must(err)
	if len(claims) != len(want) {
		m.t.Errorf("%d accounts are claimed, want %d", len(claims), len(want))
	}
	for _, c := range claims {
		if w := m.twins[c.UID]; !c.Due.Equal(want[c.UID]) || !reflect.DeepEqual(c.Entry, w.e) {
			m.t.Errorf("claimed %+v, due at %v; want %+v, due at %v", c.Entry, c.Due, w.e, want[c.UID])
		}
		m.now(c.UID, before, lease)
		m.claims[c.UID], m.leased[c.UID] = c, m.twins[c.UID].at
	}
}

func (m *model) commit(uid string) {
	c, ok := m.claims[uid]
	if !ok {
		return
	}
	delete(m.claims, uid)
	w, next := m.twins[uid], m.maybe()
	stands := w.there && w.at.Equal(m.leased[uid])
	m.must(m.x.Commit(m.t.Context(), []due.Claimed{c}, func(due.Claimed) time.Time { return next }))
	if stands {
		w.at, w.never = next, next.IsZero()
	}
}

func (m *model) same(uid, op string) {
	m.t.Helper()
	w := m.twins[uid]
	e, at, err := m.x.Get(m.t.Context(), uid)
	if errors.Is(err, due.ErrNotFound) {
		if w.there {
			m.t.Errorf("%s: %s is lost", op, uid)
		}
		return
	}
	m.must(err)
	if !w.there || !at.Equal(w.at) || !reflect.DeepEqual(e, w.e) {
		m.t.Errorf("%s: %+v, due at %v; the twin says %+v, due at %v (%v)", op, e, at, w.e, w.at, w.there)
	}
	if e.Active && !w.never && at.IsZero() {
		m.t.Errorf("%s: %s is active and due at no time", op, uid)
	}
}

func (m *model) count() {
	m.t.Helper()
	want := map[due.Status]int{}
	for _, w := range m.twins {
		if w.there {
			want[w.e.Status()]++
		}
	}
	got, err := m.x.Count(m.t.Context(), due.Share(0, 1))
	m.must(err)
	for _, s := range due.Statuses() {
		if got[s] != want[s] {
			m.t.Errorf("%d accounts are %s, want %d", got[s], s, want[s])
		}
	}
}
