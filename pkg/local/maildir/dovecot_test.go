package maildir_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/maildir"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Dovecot finds mailboxes under the names that we gave them, with INTERNALDATE and flags.
func TestDovecotReadsMailboxes(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t)
	const alice = "alice@example.com"
	mail := filepath.Dir(filepath.Dir(dove.Maildir("x")))
	m, err := maildir.New(maildir.Config{Path: mail + "/%u/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{ // what people see, by the path with | between levels
		"INBOX": "INBOX", "Imported": "Imported", "Imported|Gmail": "Imported.Gmail", "Imported|v1.2|a/b": "Imported.v1%2E2.a%2Fb",
		"A&B|100%|*": "A&B.100%.*", "Größe|日本語|📬 x": "Größe.日本語.📬 x", " a |\"b\\": ` a ."b\`, "..|.": "%2E%2E.%2E", "new|cur|tmp": "new.cur.tmp",
		"inbox|x": "INBOX.x", strings.Repeat("ü", 300): "", "~tilde|#hash": "%7Etilde.#hash",
	}
	flags := [][]string{nil, {`\Seen`}, {`\Seen`, `\Flagged`, `\Answered`, `\Draft`, `\Deleted`, `\Recent`, "$Forwarded", "Label"}}
	at := func(i int) time.Time { return time.Date(1999+i, time.March, 28, 1, 59, i, 0, time.UTC) }
	paths := slices.Sorted(func(yield func(string) bool) {
		for p := range names {
			if !yield(p) {
				return
			}
		}
	})
	for i, p := range paths {
		body := fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)
		for range 2 {
			replies, err := m.Deliver(t.Context(), local.Envelope{To: []string{alice}, Mailbox: strings.Split(p, "|")},
				local.Message{Body: strings.NewReader(body), Size: int64(len(body)), ID: fmt.Sprint("id", i), Date: at(i), Flags: flags[i%len(flags)]},
				func(context.Context) error { return nil })
			if err != nil || len(replies) != 1 || !replies[0].Accepted() {
				t.Fatalf("%q: %+v, %v", p, replies, err)
			}
		}
	}
	chown(t, mail)
	c := signIn(t, dove, alice)
	seen := 0
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if !slices.Contains(l.Attrs, goimap.MailboxAttrNoSelect) && l.Mailbox != "INBOX" {
			seen++
		}
	}
	if seen != len(names)-1 {
		t.Errorf("%d mailboxes are listed, want %d", seen, len(names)-1)
	}
	for i, p := range paths {
		name := names[p]
		if name == "" {
			continue
		}
		if _, err := c.Select(name, &goimap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		got, err := c.Fetch(goimap.SeqSet{{Start: 1}}, &goimap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}).Collect()
		if err != nil || len(got) != 1 {
			t.Errorf("%q: %d messages, %v", name, len(got), err)
			continue
		}
		if !got[0].InternalDate.Equal(at(i)) {
			t.Errorf("%q: INTERNALDATE %v, want %v", name, got[0].InternalDate, at(i))
		}
		want := []string{"", `\Seen`, `\Answered \Draft \Flagged \Seen`}[i%len(flags)]
		var have []string
		for _, f := range got[0].Flags {
			if f != `\Recent` && f != "$Forwarded" {
				have = append(have, string(f))
			}
		}
		slices.Sort(have)
		if strings.Join(have, " ") != want {
			t.Errorf("%q: flags %q, want %q", name, have, want)
		}
	}
}

// chown gives everything to whom Dovecot reads it as.
func chown(t *testing.T, mail string) {
	t.Helper()
	info, err := os.Stat(mail)
	if err == nil {
		owner := info.Sys().(*syscall.Stat_t)
		err = filepath.WalkDir(mail, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, int(owner.Uid), int(owner.Gid))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func signIn(t *testing.T, d *testenv.Dovecot, user string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(net.JoinHostPort(d.Address, strconv.Itoa(d.IMAPPort)), nil)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		err = c.Login(user, d.Password).Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}
