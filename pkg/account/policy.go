package account

import (
	"math"
	"strings"
)

// maxDays bounds ages: the index knows the day of an entry for that long.
const maxDays = 3650

// validatePolicy checks what is collected, and what happens after it.
func (a Account) validatePolicy() error {
	conditions := a.AfterDays != 0 || a.AfterKeepNewest != 0 || a.AfterLargerThan != 0
	switch {
	case a.AfterDays < 0 || a.AfterDays > maxDays:
		return invalid("after_days", "want 0 to %d", maxDays)
	case a.AfterKeepNewest < 0:
		return invalid("after_keep_newest", "must not be negative")
	case a.AfterLargerThan < 0:
		return invalid("after_larger_than", "must not be negative")
	case conditions && !a.After.Removes():
		return invalid("after", "days, keep-newest and larger-than say which messages are deleted or moved: want delete or move with them")
	case a.StartDays < StartNow || a.StartDays > maxDays:
		return invalid("start_days", "want everything, now, or 1 to %d days", maxDays)
	case a.Date != "" && dates[a.Date] == 0:
		return invalid("date", "want collected or received")
	case a.Date == DateReceived && a.Protocol != POP3:
		return invalid("date", "is a POP3 option: by IMAP a message keeps its INTERNALDATE")
	case a.StartDays > 0 && a.Protocol == POP3:
		return invalid("start_days", "a POP3 server does not say when a message came: want now, or IMAP")
	case a.MaxMessageSize < 0 || a.MaxMessages < 0 || a.MaxBytes < 0 || a.MaxMessagesPerDay < 0 || a.MaxBytesPerDay < 0:
		return invalid("max", "a limit must not be negative")
	case a.Oversize != "" && a.Oversize != Skip && a.Oversize != Notice:
		return invalid("oversize", "want skip or notice")
	case a.Oversize == Notice && a.MaxMessageSize == 0:
		return invalid("oversize", "notice goes with a max-message-size")
	case a.MaxMessages > math.MaxInt32 || a.MaxMessagesPerDay > math.MaxInt32:
		return invalid("max", "a number of messages is at most %d", math.MaxInt32)
	}
	if err := a.validateMailboxes(); err != nil {
		return err
	}
	return a.validateMove()
}

func (a Account) validateMove() error {
	switch {
	case a.After != Move && a.MoveTo != "":
		return invalid("move_to", "goes with after move")
	case (a.After == Move || a.MarkSeen) && a.Protocol == POP3:
		return invalid("after", "move and mark-seen need IMAP")
	case a.After != Move:
		return nil
	case strings.EqualFold(a.MoveTo, "INBOX"):
		return invalid("move_to", "INBOX is where the messages come from")
	}
	return validateText("move_to", a.MoveTo, MaxFieldLen)
}

// WithRules returns a with what it collects and what happens then as of has it. Where its mail comes from, and who
// signs in there, stays.
func (a Account) WithRules(of Account) Account {
	a.Interval, a.Schedule, a.After, a.MoveTo, a.MarkSeen = of.Interval, of.Schedule, of.After, of.MoveTo, of.MarkSeen
	a.AfterDays, a.AfterKeepNewest, a.AfterLargerThan = of.AfterDays, of.AfterKeepNewest, of.AfterLargerThan
	a.StartDays, a.NewestFirst, a.MaxMessageSize, a.Oversize = of.StartDays, of.NewestFirst, of.MaxMessageSize, of.Oversize
	a.MaxMessages, a.MaxBytes, a.MaxMessagesPerDay, a.MaxBytesPerDay = of.MaxMessages, of.MaxBytes, of.MaxMessagesPerDay, of.MaxBytesPerDay
	a.Mailboxes, a.ExcludeMailboxes = of.Mailboxes, of.ExcludeMailboxes
	return a
}
