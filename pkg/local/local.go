// Package local is the contract for handing a message over to its destination.
package local

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Envelope says who sent a message and who gets it (RFC 5321 §2.3.1).
type Envelope struct {
	// From is the reverse-path, empty for the null one.
	From string
	To   []string
	// Mailbox is the path of the mailbox that gets the message, level by level, past the recipient's filters; nil
	// for what the destination does with mail by itself.
	Mailbox []string
}

// Message is what is handed over: Trace, then Body, octet for octet as far as the transport allows.
type Message struct {
	// Trace holds complete header lines, each ended by CRLF, that are put in front of the message.
	Trace []byte
	// Body is the message as received from the remote server. An error other than io.EOF from it means
	// that nothing may be accepted.
	Body io.Reader
	// Size of Body in octets.
	Size int64
	// ID is the same on every copy of this message, unique among all; safe in a file name.
	ID string
	// Repeat says that an earlier hand-over of this message may have been accepted: a destination that can tell looks
	// whether it was.
	Repeat bool
	// Date is when the message was received first, and Flags are its IMAP flags (RFC 9051 §2.3.2): for a Mailbox.
	Date  time.Time
	Flags []string
	// Client gave the message to the remote server; the destination is told of it where it lets us. The zero one is not told.
	Client Client
}

// Client is a host, the name it gave itself, and that of its address; IP is set, a name that is not known is "".
type Client struct {
	IP         netip.Addr
	Helo, Name string
}

// Reply is what the destination answered for one recipient.
type Reply struct {
	Recipient string
	// Code is the SMTP reply code (RFC 5321 §4.2); destinations that speak no SMTP use 250, 451, 550, 552.
	Code int
	// Text is the rest of the answer, cleaned and cut.
	Text string
}

// Accepted says that the destination has taken responsibility (2yz).
func (r Reply) Accepted() bool { return r.Code/100 == 2 }

// Temporary says that the same may work later (4yz).
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Destination takes messages. It may be used by many goroutines at once.
type Destination interface {
	// Deliver hands over one message. commit is called once all but the last octets have been sent, and the
	// last are sent only if it returns nil: it is the caller's chance to see that its lease still stands.
	//
	// The replies hold one entry for each recipient that got an answer. An error means that the others got
	// none; if [Uncertain] is true of it the destination may have accepted all the same.
	Deliver(ctx context.Context, env Envelope, msg Message, commit func(context.Context) error) ([]Reply, error)
	// Close drops idle connections.
	Close() error
}
