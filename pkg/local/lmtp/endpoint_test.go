package lmtp

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var h health
	for n, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60} {
		if !h.claim(now) {
			t.Fatalf("failure %d: not asked", n)
		}
		h.bad(now)
		h.bad(now) // at the same time
		now = now.Add(pause*time.Second - 1)
		if h.claim(now) {
			t.Fatalf("failure %d: asked before its pause of %d s is over", n, pause)
		}
		now = now.Add(1)
	}
	if !h.claim(now) || h.claim(now) {
		t.Error("want one message to find out")
	}
	h.good()
	for range 2 {
		if !h.claim(now) {
			t.Error("want every message to go there again")
		}
	}
}

// servers are two endpoints that may be down, and count what they are asked.
type servers struct {
	mu    sync.Mutex
	down  map[string]bool
	dials []string
}

func (s *servers) dial(_ context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, address)
	if s.down[address] {
		return nil, errors.New(address + " is down")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		buf := make([]byte, 4096)
		for _, say := range []string{"220 ready\r\n", "250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 " + address + "\r\n"} {
			if _, err := theirs.Write([]byte(say)); err != nil {
				return
			}
			if _, err := theirs.Read(buf); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

// asked returns what was dialed since it was last called.
func (s *servers) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.dials
	s.dials = nil
	return out
}

func (s *servers) set(address string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[address] = down
}

func TestTheNextServerTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &servers{down: map[string]bool{}}
		c := New(Config{Endpoints: []Endpoint{{"tcp", "a:24"}, {"tcp", "b:24"}}, Hello: "me", Dial: s.dial})
		deliver := func(want string, asked ...string) {
			t.Helper()
			replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"x@y"}}, local.Message{Body: strings.NewReader("")}, nil)
			if want == "" && fault.KindOf(err) != fault.DestinationTemporary || want != "" && (err != nil || replies[0].Text != want) {
				t.Errorf("replies %+v, error %v; want %s", replies, err, want)
			}
			if got := s.asked(); !slices.Equal(got, asked) {
				t.Errorf("asked %q, want %q", got, asked)
			}
			for _, e := range c.endpoints { // each message has its own connection
				for _, cn := range e.pool.expired(time.Now().Add(time.Hour)) {
					cn.quit()
				}
			}
		}
		deliver("a:24", "a:24")
		s.set("a:24", true)
		deliver("b:24", "a:24", "b:24")
		deliver("b:24", "b:24") // a is avoided
		time.Sleep(avoidMin)
		deliver("b:24", "a:24", "b:24") // a was probed
		deliver("b:24", "b:24")
		s.set("b:24", true)
		deliver("", "b:24", "a:24") // that all fail is no reason not to ask
		s.set("a:24", false)
		deliver("a:24", "b:24", "a:24")
		deliver("a:24", "a:24")
		_ = c.Close()
		synctest.Wait()
	})
}

// A message of which something was read is not begun again at another server.
func TestNoSecondServerForAMessageThatWasBegun(t *testing.T) {
	t.Parallel()
	var dials []string
	c := New(Config{Endpoints: []Endpoint{{"tcp", "a:24"}, {"tcp", "b:24"}}, Hello: "me", Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dials = append(dials, address)
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			buf := make([]byte, 4096)
			for _, say := range []string{"220 ready\r\n", "250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"} {
				_, _ = theirs.Write([]byte(say))
				_, _ = theirs.Read(buf)
			}
		}()
		return ours, nil
	}})
	_, err := c.Deliver(t.Context(), local.Envelope{To: []string{"x@y"}}, local.Message{Body: strings.NewReader("begin")}, nil)
	if !local.Uncertain(err) || !slices.Equal(dials, []string{"a:24"}) {
		t.Errorf("error %v, dialed %q", err, dials)
	}
}
