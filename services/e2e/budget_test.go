package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// counter is a POP3 server of empty maildrops that counts its sessions and the logins of each user.
type counter struct {
	port int
	hold time.Duration // how long a session lasts at least

	mu         sync.Mutex
	open, most int
	logins     map[string]int
	times      []time.Time
	who        []string             // of each of times
	dialed     map[string]time.Time // when the last session of each user began
}

func newCounter(t testing.TB, hold time.Duration) *counter { return newCounterAt(t, "127.0.0.1", hold) }

func newCounterAt(t testing.TB, address string, hold time.Duration) *counter {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{port: l.Addr().(*net.TCPAddr).Port, hold: hold, logins: map[string]int{}, dialed: map[string]time.Time{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return c
}

func (c *counter) serve(conn net.Conn) {
	dialed := time.Now()
	c.mu.Lock()
	c.open++
	c.most = max(c.most, c.open)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
		_ = conn.Close()
	}()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	say := func(s string) { _, _ = conn.Write([]byte(s + "\r\n")) }
	say("+OK")
	for s := bufio.NewScanner(conn); s.Scan(); {
		switch verb, arg, _ := strings.Cut(s.Text(), " "); strings.ToUpper(verb) {
		case "USER":
			c.mu.Lock()
			c.logins[arg]++
			c.dialed[arg] = dialed
			c.times, c.who = append(c.times, time.Now()), append(c.who, arg)
			c.mu.Unlock()
			say("+OK")
		case "CAPA":
			say("+OK\r\nUSER\r\nUIDL\r\n.")
		case "LIST", "UIDL":
			say("+OK\r\n.")
		case "STAT":
			time.Sleep(c.hold) // the session is open so long
			say("+OK 0 0")
		case "QUIT":
			c.mu.Lock()
			c.open-- // the client counts it as over before it hears the answer
			c.mu.Unlock()
			say("+OK")
			_, _ = conn.Read(make([]byte, 1))
			c.mu.Lock()
			c.open++
			c.mu.Unlock()
			return
		default:
			say("+OK")
		}
	}
}

// seen returns how many users have signed in.
func (c *counter) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.logins)
}

// TestBudgetOfAHost has two workers with many slots and a host that may have two sessions at a time: the accounts stand in line in
// the due index, everybody has a turn, and somebody who fetches by hand does not wait for the line.
func TestBudgetOfAHost(t *testing.T) {
	t.Parallel()
	const n = 24
	h, c := newHouse(t, nil), newCounter(t, 100*time.Millisecond)
	_, err := h.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval, s.Budgets = "maildir:"+h.dir+"/mail/%d/%n", 24*time.Hour, "127.0.0.1=2/0"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var accounts []account.Account
	for i := range n {
		accounts = append(accounts, h.add(account.Account{
			Name: fmt.Sprint("a", i), Protocol: account.POP3, Host: fmt.Sprintf("127.0.0.1:%d", c.port), TLS: account.Disable,
		}, "p"))
	}
	h.start("planner")
	testenv.Eventually(t, time.Minute, "the planner has heard of all", func() bool {
		_, _, err := h.due.Get(t.Context(), accounts[n-1].UID)
		return err == nil
	})
	h.start("worker")
	h.start("worker")
	for i, a := range accounts {
		h.trigger(a, fmt.Sprint("s", i), queue.Scheduled)
	}
	h.trigger(accounts[n-1], "now", queue.Manual)
	testenv.Eventually(t, 2*time.Minute, "each account has signed in", func() bool { return c.seen() == n })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.most > 2 {
		t.Errorf("%d sessions at a time", c.most)
	}
	for i, a := range accounts {
		if e, _, err := h.due.Get(t.Context(), a.UID); err != nil || e.Failures > 0 {
			t.Errorf("account %d: %+v, %v", i, e.State, err)
		}
	}
}
