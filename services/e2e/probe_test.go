package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestAccountsAreTested tests accounts, saved and not, at a real server: what it says is what the next run does,
// and nothing has changed after it, at the server, in the index or in any log.
func TestAccountsAreTested(t *testing.T) {
	t.Parallel()
	const canary = "canary-of-a-test-77"
	p := newPolicies(t)
	secret := filepath.Join(t.TempDir(), "test.secret") // outside of what is searched
	if err := os.WriteFile(secret, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	right := filepath.Join(t.TempDir(), "right.secret")
	if err := os.WriteFile(right, []byte(p.remote.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	p.workerTests()
	for _, protocol := range both {
		user := "tested-" + string(protocol)
		p.fill(user, 3, 500)
		a := p.account(user, user, protocol, account.Delete, func(a *account.Account) { a.AfterKeepNewest = 1 })
		t.Run(user, func(t *testing.T) {
			before := p.counts(a)
			want := []string{"works", "127.0.0.1:", "TLS 1.3 (ST", "--tls-pin", "3 messages", "would fetch", "would delete  2 messages", "2 of them once they are accepted", "1: among the newest 1"}
			p.tells([]string{a.Ref()}, want...)
			if now := p.counts(a); now != before || p.left(user) != "0 1 2" {
				t.Errorf("a test changed something: %+v, was %+v; left %s", now, before, p.left(user))
			}
			p.cli.ok("fetch", a.Ref())
			if got := p.left(user); got != "2" {
				t.Errorf("the run left %q", got)
			}
			p.tells([]string{a.Ref()}, "1 message", "would fetch   nothing", "1: collected already", "would delete  nothing")
			p.tells([]string{a.Ref(), "--keep-newest", "0"}, "would fetch   nothing", "1: collected already", "would delete  1 message")
			p.tells([]string{a.Ref(), "--keep-newest", "0", "--password-file", right}, "would fetch   1 message", "would delete  1 message")
			if p.left(user) != "2" {
				t.Errorf("a test with other settings changed something: %s", p.left(user))
			}
		})
	}
	port := fmt.Sprintf("%s:%d", p.remote.Host, p.remote.IMAPPort)
	unsaved := []string{"example.com/new", "--protocol", "imap", "--host", port, "--username", "tested-imap", "--password-file"}
	p.tells(append(unsaved, right), "works", "signed in by")
	if out, err := p.cli.run("account", "show", "example.com/new"); err == nil {
		t.Errorf("a test saved an account:\n%s", out)
	}
	// Five wrong passwords, and a right one is not tried for an hour: a test is no oracle.
	for range 5 {
		p.fails(append(unsaved, secret), "[auth]", "--tls-pin", "offers")
	}
	p.fails(append(unsaved, right), "[throttled]")
	p.fails([]string{"example.com/new", "--protocol", "imap", "--host", port, "--tls", "disable", "--username", "nobody", "--password-file", secret}, "[auth]")
	p.fails([]string{"example.com/new", "--protocol", "imap", "--host", "10.1.2.3", "--username", "u", "--password-file", secret}, "[policy]", "not one that accounts may use")
	p.fails([]string{"example.com/new", "--protocol", "imap", "--host", "127.0.0.1:25", "--username", "u", "--password-file", secret}, "[policy]", "not one that accounts may use")
	p.fails([]string{"example.com/new", "--address", "alice@own.example", "--password-file", secret}, "--protocol, --host, --username")
	p.fails([]string{"example.com/new", "--address", "alice@proton.me"}, "Bridge")
	p.search(canary)
}

// workerTests waits until a worker has started and listens for tests. It does so without one: their number is bounded.
func (h *house) workerTests() {
	h.t.Helper()
	testenv.Eventually(h.t, time.Minute, "a worker listens for tests", func() bool {
		_, err := h.nats.Conn.Request("ferry.v1.test", nil, 100*time.Millisecond)
		return !errors.Is(err, nats.ErrNoResponders)
	})
}

// tells tests an account and looks for what is said of it.
func (p *policies) tells(args []string, want ...string) {
	p.t.Helper()
	out := p.cli.ok(append([]string{"account", "test"}, args...)...)
	says(p.t, out, want...)
}

// fails tests an account in vain.
func (p *policies) fails(args []string, want ...string) {
	p.t.Helper()
	out, err := p.cli.run(append([]string{"account", "test"}, args...)...)
	if err == nil {
		p.t.Errorf("account test %s: it works:\n%s", strings.Join(args, " "), out)
	}
	says(p.t, out, want...)
}

func says(t testing.TB, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not said:\n%s", w, out)
		}
	}
}

// TestATestDuringARun tests an account whose run goes on: no second session is opened, and the run is not told to
// repeat. A run that is wanted while a test goes on is not lost.
func TestATestDuringARun(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h := newHouse(t, remote)
	h.destination(newSink(t).destination())
	remote.Append("busy", []byte("Subject: x\r\n\r\n"))
	a := h.account("busy", "busy", account.POP3, account.Delete)
	h.start("worker")
	cli := h.control()
	h.workerTests()
	h.trigger(a, "job", queue.Manual) // there is no delivery: the run waits for a receipt
	testenv.Eventually(t, 30*time.Second, "a run waits for its receipt", func() bool { return h.counts(a).Marked == 1 && h.counts(a).Job != "" })
	sessions := remote.Sessions("busy").Total
	out, err := cli.run("account", "test", a.Ref())
	if err == nil || !strings.Contains(out, "[in-use]") || !strings.Contains(out, "going on since 20") {
		t.Errorf("a test during a run: %v\n%s", err, out)
	}
	if n := remote.Sessions("busy").Total; n != sessions {
		t.Errorf("a test opened a session beside the run's: %d, were %d", n, sessions)
	}
	h.start("delivery")
	testenv.Eventually(t, 60*time.Second, "the run has ended", func() bool { return h.idle(a) })
	if n := remote.Sessions("busy").Total; n != sessions {
		t.Errorf("the run was repeated because of a test: %d sessions, were %d", n, sessions)
	}
}

// TestNoWorkerTests says so where no worker is there.
func TestNoWorkerTests(t *testing.T) {
	t.Parallel()
	acquire(t)
	h := newHouse(t, testenv.NewDovecot(t))
	a := h.account("alone", "alone", account.POP3, account.Leave)
	cli := h.control()
	out, err := cli.run("account", "test", a.Ref())
	if err == nil || !strings.Contains(out, "[unavailable]") || !strings.Contains(out, "no worker answered") {
		t.Errorf("without a worker: %v\n%s", err, out)
	}
}
