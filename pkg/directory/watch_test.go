package directory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// feed collects the changes of watchers.
type feed struct {
	mu   sync.Mutex
	seen []Change
	most int            // that came together
	fail map[string]int // name → how often it still fails
}

func (f *feed) each(_ context.Context, cs []Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range cs {
		if f.fail[c.Name] > 0 {
			f.fail[c.Name]--
			return errors.New("not now")
		}
	}
	f.seen, f.most = append(f.seen, cs...), max(f.most, len(cs))
	return nil
}

func (f *feed) last(name string) (Change, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var last Change
	n := 0
	for _, c := range f.seen {
		if c.Name == name {
			n++
			if c.Revision > last.Revision {
				last = c
			}
		}
	}
	return last, n
}

// watch runs a watcher until the function it returns, or the end of the test.
func watch(t *testing.T, d *Directory, f *feed) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Watch(ctx, "planner", f.each) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("watch ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestWatchTellsWhatIsAndWhatChanges(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	a := create(t, d, "example.com", "a")
	gone := create(t, d, "example.com", "gone")
	remove(t, d, gone)
	if _, err := n.JS.Publish(ctx, d.accounts.root+"example=2ecom.rubbish", []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	f := &feed{}
	stop := watch(t, d, f)
	testenv.Eventually(t, 30*time.Second, "what is there", func() bool {
		got, n := f.last("a")
		tomb, m := f.last("gone")
		return n == 1 && m == 1 && got.Account != nil && got.UID == a.UID && got.Revision == a.Revision && got.Account.Revision == a.Revision &&
			tomb.Account == nil && tomb.UID == gone.UID && tomb.Domain == "example.com"
	})
	edit := a
	edit.Username = "bob"
	b, err := d.UpdateAccount(ctx, edit)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "the change", func() bool {
		got, n := f.last("a")
		return n == 2 && got.Revision == b.Revision && got.Account.Username == "bob"
	})
	remove(t, d, b)
	testenv.Eventually(t, 30*time.Second, "the removal with its uid", func() bool {
		got, n := f.last("a")
		return n == 3 && got.Account == nil && got.UID == a.UID
	})
	if _, n := f.last("rubbish"); n != 0 {
		t.Fatal("a record that cannot be read was told")
	}

	stop() // its position is kept
	create(t, d, "example.com", "later")
	g := &feed{}
	watch(t, d, g)
	testenv.Eventually(t, 30*time.Second, "what came meanwhile", func() bool { _, n := g.last("later"); return n == 1 })
	if _, n := g.last("gone"); n != 0 {
		t.Fatal("what was done came again")
	}
}

func TestAChangeThatFailedComesAgain(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	f := &feed{fail: map[string]int{"a": 3}}
	create(t, d, "example.com", "a")
	create(t, d, "example.com", "b")
	watch(t, d, f)
	testenv.Eventually(t, 30*time.Second, "both", func() bool {
		_, a := f.last("a")
		_, b := f.last("b")
		return a == 1 && b == 1
	})
}

// TestChangesComeTogether has one change that fails for ever among many: it keeps none of the others, which come in batches.
func TestChangesComeTogether(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	fill(t, d, "example.com", 600)
	create(t, d, "example.com", "poison")
	f := &feed{fail: map[string]int{"poison": math.MaxInt}}
	watch(t, d, f)
	testenv.Eventually(t, 60*time.Second, "all others", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.seen) == 600
	})
	create(t, d, "example.com", "later")
	testenv.Eventually(t, 60*time.Second, "what came later", func() bool { _, n := f.last("later"); return n == 1 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most < 2 || f.most > watchPull {
		t.Errorf("%d changes came together", f.most)
	}
}

func TestReplicasShareTheFeed(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	one, two := &feed{}, &feed{}
	watch(t, d, one)
	stop := watch(t, d, two)
	const n = 400
	fill(t, d, "example.com", n)
	total := func() int {
		one.mu.Lock()
		defer one.mu.Unlock()
		two.mu.Lock()
		defer two.mu.Unlock()
		return len(one.seen) + len(two.seen)
	}
	testenv.Eventually(t, 30*time.Second, "each change once", func() bool { return total() == n })
	stop()
	for i := range 50 { // the one that is left takes over at once
		create(t, d, "example.com", fmt.Sprint("later", i))
	}
	testenv.Eventually(t, 30*time.Second, "what came after one had left", func() bool { return total() == n+50 })
}

func TestAWatcherThatEndsHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	const n = 100
	fill(t, d, "example.com", n)
	ctx, cancel := context.WithCancel(context.Background())
	busy := make(chan struct{}, n)
	done := make(chan error, 1)
	go func() {
		done <- d.Watch(ctx, "planner", func(ctx context.Context, _ []Change) error {
			busy <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-busy // it has one change, and the others in hand
	testenv.Eventually(t, 30*time.Second, "all are out", func() bool {
		c, err := d.js.Consumer(context.Background(), d.accounts.stream, "planner")
		return err == nil && c.CachedInfo().NumAckPending == n
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("watch ended with %v", err)
	}
	f := &feed{}
	watch(t, d, f)
	testenv.Eventually(t, watchAckWait*2/3, "all come to another watcher", func() bool { // not because watchAckWait is over
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.seen) == n
	})
}

func TestSettingsThatDidNotChangeAreNotTold(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	put := func(dest string) {
		t.Helper()
		if _, err := d.UpdateSettings(limited(t, 30*time.Second), func(s *Settings) error { s.Destination = dest; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	told := make(chan Settings, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.WatchSettings(ctx, func(s Settings) { told <- s }) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	}()
	consumer := func() (name string) {
		testenv.Eventually(t, 30*time.Second, "a consumer that has told all", func() bool {
			s, err := n.JS.Stream(ctx, d.settings.stream)
			if err != nil {
				return false
			}
			for info := range s.ListConsumers(ctx).Info() {
				if name = info.Name; info.NumPending == 0 && info.Delivered.Stream > 0 {
					return true
				}
			}
			return false
		})
		return name
	}
	old := consumer()
	if err := n.JS.DeleteConsumer(ctx, d.settings.stream, old); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "another consumer", func() bool { return consumer() != old })
	put("two")
	if s := <-told; s.Destination != "one" {
		t.Fatalf("first %+v", s)
	}
	if s := <-told; s.Destination != "two" {
		t.Fatalf("then %+v", s)
	}
}

func TestWatchOutlivesRestartAndLoss(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	f := &feed{}
	watch(t, d, f)
	var mu sync.Mutex
	var settings []Settings
	sctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.WatchSettings(sctx, func(s Settings) {
			mu.Lock()
			defer mu.Unlock()
			settings = append(settings, s)
		})
	}()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	}()
	for i, harm := range []func(){
		func() {},
		func() { n.Stop(); n.Start() },
		func() { wipe(t, n) },
		func() { _ = n.JS.DeleteStream(context.Background(), d.accounts.stream) },
		func() { _ = n.JS.DeleteConsumer(context.Background(), d.accounts.stream, "planner") },
	} {
		harm()
		name, dest := fmt.Sprint("n", i), fmt.Sprint("maildir:/", i)
		create(t, d, "example.com", name)
		if _, err := d.UpdateSettings(limited(t, 30*time.Second), func(s *Settings) error { s.Destination = dest; return nil }); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 30*time.Second, "account and settings after harm "+fmt.Sprint(i), func() bool {
			_, n := f.last(name)
			mu.Lock()
			defer mu.Unlock()
			return n > 0 && settings[len(settings)-1].Destination == dest
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if !reflect.DeepEqual(settings[0], DefaultSettings()) {
		t.Fatalf("first %+v", settings[0])
	}
	for i := 1; i < len(settings); i++ {
		if settings[i].Revision <= settings[i-1].Revision {
			t.Fatalf("settings came twice: %+v", settings)
		}
	}
}

// TestWatchDomains hears of every domain, of its changes and of its end.
func TestWatchDomains(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	ctx, cancel := context.WithCancel(limited(t, 60*time.Second))
	dom, err := d.PutDomain(ctx, Domain{Name: "a.example", Schedule: schedule.Text{Entries: []string{"at 03:00"}, Zone: "Europe/Berlin"}})
	if err != nil {
		t.Fatal(err)
	}
	heard, done := make(chan Domain, 10), make(chan error, 1)
	go func() { done <- d.WatchDomains(ctx, func(d Domain) { heard <- d }) }()
	if got := <-heard; !reflect.DeepEqual(got, dom) {
		t.Errorf("heard %+v, want %+v", got, dom)
	}
	dom.Schedule = schedule.Text{}
	if dom, err = d.PutDomain(ctx, dom); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; !reflect.DeepEqual(got, dom) {
		t.Errorf("heard %+v, want %+v", got, dom)
	}
	if err := d.DeleteDomain(ctx, dom.Name); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; !reflect.DeepEqual(got, Domain{Name: dom.Name}) {
		t.Errorf("heard %+v of a domain that was removed", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
