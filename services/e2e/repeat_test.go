package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// appends is a house whose only account files n messages into two mailboxes by IMAP APPEND.
type appends struct {
	*house
	local *testenv.Dovecot
	a     account.Account
	n     int
}

func newAppends(t *testing.T, port func(*testenv.Dovecot) int) *appends {
	t.Helper()
	remote := testenv.NewDovecot(t)
	local := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotMaster("ferry", "master-secret"))
	r := &appends{house: newHouse(t, remote), local: local, n: 6}
	r.destination("lmtp:127.0.0.1:1")
	r.mailboxDestination(fmt.Sprintf("imap:127.0.0.1:%d", port(local)), "ferry", "master-secret")
	for i := range r.n {
		remote.Append("appends", fmt.Appendf(nil, "X-Seed: appends-%d\r\nSubject: %d\r\n\r\nx\r\n", i, i))
	}
	r.a = r.account("appends", "appends", account.IMAP, account.Delete, func(a *account.Account) {
		a.ForwardTo, a.CopyTo = "alice@example.com/Imported/Gmail", []string{"alice@example.com/Copies"}
	})
	return r
}

// once sees that everything is collected, and lies once in each of the mailboxes.
func (r *appends) once() {
	r.t.Helper()
	testenv.Eventually(r.t, 2*time.Minute, "everything is collected", func() bool {
		return r.idle(r.a) && len(r.remote.Messages("appends")) == 0
	})
	for _, mailbox := range []string{"Imported.Gmail", "Copies"} {
		seen := map[string]int{}
		for _, m := range r.local.MessagesIn("alice@example.com", mailbox) {
			_, rest, _ := bytes.Cut(m, []byte("X-Seed: "))
			id, _, _ := bytes.Cut(rest, []byte("\n"))
			seen[strings.TrimSpace(string(id))]++
		}
		for i := range r.n {
			if c := seen[fmt.Sprintf("appends-%d", i)]; c != 1 {
				r.t.Errorf("%s has message %d %d times", mailbox, i, c)
			}
		}
	}
}

// TestAppendCrash kills the delivery between the OK of APPEND and the record of it, in either mailbox of a message: the
// next delivery finds the message where it lies, and appends no other.
func TestAppendCrash(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"first mailbox": "delivery.accepted:3", "second mailbox": "delivery.accepted:4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acquire(t)
			r := newAppends(t, func(d *testenv.Dovecot) int { return d.IMAPPort })
			r.start("worker")
			victim := r.startWith("delivery", []string{"--handlers", "1"}, "MAILFERRY_KILL_AT="+at)
			r.trigger(r.a, "first", queue.Scheduled)
			testenv.Eventually(t, time.Minute, "delivery is killed", victim.ended)
			r.start("delivery")
			r.once()
		})
	}
}

// TestAppendAnswersLost cuts the connection in place of the first answer to each APPEND: nothing is appended again.
func TestAppendAnswersLost(t *testing.T) {
	t.Parallel()
	acquire(t)
	var cut *cutter
	r := newAppends(t, func(d *testenv.Dovecot) int {
		cut = newCutter(t, fmt.Sprintf("127.0.0.1:%d", d.IMAPPort), "[APPENDUID ")
		return cut.port
	})
	r.start("worker")
	delivery := r.start("delivery")
	r.trigger(r.a, "first", queue.Scheduled)
	r.once()
	log, err := os.ReadFile(delivery.log)
	if n := cut.cuts.Load(); n < 2*int64(r.n) || err != nil || !bytes.Contains(log, []byte("answer was lost")) {
		t.Errorf("%d answers were lost, %v", n, err)
	}
}

// cutter passes on what a server says up to the first line with a word, and hangs up in its place.
type cutter struct {
	port int
	cuts atomic.Int64
}

func newCutter(t *testing.T, server, word string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &cutter{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(client, server, word)
		}
	}()
	return c
}

func (c *cutter) serve(client net.Conn, server, word string) {
	defer func() { _ = client.Close() }()
	s, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(s, client)
		_ = s.Close()
	}()
	for r := bufio.NewReader(s); ; {
		line, err := r.ReadBytes('\n')
		if bytes.Contains(line, []byte(word)) {
			c.cuts.Add(1)
			return
		}
		if _, werr := client.Write(line); err != nil || werr != nil {
			return
		}
	}
}
