package maildir

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/mailferry/mailferry/pkg/local"
)

// style is how Maildir++ names a folder: what a file name can hold, with a dot ahead, and Dovecot takes for a name.
var style = local.MailboxStyle{Delimiter: ".", Escape: "/~", MaxLevels: 32, MaxOctets: 240}

// enter goes on to a mailbox of the recipient's, which it makes as needed, and takes over date and flags.
func (b *box) enter(path []string, msg local.Message, at func(string)) error {
	b.date = msg.Date
	if flags := info(msg.Flags); flags != "" {
		b.final = "cur/" + b.name + ":2," + flags
	}
	name := style.Name(path)
	if name == "" || name == "INBOX" {
		return nil
	}
	b.dir = filepath.Join(b.dir, "."+local.EncodeMailbox(name))
	if info, err := os.Stat(filepath.Join(b.dir, "new")); err == nil && info.IsDir() {
		return nil // new/ is made last
	}
	if err := makeDir(b.dir); err != nil {
		return err
	}
	at("folder")
	mark, err := os.OpenFile(filepath.Join(b.dir, "maildirfolder"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := mark.Close(); err != nil {
		return err
	}
	for _, sub := range []string{"tmp", "cur", "new"} {
		if err := makeDir(filepath.Join(b.dir, sub)); err != nil {
			return err
		}
		at("made")
	}
	return nil
}

// letters are how the name of a file tells of flags, in the order in which it has them.
var letters = []struct{ flag, letter string }{
	{`\draft`, "D"}, {`\flagged`, "F"}, {"$forwarded", "P"}, {`\answered`, "R"}, {`\seen`, "S"},
}

// info returns the letters of flags.
func info(flags []string) string {
	have := map[string]bool{}
	for _, f := range flags {
		have[strings.ToLower(f)] = true
	}
	var out string
	for _, l := range letters {
		if have[l.flag] {
			out += l.letter
		}
	}
	return out
}
