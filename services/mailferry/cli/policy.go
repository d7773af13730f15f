package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Policy is what an account collects, and what happens after it.
type Policy struct {
	AfterDays         *int           `placeholder:"DAYS" group:"policy" help:"Delete or move only what is older: POP3: collected so long ago; IMAP: come to the remote server so long ago. 0: whatever its age."`
	KeepNewest        *int           `placeholder:"N" group:"policy" help:"Delete or move only what is not among the newest N collected messages."`
	LargerThan        *Octets        `placeholder:"SIZE" group:"policy" help:"Delete or move what is larger, whatever its age; without --after-days only that."`
	MoveTo            *string        `placeholder:"MAILBOX" group:"policy" help:"IMAP: mailbox for --after move; made if it is not there."`
	MarkSeen          *bool          `negatable:"" group:"policy" help:"IMAP: mark collected messages as seen."`
	Start             *Start         `placeholder:"all|now|DAYSd" group:"policy" help:"What an account collects that has not run yet: all there is, only what comes from now on, or what came in the last days (IMAP), for instance 30d."`
	Push              *bool          `negatable:"" group:"policy" help:"IMAP: wait for messages in INBOX (IDLE) where the server lets us, instead of polling on the schedule."`
	SkipFilters       *bool          `negatable:"" group:"policy" help:"Ask the destination to run no filters over this mail, by a header field that it must know: see docs/destinations.md."`
	SkipAntispam      *bool          `negatable:"" group:"policy" help:"The same for anti-spam."`
	ClientAddress     *string        `enum:"domain,off,xclient,header,auto" placeholder:"domain|off|xclient|header|auto" group:"policy" help:"Tell the destination, for anti-spam, which host gave a message to the remote server, as the topmost Received line of a host of --recipients-received-by has it: xclient, by XCLIENT where the destination offers it; header, in X-Mailferry-Client; auto, by both. Default: domain, as that has it (off)."`
	DedupeWindow      *time.Duration `placeholder:"DURATION" group:"policy" help:"Of messages that are alike (Message-ID, Date, From, Subject, and all behind the header) and go to the same recipients, hand over only the first, where it was accepted no longer ago than this, for instance 24h. 0: all of them."`
	Date              *string        `enum:"collected,received" placeholder:"collected" group:"policy" help:"POP3: the date (INTERNALDATE) of messages that are filed into a mailbox path: collected, or received, the time in the topmost Received line of a host of --recipients-received-by, where there is one."`
	NewestFirst       *bool          `negatable:"" group:"policy" help:"Fetch a backlog newest first."`
	MaxMessageSize    *Octets        `placeholder:"SIZE" group:"policy" help:"Pass larger messages over for good, and say so in the report. 0: no limit of its own."`
	Oversize          *string        `enum:"skip,notice" placeholder:"skip" group:"policy" help:"What becomes of messages above --max-message-size: skip, or notice, a small message to the owner in their place. Neither is deleted at the remote server."`
	MaxMessages       *int           `placeholder:"N" group:"policy" help:"Fetch at most so many messages in one run. 0: no limit."`
	MaxBytes          *Octets        `placeholder:"SIZE" group:"policy" help:"Fetch at most so many octets in one run. 0: no limit."`
	MaxMessagesPerDay *int           `placeholder:"N" group:"policy" help:"Fetch at most so many messages in a day (UTC). 0: no limit."`
	MaxBytesPerDay    *Octets        `placeholder:"SIZE" group:"policy" help:"Fetch at most so many octets in a day (UTC). 0: no limit."`
}

func (p *Policy) named() bool { return *p != Policy{} }

func (p *Policy) apply(a *account.Account) {
	change(&a.AfterDays, p.AfterDays)
	change(&a.AfterKeepNewest, p.KeepNewest)
	change(&a.AfterLargerThan, (*int64)(p.LargerThan))
	change(&a.MoveTo, p.MoveTo)
	change(&a.MarkSeen, p.MarkSeen)
	change(&a.StartDays, (*int)(p.Start))
	change(&a.Push, p.Push)
	change(&a.SkipFilters, p.SkipFilters)
	change(&a.SkipAntispam, p.SkipAntispam)
	if set(&a.ClientAddress, p.ClientAddress); a.ClientAddress == "domain" {
		a.ClientAddress = ""
	}
	change(&a.DedupeWindow, p.DedupeWindow)
	set(&a.Date, p.Date)
	change(&a.NewestFirst, p.NewestFirst)
	change(&a.MaxMessageSize, (*int64)(p.MaxMessageSize))
	change(&a.Oversize, (*account.Oversize)(p.Oversize))
	change(&a.MaxMessages, p.MaxMessages)
	change(&a.MaxBytes, (*int64)(p.MaxBytes))
	change(&a.MaxMessagesPerDay, p.MaxMessagesPerDay)
	change(&a.MaxBytesPerDay, (*int64)(p.MaxBytesPerDay))
}

func change[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// Octets is a size on a command line: 500000, 64kB, 10MB, 2GB.
type Octets int64

// UnmarshalText reads a number with an optional unit, as [account.ParseOctets] does.
func (o *Octets) UnmarshalText(text []byte) error {
	n, err := account.ParseOctets(string(text))
	*o = Octets(n)
	return err
}

// Start is what a new account collects: all, now, or days like 30d.
type Start int

// UnmarshalText reads all, now or 30d.
func (s *Start) UnmarshalText(text []byte) error {
	switch word := strings.TrimSpace(string(text)); word {
	case "all":
		*s = 0
	case "now":
		*s = account.StartNow
	default:
		days, ok := strings.CutSuffix(word, "d")
		n, err := strconv.Atoi(days)
		if !ok || err != nil || n < 1 {
			return fmt.Errorf("%q is none of all, now or days like 30d", word)
		}
		*s = Start(n)
	}
	return nil
}

// afterOf says what happens to collected messages in one line.
func afterOf(a *mailferryv1.Account) string {
	s := word(a.GetAfter(), "AFTER_COLLECTION_")
	if a.GetMoveTo() != "" {
		s += " to " + a.GetMoveTo()
	}
	var rules []string
	if n := a.GetAfterDays(); n > 0 {
		rules = append(rules, "after "+count(int64(n), "day"))
	}
	if n := a.GetAfterLargerThan(); n > 0 {
		rules = append(rules, "if larger than "+size(n))
	}
	s = strings.Join(append([]string{s}, strings.Join(rules, " or ")), " ")
	s = strings.TrimSpace(s)
	if n := a.GetAfterKeepNewest(); n > 0 {
		s += fmt.Sprintf(", the newest %d stay", n)
	}
	if a.GetMarkSeen() {
		s += ", marked seen"
	}
	return s
}

// pushOf says whether messages are waited for, "" if they are not to be.
func pushOf(a *mailferryv1.Account, s *mailferryv1.AccountState) string {
	switch {
	case !a.GetPush():
		return ""
	case s.GetWatchedBy() == "":
		return "yes, not watched now"
	}
	return fmt.Sprintf("yes, watched by %s since %s", s.GetWatchedBy(), instant(s.GetWatchedSince()))
}

// limitsOf says what an account collects, "" for all there is.
func limitsOf(a *mailferryv1.Account) string {
	var out []string
	switch n := a.GetStartDays(); {
	case n == account.StartNow:
		out = append(out, "what came after its start")
	case n > 0:
		out = append(out, "what came since "+count(int64(n), "day")+" before its start")
	}
	if n := a.GetMaxMessageSize(); n > 0 {
		large := "messages up to " + size(n)
		if a.GetOversize() == mailferryv1.Oversize_OVERSIZE_NOTICE {
			large += " and notices of larger ones"
		}
		out = append(out, large)
	}
	if n := a.GetMaxMessages(); n > 0 {
		out = append(out, fmt.Sprintf("%d messages a run", n))
	}
	if n := a.GetMaxBytes(); n > 0 {
		out = append(out, size(n)+" a run")
	}
	if n := a.GetMaxMessagesPerDay(); n > 0 {
		out = append(out, fmt.Sprintf("%d messages a day", n))
	}
	if n := a.GetMaxBytesPerDay(); n > 0 {
		out = append(out, size(n)+" a day")
	}
	if a.GetNewestFirst() {
		out = append(out, "newest first")
	}
	return strings.Join(out, ", ")
}
