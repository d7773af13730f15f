// Package lmtp hands messages over by LMTP (RFC 2033) with the commands of one message in one write
// (PIPELINING, RFC 2920), on connections that are kept. A small message for one recipient goes out in the same write, where the
// server offers CHUNKING (RFC 3030).
//
// What it promises:
//   - The wire carries canonical lines only (RFC 5321 §2.3.8): each CRLF stays, each bare CR and each
//     bare LF becomes CRLF, and a last line without an end gets one. A dot at the start of such a line is
//     doubled (RFC 5321 §4.5.2), so that nothing in a message can be taken for its end; after BDAT, which says the length,
//     it is not. Every other octet,
//     8-bit and NUL among them, goes out as it came, whether 8BITMIME (RFC 6152) is offered or not.
//   - A message is accepted whole or not at all: before its last octets any failure drops the connection.
//     After them the answer is awaited whatever the context says; without one the error is uncertain.
//   - The server's answers are read with bounds, and none of its text is passed on uncleaned.
package lmtp

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// Config says where a [Client] delivers. Zero fields take their default.
type Config struct {
	// Network and Address are "tcp" with "host:port", or "unix" with the path of a socket.
	Network, Address string
	// MaxConns bounds the connections open at one time; further messages wait. Default 16.
	MaxConns int
	// Hello is the name given with LHLO; default is the host's.
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

// Client is a [local.Destination] that speaks LMTP to one server.
type Client struct {
	pool *pool
}

var _ local.Destination = (*Client)(nil)

// New returns a client; it connects when there is something to deliver.
func New(cfg Config) *Client {
	return &Client{pool: newPool(cfg.WithDefaults())}
}

// Deliver hands over one message, as [local.Destination] promises. A recipient whose address cannot
// stand in a command is answered 553 here. A reverse-path that the server cannot take becomes the null
// one: the message matters more than the address its bounces go to. What the server says of the message
// as a whole (its answer to MAIL or DATA) is the answer of each recipient.
//
// Once the last octets are sent, ctx no longer ends the wait for the answers; Timeouts.Final does.
func (c *Client) Deliver(
	ctx context.Context, env local.Envelope, msg local.Message, commit func(context.Context) error,
) ([]local.Reply, error) {
	if env.Mailbox != nil {
		return nil, fault.Errorf(fault.DestinationTemporary, "lmtp", "LMTP hands mail to a recipient, not to a mailbox: want another mailbox destination")
	}
	tx := newTransaction(env, msg, commit)
	if len(tx.todo) == 0 {
		return tx.answers(), nil
	}
	cn, err := c.pool.take(ctx)
	if err != nil {
		return tx.answers(), err
	}
	kept := cn.kept
	err = tx.run(ctx, cn)
	if err != nil && kept && !tx.sending && ctx.Err() == nil {
		// The server gave a kept connection up before anything of the message was sent.
		if cn, err = c.pool.renew(ctx, cn); err != nil {
			return tx.answers(), err
		}
		tx = newTransaction(env, msg, commit)
		err = tx.run(ctx, cn)
	}
	c.pool.give(cn)
	return tx.answers(), err
}

// Close drops idle connections. Deliveries under way end as they would; later ones are possible, and
// their connections are not kept.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}
