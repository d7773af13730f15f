package lmtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
)

// peer is the server's end of a pipe, where each write of the client is one read.
type peer struct {
	t *testing.T
	net.Conn
	buf [1 << 20]byte
}

// heard returns the next write of the client, "" after its end.
func (p *peer) heard() string {
	n, err := p.Read(p.buf[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Error(err)
	}
	return string(p.buf[:n])
}

func (p *peer) want(what string) {
	p.t.Helper()
	if got := p.heard(); got != what {
		p.t.Errorf("the client wrote %q, want %q", got, what)
	}
}

func (p *peer) say(lines ...string) {
	for _, l := range lines {
		_, _ = io.WriteString(p, l+"\r\n")
	}
}

// greet speaks up to the answer to LHLO.
func (p *peer) greet(extensions ...string) {
	p.t.Helper()
	p.say("220 ready")
	p.want("LHLO me\r\n")
	for _, e := range extensions {
		p.say("250-" + e)
	}
	p.say("250 ok")
}

// accept takes one message for one recipient.
func (p *peer) accept() bool {
	if s := p.heard(); s == "" || s == "QUIT\r\n" {
		return false
	}
	p.say("250 ok", "250 ok", "354 go")
	p.heard()
	p.say("250 saved")
	return true
}

// pipes returns a configuration that connects to serve, which gets the number of the connection.
func pipes(t *testing.T, serve func(n int, p *peer)) lmtp.Config {
	t.Helper()
	var n atomic.Int32
	return lmtp.Config{Hello: "me", Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			serve(int(n.Add(1)), &peer{t: t, Conn: theirs})
		}()
		return ours, nil
	}}
}

func TestOneWriteWithPipelining(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING", "SIZE 1000", "SMTPUTF8")
		p.want("MAIL FROM:<sender@example.org> SIZE=15\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
		p.say("250 ok", "250 ok", "250 ok", "354 go")
		p.want("Trace: 1\r\nhello\r\n.\r\n")
		p.say("250 a", "250 b")
		p.want("MAIL FROM:<> SIZE=5 SMTPUTF8\r\nRCPT TO:<ä@b>\r\nDATA\r\n")
		p.say("250 ok", "250 ok", "354 go")
		p.want("hello\r\n.\r\n")
		p.say("250 a")
		p.want("QUIT\r\n")
	}))
	env := local.Envelope{From: "sender@example.org", To: []string{"a@b", "c@d"}}
	if _, err := c.Deliver(t.Context(), env, local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader("hello"), Size: 5}, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Deliver(t.Context(), local.Envelope{To: []string{"ä@b"}}, local.Message{Body: strings.NewReader("hello"), Size: 5}, nil); err != nil {
		t.Error(err)
	}
	_ = c.Close()
}

func TestOneCommandAtATimeWithoutPipelining(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("8BITMIME")
		p.want("MAIL FROM:<> BODY=8BITMIME\r\n")
		p.say("250 ok")
		p.want("RCPT TO:<a@b>\r\n")
		p.say("550 who")
		p.want("RCPT TO:<c@d>\r\n")
		p.say("250 ok")
		p.want("DATA\r\n")
		p.say("354 go")
		p.want("hello\r\n.\r\n")
		p.say("250 ok")
		p.want("MAIL FROM:<> BODY=8BITMIME\r\n")
		p.say("250 ok")
		p.want("RCPT TO:<a@b>\r\n")
		p.say("550 who")
		p.want("RCPT TO:<c@d>\r\n")
		p.say("550 who") // nobody is left: no DATA
		p.want("RSET\r\n")
		p.say("250 ok")
		p.want("MAIL FROM:<> BODY=8BITMIME\r\n")
		p.say("550 no") // refused as a whole: no RCPT
		p.want("QUIT\r\n")
	}))
	env := local.Envelope{To: []string{"a@b", "c@d"}}
	for _, want := range [][]int{{550, 250}, {550, 550}, {550, 550}} {
		replies, err := c.Deliver(t.Context(), env, local.Message{Body: strings.NewReader("hello")}, nil)
		if err != nil || !slices.Equal(codes(replies), want) {
			t.Errorf("replies %+v, error %v", replies, err)
		}
	}
	_ = c.Close()
}

func TestManyRecipientsGoInGroups(t *testing.T) {
	t.Parallel()
	var to []string
	for n := range 250 {
		to = append(to, fmt.Sprintf("u%d@b", n))
	}
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING")
		for range 3 { // 252 commands
			for range strings.Count(p.heard(), "\r\n") - 1 {
				p.say("250 ok")
			}
			if p.t.Failed() {
				return
			}
			p.say("354 go")
		}
	}))
	// The last answer of the first group is 354 in the wrong place: the client notices.
	if _, err := c.Deliver(t.Context(), local.Envelope{To: to}, local.Message{Body: strings.NewReader("x")}, nil); err == nil {
		t.Error("354 for a RCPT passes")
	}
	c = lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING")
		for left := 252; left > 0; {
			n := strings.Count(p.heard(), "\r\n")
			if n > 100 {
				p.t.Errorf("%d commands at once", n)
			}
			for range n {
				if left--; left == 0 {
					p.say("354 go")
					break
				}
				p.say("250 ok")
			}
		}
		p.heard()
		for range to {
			p.say("250 ok")
		}
	}))
	replies, err := c.Deliver(t.Context(), local.Envelope{To: to}, local.Message{Body: strings.NewReader("x")}, nil)
	if err != nil || len(replies) != 250 || replies[249].Recipient != "u249@b" {
		t.Errorf("%d replies, error %v", len(replies), err)
	}
}

func TestAddressesCannotLeaveTheirCommand(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING")
		p.want("MAIL FROM:<>\r\nRCPT TO:<good@b>\r\nDATA\r\n")
		p.say("250 ok", "250 ok", "354 go")
		p.want(".\r\n")
		p.say("250 ok")
	}))
	bad := []string{"", "a@b\r\nDATA", "a@b> SIZE=1", "<a@b", "a b@c", "a\x00@b", "\xff@b", "ä@b", strings.Repeat("a", 400)}
	for _, from := range bad {
		to := append([]string{"good@b"}, bad...)
		replies, err := c.Deliver(t.Context(), local.Envelope{From: from, To: to}, local.Message{Body: strings.NewReader("")}, nil)
		if err != nil || len(replies) != len(to) || replies[0].Code != 250 {
			t.Fatalf("from %q: replies %+v, error %v", from, replies, err)
		}
		for i, r := range replies[1:] {
			if r.Code != 553 || r.Recipient != bad[i] {
				t.Errorf("%q: %+v", bad[i], r)
			}
		}
		_ = c.Close()
	}
	replies, err := c.Deliver(t.Context(), local.Envelope{To: bad[:1]}, local.Message{Body: strings.NewReader("")}, nil)
	if err != nil || !slices.Equal(codes(replies), []int{553}) {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

// The server gives a kept connection up in the moment it is used: another one serves the message.
func TestStaleConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	for name, bye := range map[string]string{"closed": "", "421": "421 idle"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := lmtp.New(pipes(t, func(n int, p *peer) {
				p.greet("PIPELINING")
				p.accept()
				p.heard()
				if bye != "" {
					p.say(bye)
				}
			}))
			commits := 0
			for range 4 {
				replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")},
					func(context.Context) error { commits++; return nil })
				if err != nil || !slices.Equal(codes(replies), []int{250}) {
					t.Errorf("replies %+v, error %v", replies, err)
				}
			}
			if commits != 4 {
				t.Errorf("%d commits", commits)
			}
		})
	}
}

// A server that says 421 goes away, whatever it was asked (RFC 5321 §3.8).
func TestConnectionEndsWith421(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 2)
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING")
		p.heard()
		p.say("250 ok", "250 ok", "354 go")
		p.heard()
		p.say("421 bye")
		ended <- p.heard()
	}))
	for range 2 {
		replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")}, nil)
		if err != nil || !slices.Equal(codes(replies), []int{421}) {
			t.Errorf("replies %+v, error %v", replies, err)
		}
		if s := <-ended; s != "" {
			t.Errorf("the client went on with %q", s)
		}
	}
}

// An answer too many, in one piece with the last one, puts a connection out of step.
func TestConnectionWithAnAnswerTooManyIsNotUsed(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING")
		p.heard()
		p.say("250 ok", "250 ok", "354 go")
		p.heard()
		p.say("250 saved\r\n250 odd\r\n250 odd\r\n354 odd\r\n250 odd")
		if s := p.heard(); s != "" {
			t.Errorf("the client went on with %q", s)
		}
	}))
	for range 2 {
		replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")}, nil)
		if err != nil || !slices.Equal(codes(replies), []int{250}) || replies[0].Text != "saved" {
			t.Errorf("replies %+v, error %v", replies, err)
		}
	}
	_ = c.Close()
}

func TestConnectionsAreBoundedAndWaitingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open, peak atomic.Int32
		cfg := pipes(t, func(_ int, p *peer) {
			peak.Store(max(peak.Load(), open.Add(1)))
			defer open.Add(-1)
			p.greet("PIPELINING")
			for p.accept() {
			}
		})
		cfg.MaxConns = 2
		c := lmtp.New(cfg)
		deliver := func(ctx context.Context, work time.Duration) error {
			_, err := c.Deliver(ctx, local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")},
				func(context.Context) error { time.Sleep(work); return nil })
			return err
		}
		done := make(chan error, 6)
		for range 6 {
			go func() { done <- deliver(t.Context(), time.Minute) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := deliver(ctx, 0); fault.KindOf(err) != fault.Timeout || local.Uncertain(err) {
			t.Errorf("waiting for a connection ends with %v", err)
		}
		start := time.Now()
		for range 6 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if peak.Load() != 2 || time.Since(start) > 4*time.Minute {
			t.Errorf("%d connections, %v", peak.Load(), time.Since(start))
		}
		synctest.Wait()
		if open.Load() != 2 {
			t.Errorf("%d connections kept", open.Load())
		}
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if open.Load() != 2 {
			t.Errorf("%d connections kept after 29 s", open.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if open.Load() != 0 {
			t.Errorf("%d connections kept after 31 s", open.Load())
		}
		// The pool works on after it was swept, and closes what it keeps.
		if err := deliver(t.Context(), 0); err != nil || open.Load() != 1 {
			t.Errorf("error %v, %d connections", err, open.Load())
		}
		_ = c.Close()
		synctest.Wait()
		if open.Load() != 0 {
			t.Errorf("%d connections after Close", open.Load())
		}
	})
}

// Fault 28: after the dot nothing but its own long limit ends the wait for the answer.
func TestAnswerIsAwaitedAfterTheDot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after   time.Duration
		timeout bool
	}{"slow": {9 * time.Minute, false}, "too slow": {11 * time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				c := lmtp.New(pipes(t, func(_ int, p *peer) {
					p.greet("PIPELINING")
					p.heard()
					p.say("250 ok", "250 ok", "354 go")
					p.want("x\r\n.\r\n")
					cancel()
					time.Sleep(tt.after)
					p.say("250 saved")
				}))
				replies, err := c.Deliver(ctx, local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")}, nil)
				if (err != nil) != tt.timeout || local.Uncertain(err) != tt.timeout || (len(replies) == 1) == tt.timeout {
					t.Errorf("replies %+v, error %v", replies, err)
				}
				_ = c.Close()
				time.Sleep(2 * time.Minute) // the server ends, too
			})
		})
	}
}

// Before the dot a canceled context ends the wait at once, and a server that stops reading ends it in time.
func TestNothingWaitsForEver(t *testing.T) {
	t.Parallel()
	stages := map[string]func(p *peer){
		"greeting": func(*peer) {},
		"LHLO":     func(p *peer) { p.say("220 ready"); p.heard() },
		"commands": func(p *peer) { p.greet("PIPELINING"); p.heard(); p.say("250 ok") },
		"body":     func(p *peer) { p.greet("PIPELINING"); p.heard(); p.say("250 ok", "250 ok", "354 go"); p.heard() },
	}
	for name, stage := range stages {
		for how, limit := range map[string]time.Duration{"canceled": time.Second, "limit": 62 * time.Second} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					end := make(chan struct{})
					c := lmtp.New(pipes(t, func(_ int, p *peer) { stage(p); <-end }))
					defer close(end)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if how == "canceled" {
						time.AfterFunc(time.Second, cancel)
					}
					start := time.Now()
					replies, err := c.Deliver(ctx, local.Envelope{To: []string{"a@b"}},
						local.Message{Body: strings.NewReader(strings.Repeat("x", 1<<20))},
						func(context.Context) error { t.Error("commit"); return nil })
					want := fault.DestinationTemporary
					if how == "canceled" {
						want = fault.Canceled
					}
					if fault.KindOf(err) != want || local.Uncertain(err) || len(replies) != 0 || time.Since(start) > limit {
						t.Errorf("after %v: replies %+v, error %v", time.Since(start), replies, err)
					}
				})
			})
		}
	}
}

// A lost lease is told from other ends of the context by its cause.
func TestCauseOfTheEndIsKept(t *testing.T) {
	t.Parallel()
	gone := errors.New("the lease is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := lmtp.New(pipes(t, func(_ int, p *peer) { p.greet("PIPELINING"); p.heard(); cancel(gone); p.heard() }))
	_, err := c.Deliver(ctx, local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")}, nil)
	if !errors.Is(err, gone) || fault.KindOf(err) != fault.Canceled {
		t.Errorf("error %v", err)
	}
}
