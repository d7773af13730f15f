package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestHostileNeighbours lets hostile remote servers share a worker with a good one: the good account has its mail
// while they are still at it, and each of them ends in its kind.
func TestHostileNeighbours(t *testing.T) {
	t.Parallel()
	acquire(t)
	m := &matrix{house: newHouse(t, nil), sink: newSink(t)}
	m.destination(m.sink.destination())
	m.startWith("worker", []string{"--answer-timeout", "15s", "--run-limit", "20s"})
	m.start("delivery")
	cli := m.control()
	flood := strings.Repeat("1 unique-id\r\n", 4096)
	hostile := []struct {
		name, kind string
		fill       func(io.Writer) error
	}{
		{"endless", "protocol", func(w io.Writer) error {
			_, err := io.WriteString(w, flood)
			return err
		}},
		{"drip", "timeout", func(w io.Writer) error { // never silent for long, and never at an end
			time.Sleep(20 * time.Millisecond)
			_, err := io.WriteString(w, "1")
			return err
		}},
	}
	accounts := map[string]account.Account{}
	for _, s := range hostile {
		addr, reached := listsForEver(t, s.fill)
		a := m.add(account.Account{Name: s.name, Host: addr, Protocol: account.POP3, After: account.Leave}, "secret")
		accounts[s.name] = a
		m.trigger(a, s.name, queue.Scheduled)
		select {
		case <-reached:
		case <-time.After(patience):
			t.Fatal(s.name, " was not asked")
		}
	}
	good := m.row(t, "good", "K", nil)
	good.run()
	good.has("m1", "m2", "m3")
	if m.counts(accounts["drip"]).Job == "" {
		t.Error("the good account had its mail only after the hostile server was given up")
	}
	for _, s := range hostile {
		testenv.Eventually(t, patience, s.name+" ends", func() bool { return m.counts(accounts[s.name]).Job == "" })
		var report struct {
			Fault struct{ Kind, Message string }
		}
		line, _, _ := strings.Cut(cli.ok("runs", accounts[s.name].Ref(), "--json"), "\n")
		if err := json.Unmarshal([]byte(line), &report); err != nil || !strings.HasSuffix(strings.ToLower(report.Fault.Kind), "_"+s.kind) {
			t.Errorf("%s: run report %s, %v", s.name, line, err)
		}
	}
	good.finish()
}

// listsForEver is a POP3 server whose answer to UIDL is what fill writes, again and again. reached is closed when it
// has begun.
func listsForEver(t testing.TB, fill func(io.Writer) error) (addr string, reached chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached = make(chan struct{})
	var once sync.Once
	serve := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		answer := "+OK ready\r\n"
		for {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.TrimSpace(line) {
			case "CAPA":
				answer = "+OK\r\nUIDL\r\n.\r\n"
			case "STAT":
				answer = "+OK 1 100\r\n"
			case "UIDL":
				_, err = io.WriteString(c, "+OK\r\n")
				once.Do(func() { close(reached) })
				for err == nil {
					err = fill(c)
				}
				return
			default:
				answer = "+OK\r\n"
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), reached
}
