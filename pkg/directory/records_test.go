package directory

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

func TestDomains(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	if _, err := d.Domain(ctx, "example.com"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before it is there: %v", err)
	}
	for _, name := range []string{"z.example", "a.example", "ü.example"} {
		if dom, err := d.PutDomain(ctx, Domain{Name: name}); err != nil || dom.Revision == 0 {
			t.Fatalf("%+v, %v", dom, err)
		}
	}
	if _, err := d.PutDomain(ctx, Domain{Name: "a.example"}); !errors.Is(err, ErrExists) {
		t.Fatalf("a second creation: %v", err)
	}
	a, err := d.Domain(ctx, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	edit := a
	edit.Destination = "maildir:/var/mail"
	b, err := d.PutDomain(ctx, edit)
	if err != nil || b.Revision <= a.Revision || b.Destination != edit.Destination {
		t.Fatalf("%+v, %v", b, err)
	}
	if _, err := d.PutDomain(ctx, edit); !errors.Is(err, ErrConflict) {
		t.Fatalf("an edit of an old revision: %v", err)
	}
	if err := d.DeleteDomain(ctx, "z.example"); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteDomain(ctx, "z.example"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a second removal: %v", err)
	}
	if _, err := n.JS.Publish(ctx, d.domains.root+"rubbish", []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	all, err := d.Domains(ctx)
	if err != nil || len(all) != 2 || !reflect.DeepEqual(all[0], b) || all[1].Name != "ü.example" {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := d.PutDomain(ctx, Domain{Name: "z.example"}); err != nil { // over a tombstone
		t.Fatal(err)
	}
	if _, err := d.PutDomain(ctx, Domain{}); err == nil {
		t.Fatal("a domain without a name was taken")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	s, err := d.Settings(ctx)
	if err != nil || !reflect.DeepEqual(s, Settings{Interval: 10 * time.Minute, POP3Locking: true}) {
		t.Fatalf("defaults %+v, %v", s, err)
	}
	s, err = d.UpdateSettings(ctx, func(s *Settings) error {
		s.POP3Locking, s.Destination = false, "lmtp:127.0.0.1:24"
		return nil
	})
	if err != nil || s.Revision == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if got, err := d.Settings(ctx); err != nil || !reflect.DeepEqual(got, s) || got.Interval != 10*time.Minute || got.POP3Locking {
		t.Fatalf("%+v, %v", got, err)
	}
	refused := errors.New("refused")
	if _, err := d.UpdateSettings(ctx, func(*Settings) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("the error of the change: %v", err)
	}
	var wg sync.WaitGroup
	for range 8 { // none is lost
		wg.Go(func() {
			if _, err := d.UpdateSettings(ctx, func(s *Settings) error { s.Interval += time.Minute; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := d.Settings(ctx); err != nil || got.Interval != 18*time.Minute {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestCollections(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 30*time.Second)
	if c, err := d.Collection(ctx, "u1"); err != nil || c != (Collection{}) {
		t.Fatalf("never collected: %+v, %v", c, err)
	}
	for i := range 3 {
		want := Collection{Epoch: fmt.Sprint("e", i), Since: testNow.Add(time.Duration(i) * time.Hour)}
		if err := d.UpdateCollection(ctx, "u1", func(c *Collection) { *c = want }); err != nil {
			t.Fatal(err)
		}
		if c, err := d.Collection(ctx, "u1"); err != nil || c != want {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if err := d.UpdateCollection(ctx, "u2", func(c *Collection) { c.Epoch = "e" }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.DeleteCollection(ctx, "u1"); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := d.Collection(ctx, "u1"); err != nil || c != (Collection{}) {
		t.Fatalf("after its removal: %+v, %v", c, err)
	}
	if c, err := d.Collection(ctx, "u2"); err != nil || c.Epoch != "e" || !c.Since.IsZero() {
		t.Fatalf("that of another account: %+v, %v", c, err)
	}
	if err := d.UpdateCollection(ctx, "", func(c *Collection) { c.Epoch = "e" }); err == nil {
		t.Fatal("a collection of no account was taken")
	}
	for _, c := range []Collection{{TLSTarget: "h:110", TLSVersion: "TLS 1.3", TLSSince: testNow}, {}} {
		if err := d.UpdateCollection(ctx, "u2", func(there *Collection) { *there = c }); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Collection(ctx, "u2"); err != nil || got != c {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	faster := func() { // somebody opens an epoch while the last thing on record is being taken off
		if err := d.UpdateCollection(ctx, "u4", func(c *Collection) { c.Epoch = "e4" }); err != nil {
			t.Error(err)
		}
	}
	if err := d.UpdateCollection(ctx, "u4", func(c *Collection) { c.TLSTarget = "h:110" }); err != nil {
		t.Fatal(err)
	}
	if err := d.UpdateCollection(ctx, "u4", func(c *Collection) {
		c.TLSTarget = ""
		faster()
		faster = func() {}
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Collection(ctx, "u4"); err != nil || got.Epoch != "e4" || got.TLSTarget != "" {
		t.Fatalf("what was written meanwhile: %+v, %v", got, err)
	}
	if _, err := n.JS.Publish(ctx, d.collections.root+"u3", []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Collection(ctx, "u3"); fault.KindOf(err) != fault.Internal {
		t.Fatalf("a record that cannot be read counts as never collected: %+v, %v", c, err)
	}
}
