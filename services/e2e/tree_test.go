package e2e

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// slashes lets people have any name but one with a slash, and parts levels by it.
const slashes = "namespace inbox {\n  inbox = yes\n  separator = /\n  location = maildir:~/Maildir:LAYOUT=fs\n}"

// oddNames returns n mailboxes as people have them, parted by slashes.
func oddNames(n int) []string {
	odd := []string{
		"plain", "with space", ` lead`, "trail ", `qu"ote`, `back\slash`, "A&B", "&", "&-", "100%", "%2E", "*", "st*r", "v1.2", "a.b.c", "#hash",
		"(paren)", "{3}", "[x]", "Größe", "日本語", "📬 mail", "e\u0301", "кириллица", "comma,semi;", "'", "^|?<x>", "a=2Eb", "--", "NIL",
		strings.Repeat("long", 30), strings.Repeat("ü", 50),
	}
	names := []string{"INBOX"}
	for i := 0; len(names) < n; i++ {
		name := odd[i%len(odd)]
		switch i / len(odd) {
		case 0:
		case 1:
			name = "deep/" + strings.Repeat("down/", 9) + name
		default:
			name = fmt.Sprintf("%s %d/%s", odd[(i*7)%len(odd)], i/len(odd), name)
		}
		names = append(names, name)
	}
	return names
}

// filed is a message as a mail reader sees it.
type filed struct{ id, date, flags string }

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

// fillTree puts a message of its own date and flags into each mailbox, and returns what they are.
func fillTree(t *testing.T, d *testenv.Dovecot, user string, names []string) map[string]filed {
	t.Helper()
	c := signIn(t, d, user)
	flags := [][]goimap.Flag{nil, {goimap.FlagSeen}, {goimap.FlagFlagged, goimap.FlagAnswered}, {goimap.FlagDraft, "$Forwarded", "Label1"}}
	want := map[string]filed{}
	for i, name := range names {
		if name != "INBOX" {
			if err := c.Create(name, nil).Wait(); err != nil && !strings.Contains(err.Error(), "ALREADYEXISTS") {
				t.Fatalf("%q: %v", name, err)
			}
		}
		at := time.Date(1998+i%25, time.Month(1+i%12), 1+i%28, i%24, i%60, i%59, 0, time.FixedZone("", 3600*(i%24-12)))
		body := fmt.Sprintf("X-Seed: tree-%d\r\nSubject: %d\r\n\r\nx\r\n", i, i)
		cmd := c.Append(name, int64(len(body)), &goimap.AppendOptions{Flags: flags[i%len(flags)], Time: at})
		_, err := cmd.Write([]byte(body))
		if err == nil {
			err = cmd.Close()
		}
		if err == nil {
			_, err = cmd.Wait()
		}
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		want[name] = filed{fmt.Sprintf("tree-%d", i), at.UTC().Format(time.RFC3339), sorted(flags[i%len(flags)])}
	}
	return want
}

func sorted(flags []goimap.Flag) string {
	var out []string
	for _, f := range flags {
		if f != `\Recent` {
			out = append(out, strings.ToLower(string(f)))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// readTree returns the letters in every mailbox of a user, by its name.
func readTree(t *testing.T, d *testenv.Dovecot, user string) map[string][]filed {
	t.Helper()
	c := signIn(t, d, user)
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	section := &goimap.FetchItemBodySection{Peek: true, Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"X-Seed"}}
	out := map[string][]filed{}
	for _, l := range list {
		if slices.Contains(l.Attrs, goimap.MailboxAttrNoSelect) {
			continue
		}
		out[l.Mailbox] = nil
		sel, err := c.Select(l.Mailbox, &goimap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatalf("%q: %v", l.Mailbox, err)
		}
		if sel.NumMessages == 0 {
			continue
		}
		all, err := c.Fetch(goimap.SeqSet{{Start: 1}}, &goimap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, BodySection: []*goimap.FetchItemBodySection{section},
		}).Collect()
		if err != nil {
			t.Fatalf("%q: %v", l.Mailbox, err)
		}
		for _, m := range all {
			_, id, _ := strings.Cut(strings.TrimSpace(string(m.FindBodySection(section))), ": ")
			out[l.Mailbox] = append(out[l.Mailbox], filed{id, m.InternalDate.UTC().Format(time.RFC3339), sorted(m.Flags)})
		}
	}
	return out
}

// wantTree compares what is below a target, where dots part levels, with what there is at the remote server.
func wantTree(t *testing.T, got map[string][]filed, want map[string]filed) {
	t.Helper()
	seen := 0
	for name, w := range want {
		local := "Imported.Gmail"
		if name != "INBOX" {
			local += "." + strings.NewReplacer(".", "%2E", "%2E", "%252E", "/", ".").Replace(name)
		}
		if !slices.Equal(got[local], []filed{w}) {
			t.Errorf("%q has %v, want %v", local, got[local], w)
		}
		seen += len(got[local])
	}
	all := 0
	for _, l := range got {
		all += len(l)
	}
	if seen != all {
		t.Errorf("%d messages are elsewhere: %q", all-seen, slices.Sorted(maps.Keys(got)))
	}
}

// TestTree brings 300 mailboxes with odd names beneath a mailbox path by IMAP APPEND: names, flags and INTERNALDATE are
// kept, and another run makes and appends nothing.
func TestTree(t *testing.T) {
	t.Parallel()
	acquire(t)
	const n = 300
	remote := testenv.NewDovecot(t, testenv.DovecotExtra(slashes))
	local := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "master-secret"))
	h := newHouse(t, remote)
	h.destination("lmtp:127.0.0.1:1")
	h.mailboxDestination(fmt.Sprintf("imap:%s:%d", local.Host, local.IMAPPort), "ferry", "master-secret")
	want := fillTree(t, remote, "tree", oddNames(n))
	a := h.account("tree", "tree", account.IMAP, account.Leave, func(a *account.Account) {
		a.Mailboxes, a.ForwardTo = []string{"*"}, "alice@example.com/Imported/Gmail"
	})
	h.start("worker")
	h.startWith("delivery", []string{"--destination-ca", local.CAPath})
	h.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 120*time.Second, "everything is collected", func() bool { return int(h.counts(a).Collected) == n && h.idle(a) })
	first := readTree(t, local, "alice@example.com")
	wantTree(t, first, want)
	sessions := local.Sessions("alice@example.com").Total
	if r := h.fetchNow(a, "second"); r.GetListed() != n || r.GetNew() != 0 {
		t.Errorf("another run lists %d messages, %d of them new", r.GetListed(), r.GetNew())
	}
	second := readTree(t, local, "alice@example.com")
	if !maps.EqualFunc(first, second, slices.Equal) {
		t.Error("another run changes what is there")
	}
	if now := local.Sessions("alice@example.com").Total; now > sessions+1 { // the reader's own
		t.Errorf("another run opens %d sessions at the destination", now-sessions-1)
	}
}

// mailboxDestination sets the global one of mailbox paths.
func (h *house) mailboxDestination(d, username, password string) {
	h.t.Helper()
	sealed, err := h.vault.Seal(password, directory.LoginContext("", d))
	if err == nil {
		_, err = h.book.UpdateSettings(h.t.Context(), func(s *directory.Settings) error {
			s.MailboxDestination, s.MailboxLogin = d, directory.Login{Username: username, Sealed: string(sealed)}
			return nil
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
