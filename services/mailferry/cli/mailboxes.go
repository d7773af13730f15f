package cli

import (
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Mailboxes are the IMAP mailboxes that are collected.
type Mailboxes struct {
	Mailboxes        []string `placeholder:"MAILBOX" sep:"none" group:"policy" help:"IMAP: collect this mailbox; may be repeated. A name, a pattern with * (anything) and % (anything within one level), or all: every mailbox but drafts, junk and trash; on Gmail the one with all mail. Default, and if empty: INBOX."`
	ExcludeMailboxes []string `placeholder:"MAILBOX" sep:"none" group:"policy" help:"IMAP: do not collect this mailbox, a name or a pattern; may be repeated. Empty: none."`
}

func (m *Mailboxes) named() bool { return len(m.Mailboxes)+len(m.ExcludeMailboxes) > 0 }

// apply writes what was named into the account.
func (m *Mailboxes) apply(a *account.Account) {
	if len(m.Mailboxes) > 0 {
		a.Mailboxes = m.Mailboxes
	}
	if len(m.ExcludeMailboxes) > 0 {
		a.ExcludeMailboxes = m.ExcludeMailboxes
	}
}

// mailboxesOf says which they are; "" where there is nothing to say.
func mailboxesOf(a *mailferryv1.Account) string {
	names := a.GetMailboxes()
	if len(names) == 0 && len(a.GetExcludeMailboxes()) > 0 {
		names = []string{"INBOX"}
	}
	s := strings.Join(names, ", ")
	if out := a.GetExcludeMailboxes(); len(out) > 0 {
		s += "; not " + strings.Join(out, ", ")
	}
	return s
}
