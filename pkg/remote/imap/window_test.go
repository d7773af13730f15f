package imap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// one makes windows of one message.
func one(d remote.Dialer) remote.Dialer {
	d.Limits.Pipeline = 1
	return d
}

// items returns what [listed] lists.
func items(uids ...uint32) []remote.Item {
	var all []remote.Item
	for _, u := range uids {
		all = append(all, remote.Item{Mailbox: "INBOX", UIDValidity: 7, UID: u, Size: 3})
	}
	return all
}

// outcomes fetches and returns what came of each message, in the order of arrival.
func outcomes(t *testing.T, s remote.Session, all []remote.Item) (string, error) {
	t.Helper()
	var got []string
	err := s.Fetch(t.Context(), all, func(f remote.Fetched) error {
		got = append(got, fmt.Sprintf("%d:%s", f.Item.UID, outcome(f)))
		return nil
	})
	return strings.Join(got, " "), err
}

func TestWindows(t *testing.T) {
	t.Parallel()
	const asks = opens + "C? T2 UID FETCH 5 (\nC? T3 UID FETCH 6 (\nC? T4 UID FETCH 9 (\n"
	for name, tt := range map[string]struct{ dialogue, want string }{
		"are asked for ahead": {asks + five + "S: T2 OK a\n" + six + "S: T3 OK a\n" + nine + "S: T4 OK a\n", "5:abc 6:def 9:ghi"},
		"in any order":        {asks + nine + "S: T4 OK a\n" + six + five + "S: T3 OK a\nS: T2 OK a\n", "9:ghi 6:def 5:abc"},
		"one is refused": {asks + five + "S: T2 OK a\nS: T3 NO a\n" + nine + "S: T4 OK a\nC: T5 UID FETCH 6 (UID FLAGS BODY.PEEK[])\n" +
			six + "S: T5 OK a\n", "5:abc 9:ghi 6:def"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			s := session(t, one(dialer(nil)), local(script.Port))
			got, err := outcomes(t, s, items(5, 6, 9))
			if err != nil || got != tt.want {
				t.Errorf("%s, %v, want %s", got, err, tt.want)
			}
			wholly(t, script)
		})
	}
}

// TestWindowsByOctets asks for large messages one by one, whatever their number.
func TestWindowsByOctets(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, opens+"C? T2 UID FETCH 5:6 (\nC? T3 UID FETCH 9 (\n"+five+six+"S: T2 OK a\n"+nine+"S: T3 OK a\n")
	all := items(5, 6, 9)
	all[0].Size, all[1].Size, all[2].Size = 4<<20, 4<<20, 1
	got, err := outcomes(t, session(t, dialer(nil), local(script.Port)), all)
	if err != nil || got != "5:abc 6:def 9:ghi" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestOutOfOrder refuses message after message: the session ends before it has tried them all.
func TestOutOfOrder(t *testing.T) {
	t.Parallel()
	d := opens + "C? T2 UID FETCH 1:40 (\nS: T2 NO a\n"
	for n := 3; n < 3+3*16; n++ {
		d += fmt.Sprintf("C? T%d UID FETCH %d (UID \nS: T%d NO [UNAVAILABLE] b\n", n, (n-3)/3+1, n)
	}
	script := testenv.NewScript(t, d)
	var uids []uint32
	for u := range uint32(40) {
		uids = append(uids, u+1)
	}
	got, err := outcomes(t, session(t, dialer(nil), local(script.Port)), items(uids...))
	failsWith(t, err, fault.Unavailable, "UNAVAILABLE")
	if n := strings.Count(got, "!unavailable"); n != 16 {
		t.Errorf("%d messages were refused, want 16", n)
	}
	wholly(t, script)
}

func TestItemsThatCannotBeAskedFor(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, opens+"C? T2 UID FETCH 5 (\n"+five+"S: T2 OK a\n"+
		"C: T3 EXAMINE \"Sent\"\nS: T3 NO [NONEXISTENT] no\nC: T4 EXAMINE \"\"\nS: T4 NO [NONEXISTENT] no\n")
	d := dialer(nil)
	d.Limits.Message = 100
	all := append(items(5, 5, 6, 0, 9, 11), remote.Item{UIDValidity: 7, UID: 12})
	all[2].UIDValidity, all[4].Mailbox, all[5].Size = 8, "Sent", 101
	got, err := outcomes(t, session(t, d, local(script.Port)), all)
	if want := "0:!not-found 6:!not-found 11:!policy 5:abc 9:!not-found 12:!not-found"; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	wholly(t, script)
}

// TestSlowReader takes longer over each message than the server may be silent: time in which nobody waits
// for the server does not count.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("S* 8192 \"0123456789abcdef\"\n", 32)
	script := testenv.NewScript(t, fetches+"S: * 1 FETCH (UID 5 BODY[] {4194304}\n"+big+"S: )\n"+six+nine+"S: T3 OK a\n")
	d := dialer(nil)
	d.Limits.Command, d.Limits.Idle = time.Second, time.Second
	s := session(t, d, local(script.Port))
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
		n++
		if _, err := io.CopyN(io.Discard, f.Body, 1); err != nil {
			return err
		}
		<-time.After(1200 * time.Millisecond) // what is measured is that time passes
		_, err := io.Copy(io.Discard, f.Body)
		return err
	})
	if err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	<-time.After(1200 * time.Millisecond) // nor while no command is under way
	testenv.Eventually(t, 5*time.Second, "played", func() bool { return script.Finished() == 1 })
	if _, err := s.List(t.Context()); fault.KindOf(err) != fault.Timeout {
		t.Errorf("the session ended between two commands: %v", err)
	}
	_ = script.End() // the second listing is not in the dialogue
}

// TestDrip sends a body octet by octet: never silent for long, never done.
func TestDrip(t *testing.T) {
	t.Parallel()
	d := brief(dialer(nil))
	d.Limits.Idle = 300 * time.Millisecond
	inner := d.DialContext
	d.DialContext = dripping(inner, "BODY[] {")
	script := testenv.NewScript(t, fetches+"S: * 1 FETCH (UID 5 BODY[] {4096}\nS* 4096 \"x\"\nS: )\n")
	s := session(t, d, local(script.Port))
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got, err := outcomes(t, s, l.Items)
	failsWith(t, err, fault.Timeout, "no answer from the server within 300ms")
	if !strings.HasSuffix(got, "…!timeout") || time.Since(start) > 3*time.Second {
		t.Errorf("%s after %v", got, time.Since(start))
	}
	_ = script.End()
}

// TestEachPanics leaves nothing running behind a panic of each.
func TestEachPanics(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, fetches+five+six+nine+"S: T3 OK a\n")
	s := session(t, dialer(nil), local(script.Port))
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() != "mine" {
			t.Error("the panic is lost")
		}
		if _, err := s.List(t.Context()); err == nil {
			t.Error("the session goes on")
		}
		_ = s.Close(t.Context())
	}()
	_ = s.Fetch(t.Context(), l.Items, func(remote.Fetched) error { panic("mine") })
}

// TestCauseOfCancel keeps the reason for which the context of a run ended.
func TestCauseOfCancel(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, lists)
	s := session(t, dialer(nil), local(script.Port))
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the lock is lost")
	go func() {
		defer cancel(lost)
		testenv.Eventually(t, 5*time.Second, "played", func() bool { return script.Finished() == 1 })
	}()
	_, err := s.List(ctx)
	if !errors.Is(err, lost) || fault.KindOf(err) != fault.Canceled {
		t.Errorf("%v", err)
	}
}

// TestTrustIsAskedBeforeTheFirstOctet signs in to nothing when the lock is lost already.
func TestTrustIsAskedBeforeTheFirstOctet(t *testing.T) {
	t.Parallel()
	_, port := serve(t, goimap.CapSet{goimap.CapIMAP4rev1: {}})
	d := dialer(nil)
	asked := 0
	d.Trusted = func() error {
		if asked++; asked > 1 { // the first time is before dialing
			return errors.New("too late")
		}
		return nil
	}
	err := dialError(t, d, port)
	failsWith(t, err, fault.Canceled, "too late")
}

// TestLargeMessageNeedsNoMemory is checked against the heap: the body is larger than what may be added.
func TestLargeMessageNeedsNoMemory(t *testing.T) {
	const size = 100 << 20
	chunk := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
	port := stream(t, func(w io.Writer) {
		fmt.Fprintf(w, "* 1 FETCH (UID 5 BODY[] {%d}\r\n", size)
		for range size / len(chunk) {
			_, _ = w.Write(chunk)
		}
		fmt.Fprint(w, ")\r\n")
	})
	s := session(t, dialer(nil), local(port))
	heap := watchHeap(t)
	err := s.Fetch(t.Context(), items(5), func(f remote.Fetched) error {
		n, err := io.Copy(io.Discard, f.Body)
		if n != size {
			t.Errorf("%d octets", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if grown := heap(); grown > 2<<20 {
		t.Errorf("the heap has grown by %d octets", grown)
	}
}
