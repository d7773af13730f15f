package localtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// shape makes messages of one kind. canonical says that they are lines that end with CRLF and hold no NUL: what every
// way carries as it is.
type shape struct {
	name      string
	canonical bool
	make      func(r *rand.Rand) string
}

const generatedHeader = "From: a@example.org\r\nSubject: x\r\n\r\n"

// NoHeader is how a generated message begins that has neither header nor empty line.
const NoHeader = "Hello there\r\n"

// shapes are what generated messages are made of, in turn.
var shapes = []shape{
	{"ordinary", true, func(r *rand.Rand) string { return generatedHeader + joined(r, "\r\n", ascii) }},
	{"8-bit", true, func(r *rand.Rand) string { return generatedHeader + joined(r, "\r\n", octet) }},
	{"dots", true, func(r *rand.Rand) string {
		return generatedHeader + joined(r, "\r\n", func(r *rand.Rand) byte { return ". x"[r.IntN(3)] })
	}},
	{"long lines", true, func(r *rand.Rand) string {
		return generatedHeader + strings.Repeat(string(rune('a'+r.IntN(26))), 100<<10+r.IntN(100)) + "\r\n" + joined(r, "\r\n", ascii)
	}},
	{"empty header", true, func(r *rand.Rand) string { return "\r\n" + joined(r, "\r\n", octet) }},
	{"empty", true, func(*rand.Rand) string { return "" }},
	// A relay may put an empty line in front of text that has none above it: Postfix does.
	{"no header", false, func(r *rand.Rand) string { return NoHeader + joined(r, "\r\n", octet) }},
	{"no final line end", false, func(r *rand.Rand) string { return generatedHeader + joined(r, "\r\n", ascii) + "end" }},
	{"bare LF", false, func(r *rand.Rand) string { return generatedHeader + joined(r, "\n", octet) }},
	{"bare CR", false, func(r *rand.Rand) string { return generatedHeader + joined(r, "\r", octet) }},
	{"NUL", false, func(r *rand.Rand) string {
		return generatedHeader + joined(r, "\r\n", func(r *rand.Rand) byte { return "\x00ab"[r.IntN(3)] })
	}},
}

func ascii(r *rand.Rand) byte { return byte(' ' + r.IntN(95)) }

// octet returns any but NUL, CR and LF.
func octet(r *rand.Rand) byte {
	for {
		if b := byte(1 + r.IntN(255)); b != '\r' && b != '\n' {
			return b
		}
	}
}

// joined returns lines of octets, each with its end.
func joined(r *rand.Rand, end string, octet func(*rand.Rand) byte) string {
	var b strings.Builder
	for range r.IntN(30) {
		for range r.IntN(200) {
			b.WriteByte(octet(r))
		}
		b.WriteString(end)
	}
	return b.String()
}

// identityMailboxes is how many recipients the generated messages go to.
const identityMailboxes = 10

// Identity hands over n generated messages, always the same ones, to recipients of the instance's domain, and sees that
// each arrives once and as Carry says, by SHA-256 of what follows the trace. A canonical message must be among what Carry
// leaves as it is, but for how a store ends its lines.
func Identity(t *testing.T, in Instance, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(20261126, 3030)) //nolint:gosec // the same in every run
	want := map[string][sha256.Size]byte{}     // by trace
	names := map[string]string{}
	slots := make(chan struct{}, 8)
	var sent sync.WaitGroup
	for i := range n {
		s := shapes[i%len(shapes)]
		body := s.make(r)
		msg := message(fmt.Sprintf("identity%d", i), body)
		carried := in.Carry([]byte(body))
		if s.canonical && string(carried) != body && string(bytes.ReplaceAll(carried, []byte("\n"), []byte("\r\n"))) != body {
			t.Errorf("message %d (%s): the way changes a canonical message", i, s.name)
		}
		trace := strings.TrimSuffix(string(msg.Trace), "\r\n")
		want[trace], names[trace] = sha256.Sum256(carried), s.name
		slots <- struct{}{}
		sent.Go(func() {
			deliverWithin(t, in, msg, identityTo(in, i), 5*time.Minute)
			<-slots
		})
	}
	sent.Wait()
	for got := range arrived(t, in, n) {
		trace, rest, _ := strings.Cut(got, "\n")
		trace = strings.TrimSuffix(trace, "\r")
		if hash, ok := want[trace]; !ok {
			t.Errorf("a message that was not sent, or comes twice: %.300q", got)
		} else if hash != sha256.Sum256([]byte(rest)) {
			t.Errorf("%s (%s) arrives as %.300q", trace, names[trace], rest)
		}
		delete(want, trace)
	}
	for trace := range want {
		t.Errorf("%s (%s) does not arrive", trace, names[trace])
	}
}

func identityTo(in Instance, i int) string {
	return fmt.Sprintf("identity%d@%s", i%identityMailboxes, in.Domain)
}

// arrived returns what lies in the mailboxes once it is n messages; a relay takes its time.
func arrived(t *testing.T, in Instance, n int) map[string]struct{} {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		all, count := map[string]struct{}{}, 0
		for i := range identityMailboxes {
			for _, m := range mail(t, in, identityTo(in, i)) {
				all[m] = struct{}{}
				count++
			}
		}
		if count >= n || time.Now().After(deadline) {
			if count > n {
				t.Errorf("%d messages arrive, %d were sent", count, n)
			}
			return all
		}
	}
}
