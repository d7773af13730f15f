// Package localtest is the suite that every [local.Destination] passes: what arrives is what was handed
// over, whole or not at all, and everybody gets an answer. It is imported from tests only.
package localtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

// Instance is a destination under test with an empty mail store.
type Instance struct {
	Destination local.Destination
	// Domain is where every local part of letters and digits is a recipient.
	Domain string
	// Refused is an address that is answered 5yz.
	Refused string
	// Mail returns the messages of a recipient, as they lie there.
	Mail func(t testing.TB, recipient string) [][]byte
	// Carry returns what the way to the mail store makes of a message.
	Carry func(message []byte) []byte
}

// Run runs the suite; open makes an instance that ends with the test. As it measures memory, t must not be
// parallel.
func Run(t *testing.T, open func(t testing.TB) Instance) {
	in := open(t)
	for name, fn := range map[string]func(*testing.T, Instance){
		"octets": octets, "recipients": recipients, "failing body": failingBody, "commit": commit,
		"canceled": canceled, "concurrent": concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(t, in)
		})
	}
	t.Run("memory", func(t *testing.T) { memory(t, in) })
	t.Run("close", func(t *testing.T) { closing(t, open(t)) })
}

// Messages are bodies that have been trouble somewhere, by name.
func Messages() map[string]string {
	const h = "Subject: x\r\n\r\n"
	return map[string]string{
		"empty":                    "",
		"ordinary":                 h + "Hello\r\nworld\r\n",
		"no final line end":        h + "Hello",
		"NUL":                      h + "a\x00b\r\n",
		"final CR":                 h + "Hello\r",
		"final LF":                 h + "Hello\n",
		"header only":              "Subject: x\r\n",
		"no header":                "\r\nHello\r\n",
		"dots":                     h + ".\r\n..\r\n...\r\n.x\r\nx.\r\n.",
		"dot first":                ".\r\n",
		"end of data, LF LF":       h + "a\n.\nMAIL FROM:<evil@example.com>\nRCPT TO:<x@example.com>\nDATA\nb\n.\n",
		"end of data, LF CRLF":     h + "a\n.\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nb\r\n.\r\n",
		"end of data, CR CR":       h + "a\r.\rMAIL FROM:<evil@example.com>\r",
		"end of data, CRLF CR":     h + "a\r\n.\rb\r\n",
		"end of data, CRLF LF":     h + "a\r\n.\nb\r\n",
		"end of data, CRLF CRLF":   h + "a\r\n.\r\nMAIL FROM:<evil@example.com>\r\n.\r\n",
		"end of data, CR CRLF CR":  h + "a\r\r\n.\r\r\nb\r\n",
		"LF only":                  strings.ReplaceAll(h, "\r", "") + "Hello\n\nworld\n",
		"CR only":                  h + "Hello\rworld\r\rend",
		"8-bit":                    h + "Gr\xfc\xdfe, Gr\xc3\xbc\xc3\x9fe, \xff\xfe\x80\r\n",
		"long line":                h + strings.Repeat("x", 100_000) + "\r\nend\r\n",
		"many short lines":         h + strings.Repeat(".\r\n", 30_000),
		"many LF":                  h + strings.Repeat("\n", 40_000) + "end",
		"mbox line":                "From alice Mon Jan  1 00:00:00 2024\r\n" + h + "From me\r\n>From you\r\n",
		"size of a buffer, no end": h + strings.Repeat("x", 32<<10-len(h)-64),
	}
}

func octets(t *testing.T, in Instance) {
	n := 0
	for name, body := range Messages() {
		n++
		to := fmt.Sprintf("octets%d@%s", n, in.Domain)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for id, r := range map[string]io.Reader{
				"whole":  strings.NewReader(body),
				"pieces": iotest.OneByteReader(strings.NewReader(body)),
				"late":   iotest.DataErrReader(strings.NewReader(body)),
			} {
				id += name
				msg := message(id, body)
				msg.Body = r
				deliver(t, in, msg, to)
			}
			var want []string
			for _, id := range []string{"whole", "pieces", "late"} {
				want = append(want, wanted(in, message(id+name, body), body))
			}
			got := mail(t, in, to)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("stored %.300q\nwant   %.300q", got, want)
			}
		})
	}
}

func recipients(t *testing.T, in Instance) {
	const body = "Subject: many\r\n\r\nHello\r\n"
	to := []string{"many1@" + in.Domain, in.Refused, "many2@" + in.Domain, "bad\r\nRCPT TO:<evil@" + in.Domain + ">", "many3@" + in.Domain}
	msg := message("many", body)
	replies, err := in.Destination.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: to}, msg, allow)
	if err != nil || len(replies) != len(to) {
		t.Fatalf("replies %+v, error %v; want %d replies", replies, err, len(to))
	}
	for i, r := range replies {
		good := i%2 == 0
		if r.Recipient != to[i] || r.Accepted() != good || !good && r.Code/100 != 5 {
			t.Errorf("reply %d is %+v", i, r)
		}
		if good {
			if got := mail(t, in, to[i]); !slices.Equal(got, []string{wanted(in, msg, body)}) {
				t.Errorf("%s has %q", to[i], got)
			}
		}
	}
	replies, err = in.Destination.Deliver(t.Context(), local.Envelope{To: []string{in.Refused}}, message("none", body),
		func(context.Context) error { t.Error("commit for nobody"); return nil })
	if err != nil || len(replies) != 1 || replies[0].Code/100 != 5 {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

func failingBody(t *testing.T, in Instance) {
	boom := errors.New("boom")
	for i, ok := range []int{0, 1, 100, 20_000, 3 << 20} {
		to := fmt.Sprintf("failing%d@%s", i, in.Domain)
		msg := message(fmt.Sprintf("failing%d", i), "")
		msg.Size = int64(ok) + 100
		msg.Body = io.MultiReader(io.LimitReader(&lines{}, int64(ok)), iotest.ErrReader(boom))
		replies, err := in.Destination.Deliver(t.Context(), local.Envelope{To: []string{to}}, msg,
			func(context.Context) error { t.Error("commit of a message that failed"); return nil })
		if !errors.Is(err, boom) || local.Uncertain(err) || len(replies) != 0 {
			t.Errorf("after %d octets: replies %+v, error %v", ok, replies, err)
		}
		if got := mail(t, in, to); len(got) != 0 {
			t.Errorf("after %d octets: %q", ok, got)
		}
	}
}

func commit(t *testing.T, in Instance) {
	for i, size := range []int64{10, 40 << 10, 3 << 20} {
		no := errors.New("the lease is gone")
		to := fmt.Sprintf("commit%d@%s", i, in.Domain)
		calls := 0
		for _, answer := range []error{no, nil} {
			body := &counter{r: io.LimitReader(&lines{}, size)}
			msg := message(fmt.Sprintf("commit%d", i), "")
			msg.Body, msg.Size, calls = body, size, 0
			replies, err := in.Destination.Deliver(t.Context(), local.Envelope{To: []string{to}}, msg,
				func(context.Context) error {
					calls++
					if body.n != size {
						t.Errorf("commit after %d of %d octets were read", body.n, size)
					}
					if got := mail(t, in, to); len(got) != 0 {
						t.Error("there is mail before commit")
					}
					return answer
				})
			if !errors.Is(err, answer) || local.Uncertain(err) || calls != 1 || (answer == nil) != (len(replies) == 1) {
				t.Errorf("commit %v: replies %+v, error %v, %d calls", answer, replies, err, calls)
			}
			if got, want := len(mail(t, in, to)), 1; answer != nil && got != 0 || answer == nil && got != want {
				t.Errorf("commit %v: %d messages", answer, got)
			}
		}
	}
}

func canceled(t *testing.T, in Instance) {
	to := "canceled@" + in.Domain
	ctx, cancel := context.WithCancel(t.Context())
	msg := message("canceled", "Subject: x\r\n\r\n")
	_, err := in.Destination.Deliver(ctx, local.Envelope{To: []string{to}}, msg,
		func(context.Context) error { cancel(); return nil })
	if err != nil && (!errors.Is(err, context.Canceled) || local.Uncertain(err)) {
		t.Errorf("canceled in commit: %v", err)
	}
	// Whoever was canceled that late may have been served: then there is no error.
	if got := mail(t, in, to); (len(got) == 1) != (err == nil) {
		t.Errorf("canceled in commit: error %v, mail %q", err, got)
	}
	to = "canceled2@" + in.Domain
	_, err = in.Destination.Deliver(ctx, local.Envelope{To: []string{to}}, message("canceled2", "x"), allow)
	if !errors.Is(err, context.Canceled) || local.Uncertain(err) || len(mail(t, in, to)) != 0 {
		t.Errorf("canceled before: %v", err)
	}
}

func concurrent(t *testing.T, in Instance) {
	const senders, each = 8, 5
	var wg sync.WaitGroup
	var want [senders][]string
	for s := range senders {
		to := fmt.Sprintf("concurrent%d@%s", s, in.Domain)
		for n := range each {
			body := fmt.Sprintf("Subject: %d of %d\r\n\r\n%s\r\n", n, s, strings.Repeat("x", n*s*1000))
			msg := message(fmt.Sprintf("concurrent-%d-%d", s, n), body)
			want[s] = append(want[s], wanted(in, msg, body))
			wg.Go(func() { deliver(t, in, msg, to) })
		}
	}
	wg.Wait()
	for s := range senders {
		got := mail(t, in, fmt.Sprintf("concurrent%d@%s", s, in.Domain))
		slices.Sort(got)
		slices.Sort(want[s])
		if !slices.Equal(got, want[s]) {
			t.Errorf("recipient %d has %d messages that differ from the %d sent", s, len(got), len(want[s]))
		}
	}
}

// memory sees that 5 MB on their way occupy next to nothing.
func memory(t *testing.T, in Instance) {
	const size, bound = 5 << 20, 1 << 20
	to := "memory@" + in.Domain
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var peak int64
	msg := message("memory", "")
	msg.Body = &counter{r: io.LimitReader(&lines{}, size), every: size / 4, at: func() { peak = max(peak, heap()-before) }}
	msg.Size = size
	deliver(t, in, msg, to)
	if peak > bound {
		t.Errorf("a message of %d octets takes %d octets of memory", size, peak)
	}
	whole, _ := io.ReadAll(io.LimitReader(&lines{}, size))
	if got := mail(t, in, to); len(got) != 1 || got[0] != wanted(in, msg, string(whole)) {
		t.Errorf("%d messages, or not what was sent", len(got))
	}
}

func closing(t *testing.T, in Instance) {
	to := "close@" + in.Domain
	deliver(t, in, message("close1", "x"), to)
	var inner error
	msg := message("close2", "x")
	_, err := in.Destination.Deliver(t.Context(), local.Envelope{To: []string{to}}, msg,
		func(context.Context) error { inner = in.Destination.Close(); return nil })
	if err := errors.Join(err, inner, in.Destination.Close()); err != nil {
		t.Errorf("a delivery during Close: %v", err)
	}
	if got := mail(t, in, to); len(got) != 2 {
		t.Errorf("%d messages, want 2", len(got))
	}
}

func allow(context.Context) error { return nil }

// message returns one with a trace line of its own.
func message(id, body string) local.Message {
	id = strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '_'
		}
		return r
	}, id)
	return local.Message{
		Trace: []byte("X-Mailferry: account=test; key=" + id + "\r\n"),
		Body:  strings.NewReader(body), Size: int64(len(body)), ID: "test-" + id,
	}
}

func wanted(in Instance, msg local.Message, body string) string {
	return string(in.Carry(append(slices.Clone(msg.Trace), body...)))
}

// deliver hands over a message that must be accepted.
func deliver(t testing.TB, in Instance, msg local.Message, to string) {
	t.Helper()
	deliverWithin(t, in, msg, to, time.Minute)
}

func deliverWithin(t testing.TB, in Instance, msg local.Message, to string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	replies, err := in.Destination.Deliver(ctx, local.Envelope{From: "sender@example.org", To: []string{to}}, msg, allow)
	if err != nil || len(replies) != 1 || !replies[0].Accepted() || replies[0].Recipient != to {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

// mail returns the messages of a recipient from their trace on: what is above, the destination wrote.
func mail(t testing.TB, in Instance, recipient string) []string {
	t.Helper()
	var out []string
	for _, m := range in.Mail(t, recipient) {
		i := bytes.Index(m, []byte("X-Mailferry: "))
		if i < 0 {
			t.Errorf("a message without trace: %.300q", m)
			continue
		}
		out = append(out, string(m[i:]))
	}
	return out
}
