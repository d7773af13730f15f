// Package remotetest is the conformance suite of [remote.Session]: what a worker relies on, whatever the
// protocol. It is imported from tests only.
//
// The suite sees a session from above, and from below: it puts a connection of its own under the session
// to count what is written, to fall silent at any point, and to see that nothing more is sent.
package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// Env is an empty remote mailbox with its server.
type Env struct {
	// Dial signs in to the mailbox through d.
	Dial func(ctx context.Context, d remote.Dialer) (remote.Session, error)
	// Dialer reaches and trusts the server. The suite changes DialContext, Limits and Trusted of copies.
	Dialer remote.Dialer
	// Password must not show in any error.
	Password string
	// Append puts messages into the mailbox while no session is open.
	Append func(messages ...[]byte)
	// Served returns m as the server hands it out; nil if it cannot hold m at all.
	Served func(m []byte) []byte
	// Count says how many messages the mailbox holds.
	Count func() int
	// DeletesAtClose says that deletions come true only with Close (POP3).
	DeletesAtClose bool
}

// Run runs the suite; open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Env) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Env)
	}{
		{"an empty mailbox", testEmpty},
		{"messages come as they are", testMessages},
		{"a selection in another order", testSelection},
		{"a stream goes on with what more returns", testStream},
		{"what is left unread is passed over", testPartialRead},
		{"an error of each ends the session", testEachFails},
		{"deletions", testDelete},
		{"abort", testAbort},
		{"a canceled context ends every phase", testCancel},
		{"silence ends every phase", testSilence},
		{"a cut ends every phase", testCut},
		{"nothing is written without trust", testTrust},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// Samples returns the messages of the suite by name.
func Samples() map[string][]byte {
	const head = "From: a@example.com\r\nSubject: sample\r\n\r\n"
	big := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 5<<20/64)
	return map[string][]byte{
		"plain":            []byte(head + "one\r\ntwo\r\n"),
		"8-bit":            []byte("Subject: \xc3\xa4\xff\r\n\r\n\xe9\x80\xfe\r\n"),
		"bare LF":          []byte(head + "one\ntwo\n.\nthree\n..\nfour\r\n"),
		"bare CR":          []byte(head + "one\rtwo\r.\rthree\r\n"),
		"NUL":              []byte(head + "a\x00b\r\n"),
		"dots":             []byte(head + ".\r\n..\r\n.text\r\n...\r\n. \r\n"),
		"dot at the end":   []byte(head + "text\r\n."),
		"no final newline": []byte(head + "the end"),
		"empty body":       []byte(head),
		"header only":      []byte("Subject: no body\r\n"),
		"no header":        []byte("\r\nbody\r\n"),
		"a long line":      []byte(head + strings.Repeat("x", 200_000) + "\r\n"),
		"blank lines":      []byte(head + "\r\n\r\n\r\n"),
		"5 MB":             append([]byte(head), big...),
	}
}

// dial signs in or fails the test.
func (e Env) dial(t *testing.T) remote.Session {
	t.Helper()
	s, err := e.Dial(t.Context(), e.Dialer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	return s
}

// list lists or fails the test; the listing must be complete.
func list(t *testing.T, s remote.Session) []remote.Item {
	t.Helper()
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !l.Complete || l.Note != "" {
		t.Errorf("the listing is not complete: %q", l.Note)
	}
	return l.Items
}

func testEmpty(t *testing.T, e Env) {
	s := e.dial(t)
	if items := list(t, s); len(items) != 0 {
		t.Errorf("items %v", items)
	}
	if err := s.Fetch(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.List(t.Context()); err == nil {
		t.Error("a closed session lists")
	}
	s.Abort()
}

func testMessages(t *testing.T, e Env) {
	samples := Samples()
	var names []string
	for name := range samples {
		if e.Served(samples[name]) != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		e.Append(samples[name])
	}
	s := e.dial(t)
	items := list(t, s)
	if len(items) != len(names) {
		t.Fatalf("%d items of %d messages", len(items), len(names))
	}
	keys := map[string]bool{}
	for _, i := range items {
		keys[fmt.Sprint(i.Mailbox, i.UIDValidity, i.UID, i.UniqueID)] = true
	}
	if len(keys) != len(items) {
		t.Errorf("%d keys of %d items", len(keys), len(items))
	}
	next := 0
	err := s.Fetch(t.Context(), items, func(f remote.Fetched) error {
		name, want := names[next], e.Served(samples[names[next]])
		if f.Err != nil {
			t.Errorf("%s: %v", name, f.Err)
		} else if got, err := io.ReadAll(f.Body); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, got %d octets %.200q, want %d %.200q", name, err, len(got), got, len(want), want)
		}
		if f.Item != items[next] {
			t.Errorf("item %v, want %v", f.Item, items[next])
		}
		next++
		return nil
	})
	if err != nil || next != len(items) {
		t.Errorf("%d of %d: %v", next, len(items), err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if e.Count() != len(items) {
		t.Errorf("%d of %d messages are left by a session that deleted nothing", e.Count(), len(items))
	}
}

// numbered appends n small messages and returns them as they are served.
func (e Env) numbered(n int) [][]byte {
	var messages, served [][]byte
	for i := range n {
		m := fmt.Appendf(nil, "Subject: %d\r\n\r\nmessage %d\r\n", i, i)
		messages, served = append(messages, m), append(served, e.Served(m))
	}
	e.Append(messages...)
	return served
}

func testSelection(t *testing.T, e Env) {
	want := e.numbered(300)
	s := e.dial(t)
	items := list(t, s)
	if len(items) != len(want) {
		t.Fatalf("%d items", len(items))
	}
	got := map[int]int{}
	at := map[remote.Item]int{}
	var some []remote.Item
	for i := len(items) - 1; i >= 0; i -= 2 {
		some, at[items[i]] = append(some, items[i]), i
	}
	err := s.Fetch(t.Context(), some, func(f remote.Fetched) error {
		b, err := io.ReadAll(f.Body)
		if i, known := at[f.Item]; !known || err != nil || !bytes.Equal(b, want[i]) {
			t.Errorf("item %v: %q, %v", f.Item, b, err)
		}
		got[at[f.Item]]++
		return nil
	})
	if err != nil || len(got) != len(some) {
		t.Errorf("%d of %d: %v", len(got), len(some), err)
	}
}

func testStream(t *testing.T, e Env) {
	want := e.numbered(300)
	s := e.dial(t)
	items := list(t, s)
	at := map[remote.Item]int{}
	for i, it := range items {
		at[it] = i
	}
	left := items[70:]
	more := func() []remote.Item {
		next := left[:min(70, len(left))]
		left = left[len(next):]
		return next
	}
	got := map[int]int{}
	err := s.Stream(t.Context(), items[:70], more, func(f remote.Fetched) error {
		b, err := io.ReadAll(f.Body)
		if i, known := at[f.Item]; !known || err != nil || !bytes.Equal(b, want[i]) {
			t.Errorf("item %v: %q, %v", f.Item, b, err)
		}
		got[at[f.Item]]++
		return nil
	})
	if err != nil || len(got) != len(items) || len(items) != len(want) {
		t.Errorf("%d of %d: %v", len(got), len(items), err)
	}
}

func testPartialRead(t *testing.T, e Env) {
	want := e.numbered(100)
	e.Append(Samples()["5 MB"])
	s := e.dial(t)
	items := list(t, s)
	var kept io.Reader
	n := 0
	err := s.Fetch(t.Context(), items, func(f remote.Fetched) error {
		n++
		switch {
		case n%3 == 0: // nothing
		case n%3 == 1 || n > len(want):
			_, _ = f.Body.Read(make([]byte, 5))
			kept = f.Body
		default:
			if b, err := io.ReadAll(f.Body); err != nil || !bytes.Equal(b, want[n-1]) {
				t.Errorf("message %d: %q, %v", n, b, err)
			}
		}
		return nil
	})
	if err != nil || n != len(items) {
		t.Errorf("%d of %d: %v", n, len(items), err)
	}
	if b, err := io.ReadAll(kept); err == nil {
		t.Errorf("a body read after its time is whole: %.80q", b)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func testEachFails(t *testing.T, e Env) {
	e.numbered(20)
	p := &probe{at: -1}
	e.Dialer = p.under(e.Dialer)
	s := e.dial(t)
	items := list(t, s)
	mine := errors.New("the bus is gone")
	n := 0
	err := s.Fetch(t.Context(), items, func(remote.Fetched) error {
		if n++; n == 3 {
			return mine
		}
		return nil
	})
	if !errors.Is(err, mine) || n != 3 {
		t.Errorf("after %d: %v", n, err)
	}
	written := p.count()
	if err := s.Delete(t.Context(), items[:1]); err == nil {
		t.Error("the session goes on")
	}
	if err := s.Close(t.Context()); err == nil {
		t.Error("the session closes in order")
	}
	if p.count() != written {
		t.Error("the session sends on")
	}
	if e.Count() != len(items) {
		t.Errorf("%d of %d messages are left", e.Count(), len(items))
	}
}

func testDelete(t *testing.T, e Env) {
	want := e.numbered(200)
	s := e.dial(t)
	items := list(t, s)
	var gone []remote.Item
	var left [][]byte
	for i := range items {
		if i%4 == 0 {
			left = append(left, want[i])
		} else {
			gone = append(gone, items[i])
		}
	}
	if err := s.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = e.dial(t)
	var got [][]byte
	err := s.Fetch(t.Context(), list(t, s), func(f remote.Fetched) error {
		b, err := io.ReadAll(f.Body)
		got = append(got, b)
		return err
	})
	if err != nil || !slices.EqualFunc(got, left, bytes.Equal) {
		t.Errorf("left: %d messages, want %d: %v", len(got), len(left), err)
	}
	if e.DeletesAtClose {
		if err := s.Delete(t.Context(), list(t, s)); err != nil {
			t.Fatal(err)
		}
		s.Abort()
		if e.Count() != len(left) {
			t.Errorf("%d of %d messages are left by a session that was aborted", e.Count(), len(left))
		}
	}
}

func testAbort(t *testing.T, e Env) {
	e.numbered(5)
	s := e.dial(t)
	items := list(t, s)
	err := s.Fetch(t.Context(), items, func(remote.Fetched) error {
		done := make(chan struct{})
		go func() { s.Abort(); close(done) }()
		<-done
		return nil
	})
	if err != nil && fault.KindOf(err) != fault.Canceled {
		t.Errorf("fetch: %v is of kind %v", err, fault.KindOf(err))
	}
	if _, err := s.List(t.Context()); fault.KindOf(err) != fault.Canceled {
		t.Errorf("list: %v", err)
	}
	if err := s.Close(t.Context()); err == nil {
		t.Error("an aborted session closes in order")
	}
	s.Abort()
}
