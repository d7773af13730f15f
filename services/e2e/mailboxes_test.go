package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// fillIn puts n messages into a mailbox of the remote server.
func (p *policies) fillIn(user, mailbox string, n int) {
	p.t.Helper()
	for i := range n {
		p.remote.AppendTo(user, mailbox, fmt.Appendf(nil, "X-Seed: %s-%s-%d\r\nSubject: %s %d\r\n\r\nx\r\n", user, mailbox, i, mailbox, i))
	}
}

// TestMailboxes collects from several mailboxes of an account, one of which cannot be read, and deletes in each
// what it collected there.
func TestMailboxes(t *testing.T) {
	t.Parallel()
	p := newPolicies(t)
	p.fillIn("boxes", "", 3)
	p.fillIn("boxes", "Archive", 5)
	p.fillIn("boxes", "Shut", 2)
	p.fillIn("boxes", "Sent", 2)
	shut := filepath.Join(p.remote.Maildir("boxes"), ".Shut")
	if err := os.Chmod(shut, 0); err != nil {
		t.Fatal(err)
	}
	a := p.account("boxes", "boxes", account.IMAP, account.Delete, func(a *account.Account) {
		a.Mailboxes, a.ExcludeMailboxes = []string{"*"}, []string{"Se*"}
	})
	left := func() string {
		return fmt.Sprint(len(p.remote.Messages("boxes")), len(p.remote.MessagesIn("boxes", "Archive")), len(p.remote.MessagesIn("boxes", "Sent")))
	}
	p.cli.ok("fetch", a.Ref())
	if got := left(); got != "0 0 2" || p.got(a) != 8 {
		t.Errorf("%s are left, %d arrived", got, p.got(a))
	}
	if out := p.cli.ok("runs", a.Ref(), "--json"); !strings.Contains(out, "mailbox Shut is not collected") {
		t.Errorf("the report does not tell of the mailbox that cannot be read:\n%s", out)
	}
	if err := os.Chmod(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	p.cli.ok("fetch", a.Ref())
	if n := len(p.remote.MessagesIn("boxes", "Shut")); n != 0 || p.got(a) != 10 {
		t.Errorf("once it can be read %d are left, %d arrived in all", n, p.got(a))
	}
}

// TestQuietMailboxes does not open what has not changed, and finds what comes; what an edit asks for is done in
// mailboxes that have not changed.
func TestQuietMailboxes(t *testing.T) {
	t.Parallel()
	p := newPolicies(t, testenv.DovecotExtra("protocol imap {\n  rawlog_dir = %h/Maildir/rawlog\n}"))
	p.fillIn("quiet", "", 3)
	p.fillIn("quiet", "Archive", 2)
	rawlog := filepath.Join(p.remote.Maildir("quiet"), "rawlog")
	if err := errors.Join(os.Mkdir(rawlog, 0o700), os.Chmod(rawlog, 0o777)); err != nil {
		t.Fatal(err)
	}
	// opens fetches and counts the mailboxes that were opened meanwhile, those that were asked about and those that were
	// listed from their first message on.
	a := p.account("quiet", "quiet", account.IMAP, account.Leave, func(a *account.Account) { a.Mailboxes = []string{"INBOX", "Archive"} })
	opens := func() (opened, asked, listed int) {
		t.Helper()
		before, _ := filepath.Glob(filepath.Join(rawlog, "*.in"))
		p.cli.ok("fetch", a.Ref())
		after, _ := filepath.Glob(filepath.Join(rawlog, "*.in"))
		for _, f := range after {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(before, f) {
				opened += bytes.Count(b, []byte("EXAMINE")) + bytes.Count(b, []byte("SELECT"))
				asked += bytes.Count(b, []byte("STATUS"))
				listed += bytes.Count(b, []byte("UID FETCH 1:*"))
			}
		}
		return opened, asked, listed
	}
	if opened, asked, listed := opens(); opened < 2 || asked != 0 || listed != 2 || p.got(a) != 5 {
		t.Errorf("the first run opens %d mailboxes, asks about %d, lists %d, and %d messages arrive", opened, asked, listed, p.got(a))
	}
	testenv.Eventually(t, 60*time.Second, "what has not changed is not opened", func() bool {
		opened, asked, _ := opens()
		return opened == 0 && asked == 2
	})
	p.fillIn("quiet", "Archive", 1)
	if opened, asked, listed := opens(); opened != 1 || asked != 2 || listed != 0 || p.got(a) != 6 {
		t.Errorf("when a message has come %d mailboxes are opened, %d are asked about, %d listed whole, and %d messages have arrived", opened, asked, listed, p.got(a))
	}
	if opened, asked, _ := opens(); opened != 0 || asked != 2 {
		t.Errorf("then %d mailboxes are opened, and %d are asked about", opened, asked)
	}
	p.cli.ok("account", "edit", a.Ref(), "--after", "delete")
	p.cli.ok("fetch", a.Ref())
	if n, there := len(p.remote.Messages("quiet")), len(p.remote.MessagesIn("quiet", "Archive")); n+there != 0 || p.got(a) != 6 {
		t.Errorf("after the edit %d and %d are left, %d arrived", n, there, p.got(a))
	}
}
