package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// numberless stands before an IMAP server and, while it hides, makes UIDVALIDITY a code that nobody knows.
type numberless struct {
	port  int
	hides atomic.Bool
}

func newNumberless(t *testing.T, server string) *numberless {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &numberless{port: l.Addr().(*net.TCPAddr).Port}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client, server) })
		}
	})
	return p
}

func (p *numberless) serve(client net.Conn, server string) {
	defer client.Close()
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer up.Close()
		_, _ = io.Copy(up, client)
	}()
	for r := bufio.NewReader(up); ; {
		line, err := r.ReadBytes('\n')
		if p.hides.Load() {
			line = bytes.ReplaceAll(line, []byte("UIDVALIDITY"), []byte("X-UNHEARD-OF"))
		}
		if _, werr := client.Write(line); err != nil || werr != nil {
			break
		}
	}
	_ = client.Close()
	<-done
}

// TestNoUIDValidity collects each message once from mailboxes of which the server gives no UIDVALIDITY, also when it begins
// to give it and ends to; it deletes only what has a number that holds.
func TestNoUIDValidity(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	front := newNumberless(t, fmt.Sprintf("%s:%d", p.remote.Host, p.remote.IMAPPort))
	front.hides.Store(true)
	put := func(mailbox, id string) {
		t.Helper()
		p.remote.AppendTo("alice", mailbox, fmt.Appendf(nil, "Received: from a by b; Thu, 26 Nov 2026 08:00:00 +0000\r\nMessage-ID: <%s@test>\r\nDate: Thu, 26 Nov 2026 08:00:00 +0000\r\nSubject: %s\r\n\r\n%s\r\n", id, id, id))
	}
	for i := range 3 {
		put("INBOX", fmt.Sprint("m", i))
		put("Work", fmt.Sprint("w", i))
	}
	put("Work", "m0") // the same message in two mailboxes is two
	a := p.add(account.Account{
		Name: "alice", Protocol: account.IMAP, Host: fmt.Sprintf("127.0.0.1:%d", front.port), TLS: account.Disable, After: account.Delete, Mailboxes: []string{"INBOX", "Work"},
	}, p.remote.Password)
	fetch := func(want int) {
		t.Helper()
		for range 2 {
			p.cli.ok("fetch", a.Ref())
		}
		if n := p.got(a); n != want {
			t.Errorf("%d messages arrived, want %d", n, want)
		}
	}
	left := func() int { return len(p.remote.Messages("alice")) + len(p.remote.MessagesIn("alice", "Work")) }
	fetch(7)
	if out := p.cli.ok("runs", a.Ref(), "--json"); left() != 7 || !strings.Contains(out, "gives their mailbox no UIDVALIDITY") {
		t.Errorf("%d are left:\n%s", left(), out)
	}
	put("INBOX", "m4")
	fetch(8)
	front.hides.Store(false)
	testenv.Eventually(t, 60*time.Second, "what has a number again is deleted", func() bool {
		_, _ = p.cli.run("fetch", a.Ref())
		return left() == 0
	})
	fetch(8)
	put("INBOX", "m5")
	p.cli.ok("account", "edit", a.Ref(), "--after", "leave")
	fetch(9)
	front.hides.Store(true)
	fetch(9)
	put("INBOX", "m6")
	fetch(10)
}
