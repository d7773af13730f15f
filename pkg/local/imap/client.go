// Package imap hands messages over into mailboxes by IMAP APPEND (RFC 9051 §6.3.12, RFC 3501 §6.3.11), on connections
// that are kept per user. pkg/remote/imap is the other end of the journey.
//
// A hand-over goes in this order, for all recipients together:
//  1. Sign in as the recipient, with the credentials of one who may do so for all.
//  2. Where an earlier hand-over may have been accepted (local.Message.Repeat), look for the message in the mailbox: a
//     recipient who has it is answered 250 and is done.
//  3. APPEND begins, with flags and INTERNALDATE. A mailbox that is not there is made with all above it and
//     subscribed, and APPEND begins again; one that is there already is fine.
//  4. All but the last octet of the message is sent.
//  5. commit is asked.
//  6. The last octet is sent, and the answer awaited whatever the context says. Without one the error is uncertain.
//
// What it promises:
//   - The message arrives octet for octet, bare CR and LF too, but for NUL, which IMAP cannot carry
//     (RFC 9051 §9, CHAR8): it becomes 0x80, as servers make it when they show one.
//   - Nothing is appended in part: a literal that does not come to its end is no message.
//   - What is looked for is the message itself: its trace names account and key, and its beginning is compared. Left
//     open are a message that its owner deleted or moved meanwhile, a server that still works on the first APPEND, and
//     one that does not search within Timeouts.Command: there a second copy is appended rather than none.
//   - The name of a mailbox is the same whenever its path is ([local.MailboxStyle]): the personal namespace
//     (RFC 2342), then the levels, parted as the server parts them, in modified UTF-7, or in UTF-8 where the server has
//     nothing else. INBOX is the recipient's own. A name that the server refuses is tried once more in the careful style.
//   - Flags that are no one's business but the server's or would delete are left out: \Recent and \Deleted. A keyword
//     goes with the message where the mailbox can keep it (PERMANENTFLAGS).
//   - The password leaves in TLS with a valid certificate, or to a loopback address, and never else.
//   - The server's answers are read with bounds, and none of its text is passed on uncleaned.
package imap

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// Config says where a [Client] delivers. Zero fields take their default.
type Config struct {
	// Address is "host:port".
	Address string
	// TLS from the first octet; else STARTTLS where the server offers it, before anybody signs in.
	TLS bool
	// TLSConfig for both; its ServerName defaults to the host.
	TLSConfig *tls.Config
	Credentials
	// MaxConns bounds the connections open at one time, and PerUser those of one user among them; further messages
	// wait. Defaults 16 and 4.
	MaxConns, PerUser int
	Timeouts          Timeouts
	// Dial opens a connection; default is a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Credentials are those of one who may sign in for every user.
type Credentials struct {
	// Username signs in with SASL PLAIN and the recipient's address as authorization identity (RFC 4616): Dovecot's
	// master users and Cyrus' proxies. One with %u (address), %n (local part) or %d (domain) is the whole name to sign
	// in with, such as "%u*master".
	Username, Password string
}

// Timeouts bounds each step. Zero fields take their default.
type Timeouts struct {
	Dial    time.Duration // to connect, TLS included; default 10 s
	Command time.Duration // for the greeting and each answer; default 1 min
	Write   time.Duration // for the server to take one chunk; default 1 min
	Final   time.Duration // for the answer after the last octet; default 10 min
	Idle    time.Duration // that an unused connection is kept; default 30 s
}

// WithDefaults returns c with its zero fields filled in.
func (c Config) WithDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Timeouts.Dial, 10*time.Second)
	def(&c.Timeouts.Command, time.Minute)
	def(&c.Timeouts.Write, time.Minute)
	def(&c.Timeouts.Final, 10*time.Minute)
	def(&c.Timeouts.Idle, 30*time.Second)
	if c.MaxConns <= 0 {
		c.MaxConns = 16
	}
	if c.PerUser <= 0 {
		c.PerUser = 4
	}
	c.PerUser = min(c.PerUser, c.MaxConns)
	if c.TLSConfig == nil {
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.TLSConfig.ServerName == "" {
		c.TLSConfig = c.TLSConfig.Clone()
		c.TLSConfig.ServerName, _, _ = net.SplitHostPort(c.Address)
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	return c
}

// Client is a [local.Destination] that appends at one server.
type Client struct {
	cfg  Config
	pool *pool
}

var _ local.Destination = (*Client)(nil)

// New returns a client; it connects when there is something to deliver.
func New(cfg Config) *Client {
	cfg = cfg.WithDefaults()
	return &Client{cfg: cfg, pool: newPool(cfg)}
}

// Close drops idle connections. Deliveries under way end as they would; later ones are possible, and their connections
// are not kept.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Deliver hands over one message, as [local.Destination] promises; without a mailbox in the envelope it goes to INBOX.
// msg.Size binds: a body of another size is an error. An address that cannot be signed in for is answered 553.
func (c *Client) Deliver(
	ctx context.Context, env local.Envelope, msg local.Message, commit func(context.Context) error,
) ([]local.Reply, error) {
	d := newDelivery(env, msg)
	if err := d.run(ctx, c.pool, commit); err != nil {
		return d.answers(), err
	}
	return d.answers(), nil
}

// canceled is the error of a delivery that ctx ended.
func canceled(ctx context.Context, op string) error {
	return fault.Wrap(fault.Canceled, op, context.Cause(ctx))
}
