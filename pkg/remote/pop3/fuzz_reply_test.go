package pop3

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// piped returns a transport to a server that serve plays; it ends with the test of one input.
func piped(t *testing.T, limits remote.Limits, serve func(net.Conn)) *transport {
	client, server := net.Pipe()
	d := remote.Dialer{Limits: limits, DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
	c, err := d.Connect(t.Context(), remote.Target{Host: "localhost", Port: 110})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); serve(server); _ = server.Close() }()
	t.Cleanup(func() { c.Abort(); _ = server.Close(); <-done })
	return newTransport(c)
}

// FuzzReply reads status lines until one is none, and knows each from the octets alone.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"+OK\r\n-ERR no\r\n", "+OK x\r\n+OKAY\r\n", "\r\n", "+OK\n", "+OK a\rb\x00\xff\r\n+OK", "-ERR\r\n-ERRx\r\n", "+ \r\n",
		"-ERR kAnary-7f3a\r\n", strings.Repeat("+OK\r\n", 50), "+OK " + strings.Repeat("x", 300) + "\r\n",
	} {
		f.Add([]byte(s))
	}
	const line = 128
	f.Fuzz(func(t *testing.T, said []byte) {
		tr := piped(t, remote.Limits{Line: line}, func(c net.Conn) { _, _ = c.Write(said) })
		tr.secrets = []string{"kAnary-7f3a"}
		for rest := said; ; {
			next, after, whole := bytes.Cut(rest, []byte("\n"))
			text, crlf := bytes.CutSuffix(next, []byte("\r"))
			word, _, _ := bytes.Cut(text, []byte(" "))
			good := whole && crlf && len(next)+1 <= line && (string(word) == "+OK" || string(word) == "-ERR")
			err := tr.readStatus()
			if (err == nil) != good {
				t.Fatalf("%q: %v", next, err)
			}
			if err != nil {
				if k := fault.KindOf(err); k != fault.Protocol && k != fault.Network || strings.Contains(err.Error(), "kAnary-7f3a") {
					t.Fatalf("%q: kind %s: %v", next, k, err)
				}
				return
			}
			if !bytes.Equal(tr.status, text) || string(tr.pending) != string(text)+"\r\n" {
				t.Fatalf("%q: status %q, handed out %q", next, tr.status, tr.pending)
			}
			rest = after
		}
	})
}

// FuzzCapa reads capabilities.
func FuzzCapa(f *testing.F) {
	for _, s := range []string{
		"TOP\r\nUIDL\r\nSTLS\r\nPIPELINING\r\n", "EXPIRE 0\r\nLOGIN-DELAY 300 USER\r\n", "expire NEVER\r\nlogin-delay\r\n", "EXPIRE\r\n \r\n",
		"LOGIN-DELAY 99999999999999999999\r\n", "LOGIN-DELAY -5\r\n", "SASL\r\nSASL PLAIN LOGIN\r\n", "\x00\r\n\xff STLS\r\n", "EXPIRE USER\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		var caps, plain capabilities
		for lines := bufio.NewScanner(strings.NewReader(said)); lines.Scan(); {
			caps.add(lines.Text())
			switch words := strings.Fields(strings.ToUpper(lines.Text())); {
			case len(words) == 0:
			case words[0] == "STLS":
				plain.stls = true
			case words[0] == "TOP":
				plain.top = true
			case words[0] == "PIPELINING":
				plain.pipelining = true
			case words[0] == "EXPIRE":
				plain.expireZero = len(words) > 1 && words[1] == "0"
			}
		}
		if caps.loginDelay < 0 || caps.loginDelay > maxDelay {
			t.Fatalf("%q: a delay of %v", said, caps.loginDelay)
		}
		if caps.stls != plain.stls || caps.top != plain.top || caps.pipelining != plain.pipelining || caps.expireZero != plain.expireZero {
			t.Fatalf("%q: %+v, want %+v", said, caps, plain)
		}
	})
}

// lenientTwin is what the body comes to where the server falls silent after in and answers NOOP.
func lenientTwin(in []byte) (out []byte, ended bool) {
	if out, rest, ended := twin(in); ended {
		return out, len(rest) == 0
	}
	text, crlf := bytes.CutSuffix(in, []byte(".\r\n"))
	if !crlf {
		var lf bool
		if text, lf = bytes.CutSuffix(in, []byte(".\n")); !lf {
			return nil, false
		}
	}
	out = bytes.ReplaceAll(append([]byte("\r\n"), text...), []byte("\r\n."), []byte("\r\n"))[2:]
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, "\r\n"...)
	}
	return out, true
}

// FuzzLenient reads a body that may end without its mark.
func FuzzLenient(f *testing.F) {
	for _, s := range []string{
		"text.\r\n", "x\r\n.\r\n", ".\n", "..\n", "a\r\n..\r\n", "a\n.\n", "a\r\n.x.\r\n", "\r\n", ".\r", "a.\r\n.\r\n", "..\r\n", "a.\r\nb",
		"\r\n.\n", "x.\n", "...\r\n", "\r\n..\n",
	} {
		f.Add([]byte(s))
	}
	limits := remote.Limits{Quiet: 5 * time.Millisecond, Idle: 20 * time.Millisecond, Command: 5 * time.Second}
	f.Fuzz(func(t *testing.T, in []byte) {
		want, ends := lenientTwin(in)
		if _, rest, ended := twin(in); ended && len(rest) > 0 {
			t.Skip("the next answer")
		}
		synctest.Test(t, func(t *testing.T) { // silence is a matter of the clock
			s := &session{lenient: true}
			s.t = piped(t, limits, func(c net.Conn) {
				_, _ = c.Write(in)
				if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && line == "NOOP\r\n" {
					_, _ = io.WriteString(c, "+OK\r\n")
				}
				_, _ = io.Copy(io.Discard, c)
			})
			s.t.SilentFor(limits.Idle)
			got, err := io.ReadAll(s.message(true))
			if (err == nil) != ends || ends && !bytes.Equal(got, want) {
				t.Fatalf("%q: got %q %v, want %q %v", in, got, err, want, ends)
			}
		})
	})
}
