package lmtp_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// moody is a server with state, as RFC 5321 and RFC 3030 want it, that refuses what it likes and hangs up at times. It counts
// what it took.
type moody struct {
	mu    sync.Mutex
	rng   *rand.Rand
	taken map[string]int // recipient and body
	rode  int            // transactions that came behind another
}

func (m *moody) chance(percent int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(100) < percent
}

func (m *moody) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, w := bufio.NewReaderSize(c, 256<<10), bufio.NewWriter(c)
	say := func(s string) { _, _ = w.WriteString(s + "\r\n") }
	say("220 moody")
	mail, to := false, ""
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "LHLO":
			mail, to = false, ""
			say("250-PIPELINING\r\n250 CHUNKING")
		case "RSET":
			mail, to = false, ""
			say("250 reset")
		case "MAIL":
			switch {
			case mail:
				say("503 nested MAIL")
			case m.chance(5):
				say("451 not from there")
			default:
				mail = true
				say("250 ok")
			}
		case "RCPT":
			switch {
			case !mail:
				say("503 need MAIL")
			case m.chance(10):
				say("550 who")
			default:
				to = strings.TrimSuffix(strings.TrimPrefix(rest, "TO:<"), ">")
				say("250 ok")
			}
		case "BDAT":
			size, _ := strconv.Atoi(strings.TrimSuffix(rest, " LAST"))
			text := make([]byte, size)
			if _, err := io.ReadFull(r, text); err != nil {
				return
			}
			if to == "" {
				say("503 need RCPT")
				break
			}
			if m.chance(1) {
				if m.chance(50) {
					say("421 bye")
				}
				_ = w.Flush()
				return
			}
			if m.chance(10) {
				say("452 full")
			} else {
				m.mu.Lock()
				m.taken[to+"\n"+string(text)]++
				if r.Buffered() > 0 {
					m.rode++
				}
				m.mu.Unlock()
				say("250 saved " + to)
				if m.chance(1) { // the answer is lost, now and then
					if m.chance(50) {
						_ = w.Flush()
					}
					return
				}
			}
			mail, to = false, ""
		case "QUIT":
			return
		default:
			say("500 what")
		}
	}
}

// Whatever a server refuses, and whenever it hangs up, each message that counts as accepted is there once, for who it was for and
// as it was; one that counts as refused is not there; and only of one whose answer was lost nobody knows.
func TestEachMessageOnce(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	m := &moody{rng: rand.New(rand.NewPCG(seed, 0)), taken: map[string]int{}} //nolint:gosec // a server's moods
	l, err := net.Listen("unix", testenv.TempDir(t)+"/lmtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c)
		}
	}()
	c := lmtp.New(lmtp.Config{Hello: "me", MaxConns: 2, Endpoints: []lmtp.Endpoint{{Network: "unix", Address: l.Addr().String()}}})
	const workers, each = 32, 150
	type result struct {
		key     string
		replies []local.Reply
		err     error
	}
	results := make(chan result, workers*each)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := range each {
				to := fmt.Sprintf("u%d.%d@b", n, i)
				body := strings.Repeat(fmt.Sprintf("RSET\r\nMAIL FROM:<%d>\r\nNOOP\r\n", i), 1+(n*i)%50)
				replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{to}},
					local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(body), Size: int64(len(body))}, nil)
				results <- result{to + "\nTrace: 1\r\n" + body, replies, err}
			}
		})
	}
	wg.Wait()
	_ = c.Close()
	close(results)
	accepted, refused, lost := 0, 0, 0
	for r := range results {
		to, _, _ := strings.Cut(r.key, "\n")
		n := m.taken[r.key]
		delete(m.taken, r.key)
		switch {
		case local.Uncertain(r.err):
			lost++
			if strings.Contains(r.err.Error(), "out of step") {
				t.Errorf("%s: %v", to, r.err)
			}
			if n > 1 {
				t.Errorf("%s is there %d times", to, n)
			}
		case r.err == nil && len(r.replies) == 1 && r.replies[0].Accepted():
			accepted++
			if n != 1 || r.replies[0].Text != "saved "+to {
				t.Errorf("%s is there %d times; it was answered %q", to, n, r.replies[0].Text)
			}
		default:
			refused++
			if n != 0 {
				t.Errorf("%s is there %d times; it was answered %+v, %v", to, n, r.replies, r.err)
			}
		}
	}
	if len(m.taken) != 0 {
		t.Errorf("%d messages that nobody sent", len(m.taken))
	}
	t.Logf("%d accepted, %d refused or failed, %d uncertain; %d rode in front of another", accepted, refused, lost, m.rode)
	if accepted == 0 || refused == 0 || m.rode == 0 {
		t.Error("not all was tried")
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// crowd hands messages over at once on one connection, some of them for a recipient who is refused.
func crowd(t *testing.T, c *lmtp.Client, refused string) (accepted int) {
	t.Helper()
	var wg sync.WaitGroup
	for n := range 40 {
		to := "alice@example.com"
		if n%5 == 2 {
			to = refused
		} else {
			accepted++
		}
		wg.Go(func() {
			msg := filtered(fmt.Sprint("isp", n))
			replies, err := c.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: []string{to}}, msg, nil)
			if err != nil || len(replies) != 1 || replies[0].Accepted() == (to == refused) {
				t.Errorf("message %d to %s: replies %+v, error %v", n, to, replies, err)
			}
		})
	}
	wg.Wait()
	return accepted
}

// Servers that are in use take several transactions in one write, and swallow the chunks that they refuse.
func TestRealServersTakeRiders(t *testing.T) {
	t.Parallel()
	each := func(t *testing.T, dove *testenv.Dovecot, want int) {
		t.Helper()
		testenv.Eventually(t, time.Minute, "all messages lie there", func() bool { return len(dove.Messages("alice@example.com")) == want })
		accounts := map[string]bool{}
		for _, m := range dove.Messages("alice@example.com") {
			_, rest, _ := strings.Cut(string(m), "account=")
			account, _, _ := strings.Cut(rest, ";")
			accounts[account] = true
			if !strings.HasSuffix(string(m), "Subject: x\n\nGr\xc3\xbc\xc3\x9fe\n.\n") {
				t.Errorf("message %q", m)
			}
		}
		if len(accounts) != want {
			t.Errorf("%d different messages, want %d", len(accounts), want)
		}
	}
	t.Run("Dovecot", func(t *testing.T) {
		t.Parallel()
		dove := testenv.NewDovecot(t, testenv.DovecotNoTLS())
		rides := &rideCount{}
		c := lmtp.New(lmtp.Config{MaxConns: 1, Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}, Dial: rides.dial}).Fast()
		defer c.Close()
		each(t, dove, crowd(t, c, "@example.com"))
		if rides.n.Load() == 0 {
			t.Error("nobody rode")
		}
	})
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		p, dove := postfix(t, "")
		c := relay(t, p, dove.Password, p.Pool, func(c *lmtp.Config) { c.MaxConns = 1 }).Fast()
		each(t, dove, crowd(t, c, "refused@example.com"))
	})
}

// rideCount counts the transactions that go out with another.
type rideCount struct{ n atomic.Int64 }

func (r *rideCount) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &rideConn{c, r}, err
}

type rideConn struct {
	net.Conn
	count *rideCount
}

func (c *rideConn) Write(p []byte) (int, error) {
	c.count.n.Add(int64(max(0, bytes.Count(p, []byte(" LAST\r\n"))-1)))
	return c.Conn.Write(p)
}
