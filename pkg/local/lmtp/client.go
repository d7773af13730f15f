// Package lmtp hands messages over by LMTP (RFC 2033) and SMTP (RFC 5321) with the commands of one message in one write
// (PIPELINING, RFC 2920), on connections that are kept. A small message for one recipient goes out in the same write, where the
// server offers CHUNKING (RFC 3030), and with it others that wait for a connection to a server that is fast (ride.go).
//
// What it promises:
//   - The wire carries canonical lines only (RFC 5321 §2.3.8): each CRLF stays, each bare CR and each
//     bare LF becomes CRLF, and a last line without an end gets one. A dot at the start of such a line is
//     doubled (RFC 5321 §4.5.2), so that nothing in a message can be taken for its end; after BDAT, which says the length,
//     it is not. Every other octet,
//     8-bit and NUL among them, goes out as it came, whether 8BITMIME (RFC 6152) is offered or not, and lines are
//     as long as they came. A server that offers CHUNKING and BINARYMIME (RFC 3030) is sent all octets as they came,
//     counted: it has said that it takes them so. CHUNKING alone says nothing of the kind, and lines it stays.
//   - A message is accepted whole or not at all: before its last octets any failure drops the connection.
//     After them the answer is awaited whatever the context says; without one the error is uncertain.
//   - One server after the other is asked until one takes a message, unless something of it was read before. One that
//     fails is avoided for a while that grows, and then tried with one message.
//   - Nothing of a message can be taken for commands, or an answer for that of another message: what is sent without waiting for an
//     answer goes only to servers that were seen to swallow a chunk they refuse (RFC 3030 §2), with RSET between two
//     messages, whose answer has to come in its place. Where it does not, the fate of those behind it is uncertain,
//     and for an hour messages go there one at a time, by DATA.
//   - The server's answers are read with bounds, and none of its text is passed on uncleaned.
package lmtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// Protocol is what is spoken; each word is also that of a destination.
type Protocol string

// The protocols. By LMTP each recipient has an answer of its own after the message (RFC 2033 §4.2), by SMTP all share one.
const (
	LMTP Protocol = "lmtp"
	SMTP Protocol = "smtp"
)

// TLS says when a connection is secured.
type TLS int

// The choices. Only where TLS is required is the certificate always checked.
const (
	NoTLS       TLS = iota
	OfferedTLS      // by STARTTLS where the server offers it (RFC 3207)
	RequiredTLS     // by STARTTLS, or there is no session
	ImplicitTLS     // from the first octet on (RFC 8314 §3.3)
)

// Endpoint is a server: "tcp" and "host:port", or "unix" and the path of a socket.
type Endpoint struct{ Network, Address string }

// Config says where a [Client] delivers. Zero fields take their default.
type Config struct {
	// Protocol is LMTP by default.
	Protocol Protocol
	// Endpoints are the servers, in order: the next one is asked where those before it fail.
	Endpoints []Endpoint
	TLS       TLS
	// TLSConfig is what TLS begins with, for instance certificate authorities; default is the system's.
	TLSConfig *tls.Config
	// Username and Password sign in by AUTH, only in TLS or where nothing leaves the machine. With them the certificate
	// is always checked. Empty: nobody signs in.
	Username, Password string
	// MaxConns bounds the connections open to each endpoint at one time; further messages wait. Default 16.
	MaxConns int
	// Hello is the name given with LHLO or EHLO; default is the host's.
	Hello    string
	Timeouts Timeouts
	// Dial opens a connection; default is a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Timeouts bounds each step. Zero fields take their default.
type Timeouts struct {
	Dial    time.Duration // to connect; default 10 s
	Command time.Duration // for the greeting and for the answer to each group of commands; default 1 min
	Write   time.Duration // for the server to take one chunk; default 1 min
	Final   time.Duration // for all answers after the final dot; default 10 min (RFC 5321 §4.5.3.2.6)
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
	if c.Protocol == "" {
		c.Protocol = LMTP
	}
	if len(c.Endpoints) == 0 {
		c.Endpoints = make([]Endpoint, 1)
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 16
	}
	if c.Hello == "" {
		c.Hello, _ = os.Hostname()
	}
	if !validWord(c.Hello) {
		c.Hello = "localhost"
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	return c
}

// tlsFor returns how TLS with an endpoint begins.
func (c Config) tlsFor(at Endpoint) *tls.Config {
	host, _, err := net.SplitHostPort(at.Address)
	if err != nil {
		host = at.Address
	}
	cfg := &tls.Config{}
	if c.TLSConfig != nil {
		cfg = c.TLSConfig.Clone()
	}
	cfg.ServerName, cfg.MinVersion = host, max(cfg.MinVersion, tls.VersionTLS12)
	cfg.InsecureSkipVerify = c.TLS == OfferedTLS && c.Username == "" //nolint:gosec // as handshake says
	return cfg
}

// Client is a [local.Destination] that speaks LMTP or SMTP to one of several servers.
type Client struct {
	protocol  Protocol
	endpoints []*endpoint
	smalls    sync.Pool // of *small
}

var _ local.Destination = (*Client)(nil)

// New returns a client; it connects when there is something to deliver.
func New(cfg Config) *Client {
	cfg = cfg.WithDefaults()
	c := &Client{protocol: cfg.Protocol}
	for _, at := range cfg.Endpoints {
		c.endpoints = append(c.endpoints, &endpoint{pool: newPool(cfg, at)})
	}
	return c
}

// Deliver hands over one message, as [local.Destination] promises. A recipient whose address cannot
// stand in a command is answered 553 here. A reverse-path that the server cannot take becomes the null
// one: the message matters more than the address its bounces go to. What the server says of the message
// as a whole (its answer to MAIL or DATA) is the answer of each recipient. An endpoint that fails before anything of
// the message was sent is followed by the next. commit may be called by another goroutine, and again before a later write.
//
// Once the last octets are sent, ctx no longer ends the wait for the answers; Timeouts.Final does.
func (c *Client) Deliver(
	ctx context.Context, env local.Envelope, msg local.Message, commit func(context.Context) error,
) ([]local.Reply, error) {
	if env.Mailbox != nil {
		return nil, fault.Errorf(fault.DestinationTemporary, string(c.protocol), "%s hands mail to a recipient, not to a mailbox: want another mailbox destination",
			strings.ToUpper(string(c.protocol)))
	}
	tx := newTransaction(env, msg, commit, new(small))
	if len(tx.todo) == 0 {
		return tx.answers(), nil
	}
	sm, _ := c.smalls.Get().(*small)
	if sm == nil {
		sm = new(small)
	}
	defer c.smalls.Put(sm)
	if err := sm.read(&msg); err != nil {
		return tx.answers(), fmt.Errorf("%s body: %w", c.protocol, err)
	}
	begin := func() *transaction { return newTransaction(env, msg, commit, sm) }
	var failed error
	for e := range c.order() {
		var err error
		tx, err = e.deliver(ctx, begin)
		if err == nil || tx.sending || ctx.Err() != nil {
			return tx.answers(), err
		}
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = err
	}
	return tx.answers(), failed
}

// Close drops idle connections. Deliveries under way end as they would; later ones are possible, and
// their connections are not kept.
func (c *Client) Close() error {
	for _, e := range c.endpoints {
		e.pool.close()
	}
	return nil
}
