package planner

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// stand is what planners stand on.
type stand struct {
	t     *testing.T
	redis *testenv.Redis
	dir   *directory.Directory
	due   *due.Index
	queue *queue.Queue
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, redis: testenv.NewRedis(t)}
	n := testenv.NewNATS(t)
	var err error
	if s.dir, err = directory.Open(t.Context(), n.JS, directory.Config{}); err != nil {
		t.Fatal(err)
	}
	if s.queue, err = queue.Open(t.Context(), n.Conn, n.JS, queue.Config{}); err != nil {
		t.Fatal(err)
	}
	s.due = due.New(s.redis.Client)
	return s
}

func (s *stand) planner(cfg Config) *Planner {
	cfg.Tick = 20 * time.Millisecond
	p := New(s.dir, s.due, ledger.New(s.redis.Client, ledger.Config{KeyID: "k"}), s.queue, zaptest.NewLogger(s.t), prometheus.NewRegistry(), cfg)
	p.plan = newPlan(directory.DefaultSettings())
	return p
}

// run runs a planner until the test ends.
func (s *stand) run(p *Planner) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

func (s *stand) add(name string) account.Account {
	s.t.Helper()
	a := account.Account{
		UID: directory.NewUID(), Domain: "example.com", Name: name, Active: true, Protocol: account.IMAP, Host: "imap.example.net", Username: name,
		ForwardTo: name + "@example.com", SealedPassword: []byte("x"), Interval: time.Hour,
	}.WithDefaults()
	a, err := s.dir.CreateAccount(s.t.Context(), a)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *stand) pending() int {
	n, err := s.queue.Pending(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// overdue puts accounts into the index that are due for an hour, of which the directory knows nothing.
func (s *stand) overdue(n int) {
	s.t.Helper()
	var all []due.Planned
	for i := range n {
		e := due.Entry{UID: fmt.Sprintf("u%d", i), Domain: "example.com", Name: fmt.Sprint(i), Revision: 1, Interval: time.Hour, Active: true}
		all = append(all, due.Planned{Entry: e, Next: time.Now().Add(-time.Hour)})
	}
	if err := s.due.PutAll(s.t.Context(), all); err != nil {
		s.t.Fatal(err)
	}
}

// TestWhatIsKnownIsEmittedMeanwhile emits from an index that is not filled, since somebody else is about to fill it.
func TestWhatIsKnownIsEmittedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.overdue(10)
	if ok, err := s.due.Compare(t.Context(), "another", time.Hour); !ok || err != nil {
		t.Fatal(ok, err)
	}
	s.run(s.planner(Config{Name: "p"}))
	testenv.Eventually(t, 30*time.Second, "what is known is emitted", func() bool { return s.pending() == 10 })
	if c, err := s.due.Compared(t.Context()); err != nil || !c.At.IsZero() {
		t.Errorf("the index was filled: %+v, %v", c, err)
	}
}

// TestDriftIsFoundAndRepaired takes an account out of the index, and puts one in that the directory does not have; then
// Redis loses everything, and is replaced.
func TestDriftIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	a, b := s.add("a"), s.add("b")
	p := s.planner(Config{Name: "p", CompareEvery: time.Nanosecond})
	s.run(p)
	has := func(uid string) bool { _, _, err := s.due.Get(ctx, uid); return err == nil }
	compared := func() {
		t.Helper()
		begin := time.Now()
		testenv.Eventually(t, 30*time.Second, "the index is compared", func() bool {
			c, err := s.due.Compared(ctx)
			return err == nil && c.At.After(begin)
		})
	}
	testenv.Eventually(t, 30*time.Second, "both are planned", func() bool { return has(a.UID) && has(b.UID) })
	compared()
	if lacking := testutil.ToFloat64(p.drifted.WithLabelValues("lacking")); lacking != 0 {
		t.Errorf("%v accounts were lacking, none was taken out", lacking)
	}
	gone := account.Account{UID: "gone", Domain: "example.com", Name: "gone"}
	lost := account.Account{UID: "lost", Domain: "example.com", Name: "lost"} // no tombstone: it may be restored
	del := s.add("gone")
	gone.UID = del.UID
	if err := s.dir.DeleteAccount(ctx, "example.com", "gone", 0); err != nil {
		t.Fatal(err)
	}
	compared() // the feed has told of it
	compared()
	for _, x := range []account.Account{gone, lost} {
		e := due.Entry{UID: x.UID, Domain: x.Domain, Name: x.Name, Revision: 1, Active: true, Interval: time.Hour}
		if err := s.due.Put(ctx, e, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.due.Remove(ctx, a.UID); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "the index is as the directory", func() bool { return has(a.UID) && !has(gone.UID) })
	if !has(lost.UID) || !has(b.UID) {
		t.Error("an account was removed that was not deleted")
	}
	for how, want := range map[string]float64{"lacking": 1, "left over": 1} {
		testenv.Eventually(t, 30*time.Second, how+" is counted", func() bool { return testutil.ToFloat64(p.drifted.WithLabelValues(how)) >= want })
	}
	if err := s.redis.Client.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "the index is filled again", func() bool { return has(a.UID) && has(b.UID) })
}

// TestChangesThatComeTogether has more than one change of an account, and another account under the name of one that was
// deleted, among changes that come together: the last of each account holds.
func TestChangesThatComeTogether(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	a, b, c := s.add("a"), s.add("b"), s.add("c")
	edited, again := b, a
	edited.Revision, edited.Interval = b.Revision+10, 2*time.Hour
	again.UID, again.Revision = directory.NewUID(), a.Revision+10
	change := func(a account.Account) directory.Change {
		return directory.Change{Domain: a.Domain, Name: a.Name, Revision: a.Revision, Account: &a, UID: a.UID}
	}
	gone := func(a account.Account) directory.Change {
		return directory.Change{Domain: a.Domain, Name: a.Name, Revision: a.Revision + 5, UID: a.UID}
	}
	nobody := directory.Change{Domain: "example.com", Name: "x", Revision: 1}
	p := s.planner(Config{Name: "p"})
	for range 2 { // changes may come again
		if err := p.follow(ctx, []directory.Change{change(a), change(edited), nobody, gone(a), change(again), change(b), gone(c)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []account.Account{a, c} {
		if _, _, err := s.due.Get(ctx, x.UID); !errors.Is(err, due.ErrNotFound) {
			t.Errorf("%s, which was deleted: %v", x.Name, err)
		}
	}
	for _, want := range []account.Account{edited, again} {
		if is, at, err := s.due.Get(ctx, want.UID); err != nil || is.Revision != want.Revision || is.Interval != want.Interval || at.IsZero() {
			t.Errorf("%+v, due %v, %v", is, at, err)
		}
	}
}

// TestAnotherRedisIsCompared restarts Redis: it may lack what was written last.
func TestAnotherRedisIsCompared(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	a := s.add("a")
	s.run(s.planner(Config{Name: "p", CompareEvery: time.Hour}))
	testenv.Eventually(t, 30*time.Second, "the index is filled", func() bool {
		c, err := s.due.Compared(ctx)
		return err == nil && !c.At.IsZero()
	})
	if err := s.due.Remove(ctx, a.UID); err != nil {
		t.Fatal(err)
	}
	s.redis.Stop()
	s.redis.Start()
	testenv.Eventually(t, 30*time.Second, "the account is planned again", func() bool {
		_, _, err := s.due.Get(ctx, a.UID)
		return err == nil
	})
}

// TestABacklogIsNoStorm has more accounts due than may be emitted in some seconds: never more are emitted than the rate
// allows, and in the end all are.
func TestABacklogIsNoStorm(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const accounts, rate = 1500, 600
	s.overdue(accounts)
	begin := time.Now()
	for _, name := range []string{"p", "q"} { // together
		s.run(s.planner(Config{Name: name, Rate: rate}))
	}
	testenv.Eventually(t, 60*time.Second, "the backlog is emitted", func() bool {
		n := s.pending()
		if most := rate * (time.Since(begin).Seconds() + 1); float64(n) > most {
			t.Fatalf("%d jobs within %v", n, time.Since(begin))
		}
		return n == accounts
	})
}

// TestAClaimThatLapsedEmitsNothing has a planner go on behind its lease: what it claimed is due as it was.
func TestAClaimThatLapsedEmitsNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.overdue(1)
	p := s.planner(Config{Name: "p"})
	claims, _, err := s.due.Claim(t.Context(), due.Turn{Planner: "p", Shards: due.Share(0, 1), Limit: 1, Lease: time.Hour, Hold: time.Hour})
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	trusted, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := p.publish(trusted, t.Context(), claims); err == nil {
		t.Error("it was published")
	}
	if n := s.pending(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	if _, at, err := s.due.Get(t.Context(), "u0"); err != nil || !at.Equal(claims[0].Due) {
		t.Errorf("due at %v, %v", at, err)
	}
}

func TestAllowance(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	a := allowance{rate: 78.125, last: begin} // 5,000 over 64
	sum := 0
	for i := range 400 {
		sum += a.take(begin.Add(time.Duration(i+1) * 250 * time.Millisecond))
	}
	if sum < 7811 || sum > 7812 {
		t.Errorf("%d in 100 s", sum)
	}
	if n := a.take(begin.Add(time.Hour)); n > 79 {
		t.Errorf("%d behind a long pause", n)
	}
	slow := allowance{rate: 0.5, last: begin}
	if n, m := slow.take(begin.Add(time.Second)), slow.take(begin.Add(2*time.Second)); n+m != 1 {
		t.Errorf("%d and %d", n, m)
	}
}
