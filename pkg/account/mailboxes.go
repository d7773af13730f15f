package account

import (
	"slices"
	"strings"
)

// AllMailboxes in Account.Mailboxes stands for every mailbox worth collecting: not those for drafts, junk and
// trash, nor those that show messages of others (RFC 6154 §2, RFC 8457 §4). A mailbox of that name is reached by
// a pattern ("al%").
const AllMailboxes = "all"

const (
	inbox = "INBOX"
	// maxMailboxes bounds the names and patterns, maxMailbox the bytes of one.
	maxMailboxes = 32
	maxMailbox   = 255
)

// normalMailboxes returns names without those that are empty or come twice. INBOX and AllMailboxes know no case
// (RFC 9051 §5.1).
func normalMailboxes(names []string) []string {
	var out []string
	for _, n := range names {
		if strings.EqualFold(n, inbox) {
			n = inbox
		}
		if strings.EqualFold(n, AllMailboxes) {
			n = AllMailboxes
		}
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// validateMailboxes checks which mailboxes are collected.
func (a Account) validateMailboxes() error {
	if a.Protocol == POP3 && len(a.Mailboxes)+len(a.ExcludeMailboxes) > 0 {
		return invalid("mailboxes", "a POP3 account has only one: want IMAP")
	}
	for field, names := range map[string][]string{"mailboxes": a.Mailboxes, "exclude_mailboxes": a.ExcludeMailboxes} {
		if len(names) > maxMailboxes {
			return invalid(field, "want at most %d", maxMailboxes)
		}
		for _, n := range names {
			if err := validateText(field, n, maxMailbox); err != nil {
				return err
			}
		}
	}
	switch {
	case slices.Contains(a.ExcludeMailboxes, AllMailboxes):
		return invalid("exclude_mailboxes", "nothing would be left to collect")
	case a.After == Move && slices.Contains(a.Mailboxes, a.MoveTo):
		return invalid("move_to", "is one of the mailboxes that are collected: its messages would be collected again")
	}
	return nil
}
