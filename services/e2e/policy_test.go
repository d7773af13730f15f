package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// policies is a house for the rules of accounts.
type policies struct {
	*house
	s   *sink
	cli *client
}

func newPolicies(t *testing.T, remote ...testenv.DovecotOption) *policies {
	t.Helper()
	acquire(t)
	h, s := newHouse(t, testenv.NewDovecot(t, remote...)), newSink(t)
	h.destination(s.destination())
	h.startWith("worker", []string{"--batch", "2"})
	h.start("delivery")
	return &policies{house: h, s: s, cli: h.control()}
}

// fill puts n messages of about size octets into a new mailbox, oldest first.
func (p *policies) fill(user string, n, size int) {
	p.t.Helper()
	for i := range n {
		p.remote.Append(user, fmt.Appendf(nil, "Message-ID: <%s-%d-%d@test>\r\nX-Seed: %s-%d\r\nSubject: %d\r\n\r\n%s\r\n", user, size, i, user, i, i,
			strings.Repeat(strings.Repeat("x", 48)+"\r\n", 1+size/50)))
	}
}

// left returns the subjects of what is left at the remote server.
func (p *policies) left(user string) string {
	var out []string
	for _, m := range p.remote.Messages(user) {
		_, s, _ := bytes.Cut(m, []byte("Subject: "))
		s, _, _ = bytes.Cut(s, []byte("\r"))
		out = append(out, string(s))
	}
	return strings.Join(out, " ")
}

func (p *policies) got(a account.Account) int { return len(p.s.all(a.ForwardTo)) }

var both = []account.Protocol{account.POP3, account.IMAP}

// TestKeepNewest never counts or deletes what is not collected: one message is refused by the destination.
func TestKeepNewest(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	p.s.decide(func(raw []byte) error {
		if bytes.Contains(raw, []byte("Subject: 5\r")) || bytes.Contains(raw, []byte("Subject: 1\r")) {
			return permanent()
		}
		return nil
	})
	for _, proto := range both {
		user := "keep-" + string(proto)
		p.fill(user, 7, 10)
		a := p.account(user, user, proto, account.Delete, func(a *account.Account) { a.AfterKeepNewest = 2 })
		_, _ = p.cli.run("fetch", a.Ref())
		testenv.Eventually(t, 30*time.Second, "the older ones are gone", func() bool {
			if p.left(user) == "1 4 5 6" {
				return true
			}
			_, _ = p.cli.run("fetch", a.Ref())
			return false
		})
		p.cli.ok("fetch", a.Ref()) // and it stays so
		if left := p.left(user); left != "1 4 5 6" || p.got(a) != 5 {
			t.Errorf("%s: %s are left, %d arrived", proto, left, p.got(a))
		}
	}
}

// TestDeleteByAgeAndSize deletes large messages at once, and others when they are old.
func TestDeleteByAgeAndSize(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	p.fill("age", 3, 10)
	p.fill("age", 2, 20_000)
	files, err := filepath.Glob(filepath.Join(p.remote.Maildir("age"), "new", "*"))
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	old := time.Now().AddDate(0, 0, -40) // INTERNALDATE
	if err := os.Chtimes(files[1], old, old); err != nil {
		t.Fatal(err)
	}
	a := p.account("age", "age", account.IMAP, account.Delete, func(a *account.Account) { a.AfterDays, a.AfterLargerThan = 30, 10_000 })
	p.cli.ok("fetch", a.Ref())
	if left := p.left("age"); left != "0 2" || p.got(a) != 5 {
		t.Errorf("%s are left, %d arrived", left, p.got(a))
	}
	pop := p.account("young", "young", account.POP3, account.Delete, func(a *account.Account) { a.AfterDays, a.AfterLargerThan = 30, 10_000 })
	p.fill("young", 2, 10)
	p.fill("young", 1, 20_000)
	p.cli.ok("fetch", pop.Ref())
	if n := len(p.remote.Messages("young")); n != 2 || p.got(pop) != 3 {
		t.Errorf("%d are left, %d arrived", n, p.got(pop))
	}
}

// TestMoveAndMarkSeen moves what is collected into a mailbox that is not there yet, and marks it.
func TestMoveAndMarkSeen(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	p.fill("moved", 5, 10)
	a := p.account("moved", "moved", account.IMAP, account.Move, func(a *account.Account) { a.MoveTo, a.MarkSeen = "Collected", true })
	p.cli.ok("fetch", a.Ref())
	if n, there := len(p.remote.Messages("moved")), len(p.remote.MessagesIn("moved", "Collected")); n != 0 || there != 5 || p.got(a) != 5 {
		t.Errorf("%d are left, %d moved, %d arrived", n, there, p.got(a))
	}
	seen, _ := filepath.Glob(filepath.Join(p.remote.Maildir("moved"), ".Collected", "cur", "*,*S*"))
	if len(seen) != 5 {
		t.Errorf("%d of them are seen", len(seen))
	}
	p.fill("seen", 3, 10)
	b := p.account("seen", "seen", account.IMAP, account.Leave, func(a *account.Account) { a.MarkSeen = true })
	p.cli.ok("fetch", b.Ref())
	testenv.Eventually(t, 30*time.Second, "what stays is marked", func() bool {
		seen, _ := filepath.Glob(filepath.Join(p.remote.Maildir("seen"), "cur", "*,*S*"))
		return len(seen) == 3
	})
	if out := p.cli.ok("runs", a.Ref(), "--json"); !strings.Contains(out, `"moved":"5"`) {
		t.Errorf("the report does not say it:\n%s", out)
	}
}

// TestStart collects only what comes after the start, also when the worker dies in between, and deletes
// nothing that it passed over.
func TestStart(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	for _, proto := range both {
		user := "start-" + string(proto)
		p.fill(user, 5, 10)
		a := p.account(user, user, proto, account.Delete, func(a *account.Account) { a.StartDays = account.StartNow })
		p.cli.ok("fetch", a.Ref())
		p.fill(user, 1, 20)
		p.cli.ok("fetch", a.Ref())
		if n := len(p.remote.Messages(user)); n != 5 || p.got(a) != 1 {
			t.Errorf("%s: %d are left, %d arrived", proto, n, p.got(a))
		}
		empty := p.account(user+"-empty", user+"-empty", proto, account.Leave, func(a *account.Account) { a.StartDays = account.StartNow })
		p.cli.ok("fetch", empty.Ref())
		p.fill(user+"-empty", 2, 10)
		p.cli.ok("fetch", empty.Ref())
		if p.got(empty) != 2 {
			t.Errorf("%s: %d of 2 arrived in what was empty at the start", proto, p.got(empty))
		}
	}
	p.fill("days", 3, 10)
	files, _ := filepath.Glob(filepath.Join(p.remote.Maildir("days"), "new", "*"))
	old := time.Now().AddDate(0, 0, -40)
	for _, f := range files[:2] {
		if err := os.Chtimes(f, old, old); err != nil {
			t.Fatal(err)
		}
	}
	a := p.account("days", "days", account.IMAP, account.Leave, func(a *account.Account) { a.StartDays = 30 })
	p.cli.ok("fetch", a.Ref())
	if p.got(a) != 1 {
		t.Errorf("%d arrived of the last days", p.got(a))
	}
	p.stopAll()
	p.fill("killed", 5, 10)
	a = p.account("killed", "killed", account.POP3, account.Delete, func(a *account.Account) { a.StartDays = account.StartNow })
	dying := p.start("worker", "MAILFERRY_KILL_AT=worker.epoch-opened")
	p.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 30*time.Second, "the worker is dead", dying.ended)
	p.start("worker")
	p.start("delivery")
	testenv.Eventually(t, 60*time.Second, "another one has done it", func() bool { return p.counts(a).Skipped == 5 && p.idle(a) })
	if n := len(p.remote.Messages("killed")); n != 5 || p.got(a) != 0 {
		t.Errorf("%d are left, %d arrived", n, p.got(a))
	}
}

// TestLimitsAndStopSwitch passes over what is too large, fetches in portions, and deletes nothing while
// deletion is switched off.
func TestLimitsAndStopSwitch(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	p.fill("limits", 4, 10)
	p.fill("limits", 1, 20_000)
	a := p.account("limits", "limits", account.POP3, account.Delete, func(a *account.Account) {
		a.MaxMessageSize, a.MaxMessages, a.NewestFirst = 10_000, 2, true
	})
	p.cli.ok("settings", "set", "remote_deletion=off")
	p.cli.ok("fetch", a.Ref())
	var arrived []string
	for _, m := range p.s.all(a.ForwardTo) {
		_, subject, _ := bytes.Cut(m.raw, []byte("Subject: "))
		arrived = append(arrived, string(subject[:1]))
	}
	if got := strings.Join(arrived, ""); got != "32" && got != "23" {
		t.Errorf("%s arrived first, want the newest two", got)
	}
	p.cli.ok("fetch", a.Ref())
	if n := len(p.remote.Messages("limits")); n != 5 || p.got(a) != 4 {
		t.Errorf("%d are left while deletion is off, %d arrived", n, p.got(a))
	}
	out := p.cli.ok("runs", a.Ref(), "--json")
	for _, want := range []string{`"skipped":"1"`, `"left":"2"`, "is passed over", "switched off"} {
		if !strings.Contains(out, want) {
			t.Errorf("no report says %s:\n%s", want, out)
		}
	}
	p.cli.ok("settings", "set", "remote_deletion=on")
	testenv.Eventually(t, 30*time.Second, "deletion is on again", func() bool {
		p.cli.ok("fetch", a.Ref())
		return len(p.remote.Messages("limits")) == 1 // the large one
	})
}

// TestLimitsOfADay leaves for the next day what is more than the account may fetch in one, and counts what a worker
// was about to fetch when it died.
func TestLimitsOfADay(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	nextDay := func(a account.Account) {
		t.Helper()
		// A day that is still to come stays what it is: no midnight passes in this test.
		if err := p.redis.Client.HSet(t.Context(), "mf:day:"+a.UID, "day", 100_000, "messages", 0, "octets", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, proto := range both {
		user := "day-" + string(proto)
		p.fill(user, 5, 1000)
		a := p.account(user, user, proto, account.Delete, func(a *account.Account) { a.MaxMessagesPerDay, a.MaxBytesPerDay = 3, 2500 })
		for day, want := range []int{2, 4, 5} {
			nextDay(a)
			p.cli.ok("fetch", a.Ref())
			p.cli.ok("fetch", a.Ref())
			if n := p.got(a); n != want {
				t.Errorf("%s: %d arrived after day %d, want %d", proto, n, day, want)
			}
		}
		if n := len(p.remote.Messages(user)); n != 0 {
			t.Errorf("%s: %d are left", proto, n)
		}
		if out := p.cli.ok("runs", a.Ref(), "--json"); !strings.Contains(out, "3 messages are left until 2243-") || !strings.Contains(out, `"left":"1"`) {
			t.Errorf("no report says what is left:\n%s", out)
		}
	}
	p.stopAll()
	p.fill("died", 4, 10)
	a := p.account("died", "died", account.POP3, account.Delete, func(a *account.Account) { a.MaxMessagesPerDay = 2 })
	nextDay(a)
	dying := p.start("worker", "MAILFERRY_KILL_AT=worker.publishing")
	p.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 30*time.Second, "the worker is dead", dying.ended)
	p.start("worker")
	p.start("delivery")
	p.cli = p.control()
	for day, want := range []int{0, 2, 4} {
		p.cli.ok("fetch", a.Ref())
		if n := p.got(a); n != want {
			t.Errorf("%d arrived %d days after a worker died, want %d", n, day, want)
		}
		nextDay(a)
	}
}

// TestNotice hands over one small message in place of each that is too large, whoever dies meanwhile, and never
// deletes what it tells of.
func TestNotice(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	notices := func(a account.Account) (n, others int) {
		for _, m := range p.s.all(a.ForwardTo) {
			if bytes.Contains(m.raw, []byte("X-Mailferry-Notice: too-large; size=")) {
				n++
				if len(m.raw) > 4000 || !bytes.Contains(m.raw, []byte("\r\nSubject: Not collected, too large: ")) {
					t.Errorf("not a notice:\n%s", m.raw)
				}
			} else {
				others++
			}
		}
		return n, others
	}
	for _, proto := range both {
		user := "notice-" + string(proto)
		p.fill(user, 2, 10)
		p.fill(user, 3, 20_000)
		a := p.account(user, user, proto, account.Delete, func(a *account.Account) { a.MaxMessageSize, a.Oversize = 10_000, account.Notice })
		for range 3 {
			p.cli.ok("fetch", a.Ref())
		}
		if n, others := notices(a); n != 3 || others != 2 || len(p.remote.Messages(user)) != 3 || p.counts(a).Skipped != 3 {
			t.Errorf("%s: %d notices and %d others arrived, %d messages are left, index %+v", proto, n, others, len(p.remote.Messages(user)), p.counts(a))
		}
		if out := p.cli.ok("runs", a.Ref(), "--json"); !strings.Contains(out, "a notice is handed over in its place") {
			t.Errorf("no report tells of it:\n%s", out)
		}
	}
	p.stopAll()
	for role, at := range map[string]string{"worker": "worker.published", "delivery": "delivery.committed"} {
		p.fill(role, 1, 20_000) // alone: nothing else is in the window between acceptance and commit
		a := p.account(role, role, account.POP3, account.Delete, func(a *account.Account) { a.MaxMessageSize, a.Oversize = 10_000, account.Notice })
		dying := p.start(role, "MAILFERRY_KILL_AT="+at)
		other := p.start(map[string]string{"worker": "delivery", "delivery": "worker"}[role])
		p.trigger(a, role, queue.Manual)
		testenv.Eventually(t, 30*time.Second, "the "+role+" is dead", dying.ended)
		again := p.start(role)
		testenv.Eventually(t, 60*time.Second, "another one has done it", func() bool { return p.counts(a).Skipped == 1 && p.idle(a) })
		if n, others := notices(a); n != 1 || others != 0 || len(p.remote.Messages(role)) != 1 {
			t.Errorf("%s died: %d notices and %d others arrived, %d messages are left", role, n, others, len(p.remote.Messages(role)))
		}
		other.kill()
		again.kill()
	}
}
