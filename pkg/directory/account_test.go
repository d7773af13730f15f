package directory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestCreateReadUpdateDelete(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	for _, name := range []string{"gmail-alice", "a.b", "ü ber * >", "日本/語", "="} {
		if _, err := d.Account(ctx, "example.com", name); !errors.Is(err, ErrNotFound) || fault.KindOf(err) != fault.NotFound {
			t.Fatalf("%q before it is there: %v", name, err)
		}
		a := create(t, d, "example.com", name)
		want := acc("example.com", name)
		want.UID, want.Revision, want.CreatedAt, want.UpdatedAt = a.UID, a.Revision, testNow, testNow
		if len(a.UID) != 26 || a.Revision == 0 || !reflect.DeepEqual(a, want) {
			t.Fatalf("created %+v, want %+v", a, want)
		}
		if got, err := d.Account(ctx, "example.com", name); err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("read %+v, %v", got, err)
		}
		if got, err := d.AccountAt(ctx, "example.com", name, a.UID, a.Revision); err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("read %+v, %v", got, err)
		}

		edit := a
		edit.Username, edit.CredentialVersion, edit.CreatedAt = "bob", 2, testNow.Add(time.Hour)
		b, err := d.UpdateAccount(ctx, edit)
		if err != nil || b.Username != "bob" || b.CredentialVersion != 2 || b.Revision <= a.Revision || !b.CreatedAt.Equal(testNow) {
			t.Fatalf("updated %+v, %v", b, err)
		}
		if _, err := d.UpdateAccount(ctx, edit); !errors.Is(err, ErrConflict) || fault.KindOf(err) != fault.Policy {
			t.Fatalf("an update of an old revision: %v", err)
		}
		if err := d.DeleteAccount(ctx, a.Domain, a.Name, a.Revision); !errors.Is(err, ErrConflict) {
			t.Fatalf("a removal of an old revision: %v", err)
		}
		remove(t, d, b)
		if err := d.DeleteAccount(ctx, a.Domain, a.Name, 0); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a second removal: %v", err)
		}
		if _, err := d.UpdateAccount(ctx, b); !errors.Is(err, ErrNotFound) {
			t.Fatalf("an update of a removed account: %v", err)
		}
	}
	kv, err := n.JS.KeyValue(ctx, "ACCOUNTS") // a bucket as any other tool sees it
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(ctx, accountKey("example.com", "a.b")); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("a removed account: %v", err)
	}
	if s, err := kv.Status(ctx); err != nil || s.History() != 1 {
		t.Fatal(err)
	}
}

func TestANewAccountOfTheNameIsAnother(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	a := create(t, d, "example.com", "x")
	if _, err := d.CreateAccount(ctx, acc("example.com", "x")); !errors.Is(err, ErrExists) || fault.KindOf(err) != fault.Policy {
		t.Fatalf("a second creation: %v", err)
	}
	remove(t, d, a)
	b := create(t, d, "example.com", "x")
	if a.UID == b.UID || b.Revision <= a.Revision {
		t.Fatalf("%+v after %+v", b, a)
	}
	if _, err := d.AccountAt(ctx, "example.com", "x", a.UID, a.Revision); !errors.Is(err, ErrNotFound) {
		t.Fatalf("the old account under its name: %v", err)
	}
	if _, err := d.UpdateAccount(ctx, a); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an update of the old account: %v", err)
	}
	with := acc("example.com", "y")
	with.UID = NewUID()
	if c, err := d.CreateAccount(ctx, with); err != nil || c.UID != with.UID {
		t.Fatalf("a uid taken before: %+v, %v", c, err)
	}
	if _, err := d.CreateAccount(ctx, acc("", "x")); err == nil {
		t.Fatal("an account without a domain was taken")
	}
	long := acc("example.com", "long")
	long.SealedPassword = make([]byte, maxValue)
	if _, err := d.CreateAccount(ctx, long); fault.KindOf(err) != fault.Policy {
		t.Fatalf("too large: %v", err)
	}
}

func TestARecordThatCannotBeReadIsRemoved(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	if _, err := n.JS.Publish(ctx, d.accounts.root+accountKey("example.com", "x"), []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Account(ctx, "example.com", "x"); fault.KindOf(err) != fault.Internal {
		t.Fatalf("it reads as %v", err)
	}
	if err := d.DeleteAccount(ctx, "example.com", "x", 0); err != nil {
		t.Fatal(err)
	}
	create(t, d, "example.com", "x")
}

func TestOfConcurrentCreationsOneWins(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	for round := range 10 {
		name := "fresh"
		if round >= 5 { // over a tombstone
			name = "again"
			if a, err := d.Account(ctx, "example.com", name); err == nil {
				remove(t, d, a)
			} else {
				remove(t, d, create(t, d, "example.com", name))
			}
		} else {
			name = fmt.Sprint(name, round)
		}
		var mu sync.Mutex
		var won []account.Account
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				a, err := d.CreateAccount(ctx, acc("example.com", name))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, a)
				} else if !errors.Is(err, ErrExists) {
					t.Errorf("a loser got %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d creations won", round, len(won))
		}
		if a, err := d.Account(ctx, "example.com", name); err != nil || a.UID != won[0].UID {
			t.Fatalf("%+v, %v", a, err)
		}
	}
}

func TestOfConcurrentUpdatesOneWins(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	a := create(t, d, "example.com", "x")
	won := make(chan account.Account, 16)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			edit := a
			edit.Username = fmt.Sprint("user", i)
			b, err := d.UpdateAccount(limited(t, 30*time.Second), edit)
			if err == nil {
				won <- b
			} else if !errors.Is(err, ErrConflict) {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d updates won", len(won))
	}
}

// replica answers direct gets in the place of the server: the stream has direct gets switched off, and a
// responder of the test answers them as a replica that lags behind would.
func replica(t *testing.T, d *Directory, n *testenv.NATS, answer func(subject string) *nats.Msg) {
	t.Helper()
	ctx := limited(t, 30*time.Second)
	s, err := n.JS.Stream(ctx, d.accounts.stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.AllowDirect = false
	if _, err := n.JS.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	root := "$JS.API.DIRECT.GET." + d.accounts.stream + "."
	sub, err := n.Conn.Subscribe(root+">", func(m *nats.Msg) {
		_ = m.RespondMsg(answer(m.Subject[len(root):]))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	if err := n.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

func recordOf(e entry, h nats.Header) *nats.Msg {
	m := &nats.Msg{Data: e.value, Header: nats.Header{}}
	for k, v := range h {
		m.Header[k] = v
	}
	m.Header.Set(jetstream.SubjectHeader, "$KV.ACCOUNTS."+e.key)
	m.Header.Set(jetstream.SequenceHeader, fmt.Sprint(e.revision))
	return m
}

func TestAReplicaThatLagsIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, lag := range map[string]func(old, gone entry) *nats.Msg{
		"an older revision": func(old, _ entry) *nats.Msg { return recordOf(old, nil) },
		"a tombstone":       func(_, gone entry) *nats.Msg { return recordOf(gone, tombstone()) },
		"nothing": func(_, _ entry) *nats.Msg {
			return &nats.Msg{Header: nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, n := newDirectory(t)
			ctx := limited(t, 30*time.Second)
			before := create(t, d, "example.com", "x")
			remove(t, d, before)
			gone, err := d.accounts.get(ctx, accountKey("example.com", "x"))
			if err != nil {
				t.Fatal(err)
			}
			a := create(t, d, "example.com", "x")
			old, err := d.accounts.get(ctx, accountKey("example.com", "x"))
			if err != nil {
				t.Fatal(err)
			}
			edit := a
			edit.Username = "bob"
			b, err := d.UpdateAccount(ctx, edit)
			if err != nil {
				t.Fatal(err)
			}
			asked := make(chan struct{}, 8)
			replica(t, d, n, func(string) *nats.Msg {
				asked <- struct{}{}
				return lag(old, gone)
			})
			got, err := d.AccountAt(ctx, "example.com", "x", a.UID, b.Revision)
			if err != nil || got.Username != "bob" || got.Revision != b.Revision {
				t.Fatalf("got %+v, %v", got, err)
			}
			if len(asked) != 1 {
				t.Fatalf("the replica was asked %d times", len(asked))
			}
			remove(t, d, b)
			if _, err := d.AccountAt(ctx, "example.com", "x", a.UID, b.Revision); !errors.Is(err, ErrNotFound) {
				t.Fatalf("a removed account: %v", err)
			}
		})
	}
}

func TestGoneIsATombstone(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	a := create(t, d, "example.com", "x")
	wipe(t, n)
	_, err := d.AccountAt(ctx, "example.com", "x", a.UID, a.Revision)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.Fatalf("a lost account: %v", err)
	}
	b := create(t, d, "example.com", "x")
	if b.Revision <= a.Revision {
		t.Fatalf("revision %d after the loss, %d before", b.Revision, a.Revision)
	}
	remove(t, d, b)
	if _, err := d.AccountAt(ctx, "example.com", "x", b.UID, b.Revision); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a removed account: %v", err)
	}
}

func TestOperationsOutliveARestart(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 60*time.Second)
	a := create(t, d, "example.com", "x")
	for name, op := range map[string]func() error{
		"create": func() error { _, err := d.CreateAccount(ctx, acc("example.com", "y")); return err },
		"update": func() error { _, err := d.UpdateAccount(ctx, a); return err },
		"read":   func() error { _, err := d.Account(ctx, "example.com", "x"); return err },
		"at":     func() error { _, err := d.AccountAt(ctx, "example.com", "x", a.UID, a.Revision); return err },
		"list": func() error {
			for _, err := range d.Accounts(ctx, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"settings":   func() error { _, err := d.Settings(ctx); return err },
		"collection": func() error { return d.UpdateCollection(ctx, a.UID, func(c *Collection) { c.Epoch += "e" }) },
	} {
		n.Stop()
		done := make(chan error, 1)
		go func() { done <- op() }()
		n.Start()
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	n.Stop()
	defer n.Start()
	if _, err := d.Account(limited(t, 200*time.Millisecond), "example.com", "x"); fault.KindOf(err) != fault.Internal || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("without a server: %v", err)
	}
}

func TestAnAttemptWhoseAnswerWasLostIsRecognised(t *testing.T) {
	t.Parallel()
	_, n := newDirectory(t)
	ctx := limited(t, 60*time.Second)
	_, js, dial := n.Deaf(t, "HPUB $KV.")
	d, err := Open(ctx, js, Config{})
	if err != nil {
		t.Fatal(err)
	}
	lose := dial.Arm
	lost := func(what string, err error) {
		t.Helper()
		if err != nil || dial.Armed() {
			t.Fatalf("%s: %v", what, err)
		}
	}
	lose()
	a, err := d.CreateAccount(ctx, acc("example.com", "x"))
	lost("create", err)
	lose()
	if _, err := d.CreateAccount(ctx, acc("example.com", "x")); !errors.Is(err, ErrExists) {
		t.Fatalf("another one's record is taken as ours: %v", err)
	}
	dial.Disarm()
	edit := a
	edit.Username = "bob"
	lose()
	b, err := d.UpdateAccount(ctx, edit)
	lost("update", err)
	if got, err := d.Account(ctx, "example.com", "x"); err != nil || !reflect.DeepEqual(got, b) || b.Revision <= a.Revision {
		t.Fatalf("got %+v, want %+v, %v", got, b, err)
	}
	lose()
	lost("delete", d.DeleteAccount(ctx, "example.com", "x", b.Revision))
	if _, err := d.AccountAt(ctx, "example.com", "x", a.UID, b.Revision); !errors.Is(err, ErrNotFound) {
		t.Fatalf("after its removal: %v", err)
	}
}

func BenchmarkAccountAt(b *testing.B) {
	d, _ := newDirectory(b)
	a := create(b, d, "example.com", "x")
	for b.Loop() {
		if _, err := d.AccountAt(context.Background(), a.Domain, a.Name, a.UID, a.Revision); err != nil {
			b.Fatal(err)
		}
	}
}
