package imap

import (
	"context"
	"strings"

	"github.com/mailferry/mailferry/pkg/local"
)

// Bounds of mailbox names, and of how many are remembered on a connection.
const (
	maxLevels    = 32
	maxName      = 1000
	maxCareful   = 180 // what a file of a Maildir++ can be called, with room to spare
	maxMailboxes = 2000
)

// mailbox is what is known of one at the destination.
type mailbox struct {
	wire  string // the name as a quoted string
	there bool   // it took a message or was made
	// keywords are those that it can keep, in lower case, \* for new ones; nil while that is not known.
	keywords map[string]bool
}

// mailbox returns what is known of the mailbox of a path.
func (cn *conn) mailbox(path []string) *mailbox {
	key := strings.Join(path, "\x00")
	mb, ok := cn.mailboxes[key]
	if !ok {
		if len(cn.mailboxes) >= maxMailboxes {
			clear(cn.mailboxes)
		}
		mb = &mailbox{wire: cn.name(path, false)}
		cn.mailboxes[key] = mb
	}
	return mb
}

// name returns the name of a mailbox as a quoted string.
func (cn *conn) name(path []string, careful bool) string {
	if len(path) == 0 {
		return "INBOX"
	}
	style := local.MailboxStyle{Delimiter: cn.delimiter, MaxLevels: maxLevels, MaxOctets: maxName}
	if careful {
		style.Careful, style.MaxOctets = true, maxCareful
	}
	name := style.Name(path)
	first := name
	if cn.delimiter != "" {
		first, _, _ = strings.Cut(name, cn.delimiter)
	}
	if first != "INBOX" {
		name = cn.prefix + name
	}
	if cn.utf8 {
		return quote(name)
	}
	return quote(local.EncodeMailbox(name))
}

// create makes a mailbox with all above it, and subscribes it (RFC 9051 §6.3.4, §6.3.7). Its answer is that to CREATE.
func (cn *conn) create(ctx context.Context, mb *mailbox, path []string) (result, error) {
	r, err := cn.ask("CREATE "+mb.wire, nil)
	if err == nil && refusedName(r) {
		if r, err = cn.createCarefully(mb, path, r); err == nil && r.code == "ALREADYEXISTS" {
			r.kind = "OK"
		}
	}
	switch {
	case err != nil:
		return r, failure(ctx, "imap create", err)
	case !r.ok() && r.code != "ALREADYEXISTS":
		return r, nil
	}
	if _, err := cn.ask("SUBSCRIBE "+mb.wire, nil); err != nil {
		return r, failure(ctx, "imap subscribe", err)
	}
	r.kind, mb.there = "OK", true
	return r, nil
}

// createCarefully is create for a name that was refused: somebody may have been faster, a server may want what is above it to
// be there (RFC 9051 §6.3.4 has it made, but as a SHOULD), or it does not like the name.
func (cn *conn) createCarefully(mb *mailbox, path []string, refused result) (result, error) {
	r, err := cn.ask("STATUS "+mb.wire+" (MESSAGES)", nil)
	if err != nil || r.ok() {
		return r, err
	}
	if r, err := cn.createAbove(path, false, refused); err != nil || r.ok() || r.code == "ALREADYEXISTS" {
		return r, err
	}
	careful := cn.name(path, true)
	if careful == mb.wire {
		return refused, nil
	}
	mb.wire = careful
	if r, err = cn.ask("CREATE "+careful, nil); err != nil {
		return r, err
	}
	return cn.createAbove(path, true, r)
}

// createAbove makes what is above a mailbox, one level after the other, and then the mailbox, if its refusal may be for want of
// them; else it returns the refusal.
func (cn *conn) createAbove(path []string, careful bool, refused result) (result, error) {
	switch refused.code {
	case "", "NONEXISTENT", "TRYCREATE":
	default:
		return refused, nil
	}
	if refused.ok() || len(path) < 2 || cn.delimiter == "" {
		return refused, nil
	}
	var r result
	for n := 1; n <= len(path); n++ {
		var err error
		if r, err = cn.ask("CREATE "+cn.name(path[:n], careful), nil); err != nil {
			return r, err
		}
	}
	return r, nil
}

// refusedName says whether a refusal of CREATE can be about the name (RFC 5530 §3).
func refusedName(r result) bool {
	switch r.code {
	case "ALREADYEXISTS", "LIMIT", "INUSE", "UNAVAILABLE", "NOPERM":
		return false
	}
	return !r.ok() && !r.overQuota()
}

// learnKeywords asks once which keywords the mailbox can keep (RFC 9051 §7.1, PERMANENTFLAGS), and makes it if it is
// not there.
func (cn *conn) learnKeywords(ctx context.Context, mb *mailbox, path []string) error {
	for made := mb.there; mb.keywords == nil; made = true {
		keywords := map[string]bool{}
		r, err := cn.ask("SELECT "+mb.wire, func(line []byte) {
			if r := parseResult(line); r.ok() && r.code == "PERMANENTFLAGS" {
				for _, f := range strings.Fields(strings.Trim(strings.ToLower(r.args), "()")) {
					keywords[f] = true
				}
			}
		})
		switch {
		case err != nil:
			return failure(ctx, "imap select", err)
		case r.ok():
			mb.keywords = keywords
		case made:
			return nil
		default:
			if _, err := cn.create(ctx, mb, path); err != nil {
				return err
			}
		}
	}
	return nil
}
