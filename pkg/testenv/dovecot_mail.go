package testenv

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Maildir is the folder of a user's INBOX; it is there once the user signed in or got mail. Other
// mailboxes are its subfolders ".Name" and ".Name.Sub" (Maildir++).
func (d *Dovecot) Maildir(user string) string {
	return filepath.Join(d.settings.Dir, "mail", strings.ToLower(user), "Maildir")
}

// Append puts messages into the user's INBOX, byte for byte and in order, as if they had just come.
func (d *Dovecot) Append(user string, messages ...[]byte) {
	d.t.Helper()
	d.AppendTo(user, "", messages...)
}

// AppendTo is Append for another mailbox, for instance "Archive.2026"; "" is the INBOX.
func (d *Dovecot) AppendTo(user, mailbox string, messages ...[]byte) {
	d.t.Helper()
	dir := d.mailbox(user, mailbox)
	d.makeMaildir(user, dir)
	for _, m := range messages {
		// The time in the name is Maildir's order; seconds of the past keep it apart from LMTP's.
		n := d.seq.Add(1)
		name := fmt.Sprintf("%d.M0P%dQ%d.testenv", 1_600_000_000+n, os.Getpid(), n)
		tmp, final := filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name)
		if err := os.WriteFile(tmp, m, 0o600); err != nil {
			d.t.Fatal(err)
		}
		if err := os.Chown(tmp, d.settings.MailUID, d.settings.MailGID); err != nil {
			d.t.Fatal(err)
		}
		if err := os.Rename(tmp, final); err != nil {
			d.t.Fatal(err)
		}
	}
}

// Messages returns what lies in the user's INBOX, oldest first, as it lies there: Dovecot's LMTP stores
// lines with LF.
func (d *Dovecot) Messages(user string) [][]byte {
	d.t.Helper()
	return d.MessagesIn(user, "")
}

// MessagesIn is Messages for another mailbox.
func (d *Dovecot) MessagesIn(user, mailbox string) [][]byte {
	d.t.Helper()
	var paths []string
	for _, sub := range []string{"new", "cur"} {
		found, err := filepath.Glob(filepath.Join(d.mailbox(user, mailbox), sub, "*"))
		if err != nil {
			d.t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	slices.SortFunc(paths, func(a, b string) int {
		sa, ma := maildirTime(filepath.Base(a))
		sb, mb := maildirTime(filepath.Base(b))
		return cmp.Or(cmp.Compare(sa, sb), cmp.Compare(ma, mb), cmp.Compare(filepath.Base(a), filepath.Base(b)))
	})
	var out [][]byte
	for _, p := range paths {
		m, err := os.ReadFile(p)
		if os.IsNotExist(err) {
			continue // moved from new to cur or deleted meanwhile: ask again
		}
		if err != nil {
			d.t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func (d *Dovecot) mailbox(user, mailbox string) string {
	if mailbox == "" || mailbox == "INBOX" {
		return d.Maildir(user)
	}
	return filepath.Join(d.Maildir(user), "."+mailbox)
}

// makeMaildir makes dir and its parents below the mail folder with the owner of the mail.
func (d *Dovecot) makeMaildir(user, dir string) {
	d.t.Helper()
	home := filepath.Dir(d.Maildir(user))
	all := []string{home, d.Maildir(user), dir}
	for _, sub := range []string{"cur", "new", "tmp"} {
		all = append(all, filepath.Join(d.Maildir(user), sub), filepath.Join(dir, sub))
	}
	for _, p := range all {
		if err := os.Mkdir(p, 0o700); os.IsExist(err) {
			continue
		} else if err != nil {
			d.t.Fatal(err)
		}
		if err := os.Chown(p, d.settings.MailUID, d.settings.MailGID); err != nil {
			d.t.Fatal(err)
		}
	}
}

// maildirTime reads seconds and microseconds from a Maildir name, "1700000000.M123P4Q5.host".
func maildirTime(name string) (sec, usec int) {
	s, rest, _ := strings.Cut(name, ".")
	sec, _ = strconv.Atoi(s)
	if m, ok := strings.CutPrefix(rest, "M"); ok {
		end := strings.IndexFunc(m, func(r rune) bool { return r < '0' || r > '9' })
		if end > 0 {
			usec, _ = strconv.Atoi(m[:end])
		}
	}
	return sec, usec
}

// Sessions is what the log says of POP3 and IMAP sessions that signed in.
type Sessions struct {
	// Total signed in so far, Open are open now, Peak were open at one time. The server logs the end
	// of a session a moment after its last answer, so that Peak may count two that touch each other.
	Total, Open, Peak int
}

var (
	loginLine = regexp.MustCompile(`(?m)^\S+ (?:pop3|imap)-login: Info: Login: user=<([^>]*)>.* session=<([^>]*)>`)
	endLine   = regexp.MustCompile(`^\S+ (?:pop3|imap)\([^)]*\)<([^>]*)>: Info: (?:Disconnected|Logged out|Connection closed)`)
)

// Sessions counts the sessions of a user, "" for all, from the server's log.
func (d *Dovecot) Sessions(user string) Sessions {
	d.t.Helper()
	var n Sessions
	open := map[string]bool{}
	for line := range strings.SplitSeq(d.Log(), "\n") {
		if m := loginLine.FindStringSubmatch(line); m != nil && (user == "" || strings.EqualFold(m[1], user)) {
			n.Total++
			open[m[2]] = true
			n.Peak = max(n.Peak, len(open))
		} else if m := endLine.FindStringSubmatch(line); m != nil {
			delete(open, m[1])
		}
	}
	n.Open = len(open)
	return n
}

// Log returns the server's log so far.
func (d *Dovecot) Log() string {
	d.t.Helper()
	log, err := os.ReadFile(d.LogPath)
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(log)
}
