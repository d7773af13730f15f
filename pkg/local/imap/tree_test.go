package imap_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// oddPaths are mailboxes as people have them at remote servers.
func oddPaths() [][]string {
	names := []string{
		"plain", "with space", " leading", "trailing ", `qu"ote`, `back\slash`, "A&B", "&", "&-", "100%", "%2E", "50%2F", "*", "star*star",
		"v1.2", "a/b", "..", ".", "~tilde", "#hash", "(paren)", "{3}", "[bracket]", "Größe", "Entwürfe", "日本語", "📬 mail", "e\u0301", "кириллица",
		"INBOX", "inbox", "Sent", "Trash", "comma,semi;", "'", "`", "^", "|", "?", "<x>", "=", "a=2Eb", "-", "--", "NIL", "new", "cur", "tmp", "dovecot",
		strings.Repeat("long", 40), strings.Repeat("ü", 90), strings.Repeat("📬", 40),
	}
	out := [][]string{{"Imported"}}
	for i, n := range names {
		out = append(out, []string{"Imported", n})
		if i%3 == 0 {
			out = append(out, []string{"Imported", n, "below"})
		}
	}
	return append(out, slices.Repeat([]string{"deep"}, 40), []string{"inbox", "sub"})
}

func TestTree(t *testing.T) {
	t.Parallel()
	for name, layout := range map[string]struct {
		extra string
		fs    bool
	}{
		"dot":       {},
		"slash":     {extra: namespace("/", "", "maildir:~/Maildir")},
		"courier":   {extra: namespace(".", "INBOX.", "maildir:~/Maildir")},
		"fs layout": {extra: namespace("/", "", "maildir:~/Maildir:LAYOUT=fs")},
		"backslash": {extra: namespace(`\`, "", "maildir:~/Maildir")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dove := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "s\"e\\cret"), testenv.DovecotExtra(layout.extra))
			c := imap.New(configs(dove)["starttls"])
			t.Cleanup(func() { _ = c.Close() })
			fill(t, c, oddPaths(), 1)
			first := mailboxes(t, dove, "alice@example.com")
			fill(t, c, oddPaths(), 2)
			again := imap.New(configs(dove)["tls"])
			t.Cleanup(func() { _ = again.Close() })
			fill(t, again, oddPaths(), 3)
			second := mailboxes(t, dove, "alice@example.com")
			if len(first) != len(second) {
				t.Errorf("there are %d mailboxes, and %d after another run", len(first), len(second))
			}
			with := 0
			for name, n := range second {
				if n != 0 && n != 3 {
					t.Errorf("%q has %d messages", name, n)
				}
				if n > 0 {
					with++
				}
			}
			if with != len(oddPaths()) {
				t.Errorf("%d mailboxes have messages, want %d: %q", with, len(oddPaths()), slices.Sorted(maps.Keys(second)))
			}
		})
	}
}

func namespace(separator, prefix, location string) string {
	return fmt.Sprintf("namespace inbox {\n inbox = yes\n separator = %q\n prefix = %q\n location = %s\n}", separator, prefix, location)
}

// fill puts a message into each of the mailboxes.
func fill(t *testing.T, c *imap.Client, paths [][]string, run int) {
	t.Helper()
	for i, p := range paths {
		body := fmt.Sprintf("Subject: %d of run %d\r\n\r\nHello\r\n", i, run)
		replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com"}, Mailbox: p},
			local.Message{Body: strings.NewReader(body), Size: int64(len(body)), Date: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)},
			func(context.Context) error { return nil })
		if err != nil || len(replies) != 1 || !replies[0].Accepted() {
			t.Errorf("%q: %+v, %v", p, replies, err)
		}
	}
}

// reader signs in as people do.
func reader(t *testing.T, dove *testenv.Dovecot, user string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(fmt.Sprintf("%s:%d", dove.Address, dove.IMAPPort), nil)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		err = c.Login(user, dove.Password).Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mailboxes returns how many messages lie in each that is subscribed or there.
func mailboxes(t *testing.T, dove *testenv.Dovecot, user string) map[string]int {
	t.Helper()
	c := reader(t, dove, user)
	list, err := c.List("", "*", &goimap.ListOptions{ReturnStatus: &goimap.StatusOptions{NumMessages: true}, ReturnSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, l := range list {
		n := 0
		if l.Status != nil {
			n = int(*l.Status.NumMessages)
		}
		if n > 0 && l.Mailbox != "INBOX" && !slices.Contains(l.Attrs, goimap.MailboxAttrSubscribed) {
			t.Errorf("%q is not subscribed", l.Mailbox)
		}
		out[l.Mailbox] = n
	}
	return out
}
