// Package remote is the contract of a session with a remote account, and what its two protocols
// share: dialing, TLS, the egress guard and the limits.
//
// A session is used by one goroutine. Everything it reads is bounded in time and bytes; every error
// it returns carries a fault kind; text of the server in it has passed fault.Clean.
package remote

import (
	"context"
	"errors"
	"io"
	"time"
)

// Item names one message of a remote mailbox.
type Item struct {
	// Mailbox is the IMAP mailbox; empty for POP3.
	Mailbox string
	// UIDValidity and UID identify an IMAP message (RFC 9051 §2.3.1.1). Without UIDVALIDITY, 0, the UID holds for this
	// session alone: nothing is deleted by it, moved or marked.
	UIDValidity, UID uint32
	// Number and UniqueID identify a POP3 message in this session and across sessions (RFC 1939 §7).
	// UniqueID is empty where the server gave none, or one that it gave twice.
	Number   int
	UniqueID string
	// Size in octets as listed: advice, never a bound.
	Size int64
}

// Listing is what a session's remote mailbox holds.
type Listing struct {
	Items []Item
	// Complete says that the listing did not contradict itself, of no mailbox. Only a complete one may delete
	// or age anything.
	Complete bool
	// Note says why it is not complete.
	Note string
	// Delimiter parts the levels of the names of mailboxes, where Mailboxes.Tree asks for it and there are levels.
	Delimiter string
	// Mailboxes are IMAP's, as far as they were looked at.
	Mailboxes []Mailbox
	// Notes are for the owner of the account: mailboxes that were passed over, and why.
	Notes []string
}

// Whole are the mailboxes that are listed whole: what is not listed is not there. Only in these may anything be
// deleted or aged. A maildrop has no name.
func (l Listing) Whole() map[string]bool {
	if len(l.Mailboxes) == 0 {
		return map[string]bool{"": l.Complete}
	}
	whole := make(map[string]bool, len(l.Mailboxes))
	for _, m := range l.Mailboxes {
		whole[m.Name] = m.Whole
	}
	return whole
}

// Mailbox is one mailbox of a listing.
type Mailbox struct {
	Name string
	// Status is what the server said when the listing began; zero where it did not say all of it.
	Status Status
	// Whole says that every message of it is listed; Unchanged that none is, for nothing changed since its
	// status was known.
	Whole, Unchanged bool
	// Before is how many messages there are that are not listed, for they were there when its status was known, and
	// nothing but new messages came to it since. All the others are listed.
	Before uint32
}

// Status is what an IMAP server says of a mailbox: it did not change while these did not (RFC 9051 §2.3.1.1:
// UIDNEXT grows with every message that comes).
type Status struct{ UIDValidity, UIDNext, Messages uint32 }

// Grew says whether nothing but new messages came since the mailbox was as was says: each of them takes a number
// (RFC 9051 §2.3.1.1), so that there are as many more as numbers were taken only where none is gone.
func (st Status) Grew(was Status) bool {
	return st.UIDValidity == was.UIDValidity && st.UIDNext > was.UIDNext && st.Messages > was.Messages &&
		st.UIDNext-was.UIDNext == st.Messages-was.Messages
}

// Mailboxes chooses mailboxes of an IMAP account as package account has it. MoveTo is never one of them: what
// was moved there is collected.
type Mailboxes struct {
	Names, Exclude []string
	MoveTo         string
	// Tree says that the place of each among the others is asked for: Listing.Delimiter.
	Tree bool
}

// Fetched is one answer to Fetch.
type Fetched struct {
	Item Item
	// Err is the failure of this message alone; Body is nil then.
	Err error
	// Body streams the message as received. It returns io.EOF only at the protocol's own end mark; a
	// cut or oversized body ends in another error.
	Body io.Reader
	// InternalDate and Flags are IMAP's.
	InternalDate time.Time
	Flags        []string
}

// Info is what a session knows about its connection.
type Info struct {
	// TLS is "none" or the version, for instance "TLS 1.3".
	TLS string
	// Address is the address that was dialed.
	Address string
	// LoginDelay is how long the server wants between two sign-ins (RFC 2449 §6.6); 0: it does not say.
	LoginDelay time.Duration
	// Mechanism is how the session signed in: the name of a SASL mechanism, "APOP" or "password command".
	Mechanism string
	// Consumes says that the server drops a message once it was fetched and the session ended well
	// (RFC 2449 §6.7: EXPIRE 0).
	Consumes bool
}

// ErrInternalData says that a message is none: data that a server keeps in the mailbox as its first message.
// It is neither to be collected nor to be deleted.
var ErrInternalData = errors.New("remote: not a message but the server's own data")

// Session is an authenticated session with a remote account.
type Session interface {
	Info() Info
	// List returns every message of the remote mailbox.
	List(ctx context.Context) (Listing, error)
	// Fetch calls each once for every item, in the order in which the answers come. each must read Body
	// to its end to have the message; what it leaves is passed over. An error of each ends the session.
	// Fetch returns an error only when the session can no longer be used; an item for which each was not
	// called, or called with Err, was not fetched.
	Fetch(ctx context.Context, items []Item, each func(Fetched) error) error
	// Stream is Fetch that goes on with the items that more returns. more is called in the goroutine that calls each,
	// before the answers to the items before have all come, so that the server always has something to do; none ends it.
	// Stream may return before more had none.
	Stream(ctx context.Context, items []Item, more func() []Item, each func(Fetched) error) error
	// Delete removes messages. With POP3 they are gone only when Close returned nil (RFC 1939 §6).
	Delete(ctx context.Context, items []Item) error
	// Close ends the session in order (QUIT, LOGOUT).
	Close(ctx context.Context) error
	// Abort drops the connection; deletions of a POP3 session are void. It may be called at any time, from
	// any goroutine, also after Close.
	Abort()
}

// Limits bounds one session. Zero fields take their default.
type Limits struct {
	Dial     time.Duration // connect and TLS handshake, each; default 15 s
	Command  time.Duration // greeting and each answer; default 60 s
	Idle     time.Duration // silence inside a body; default 60 s
	Quiet    time.Duration // silence after which a body that Target.LenientDot may end is asked about; default 5 s, or half of Idle
	Line     int           // octets of one line; default 64 KiB
	List     int           // messages of a listing; default 1,000,000
	Message  int64         // octets of one message; default 256 MiB
	Pipeline int           // commands sent ahead; default 256
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&l.Dial, 15*time.Second)
	def(&l.Command, time.Minute)
	def(&l.Idle, time.Minute)
	def(&l.Quiet, min(5*time.Second, l.Idle/2))
	if l.Line == 0 {
		l.Line = 64 << 10
	}
	if l.List == 0 {
		l.List = 1_000_000
	}
	if l.Message == 0 {
		l.Message = 256 << 20
	}
	if l.Pipeline == 0 {
		l.Pipeline = 256
	}
	return l
}
