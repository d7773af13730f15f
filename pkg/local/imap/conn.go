package imap

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// conn is a connection that is signed in as one user. One goroutine uses it at a time.
type conn struct {
	*wire
	user      string
	caps      map[string]bool
	utf8      bool   // names are in UTF-8
	prefix    string // of the personal namespace
	delimiter string
	mailboxes map[string]*mailbox // by path
	kept      bool                // was in the pool before
	usedAt    time.Time           // when it went back there
	broken    bool                // must not be used for another message
}

// connect opens a connection and signs in as user.
func connect(ctx context.Context, cfg Config, user string) (*conn, error) {
	dialing, cancel := context.WithTimeout(ctx, cfg.Timeouts.Dial)
	defer cancel()
	nc, err := cfg.Dial(dialing, "tcp", cfg.Address)
	if err != nil {
		return nil, failure(ctx, "imap connect", err)
	}
	cn := &conn{user: user, mailboxes: map[string]*mailbox{}}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if cfg.TLS {
		tc := tls.Client(nc, cfg.TLSConfig)
		if err := tc.HandshakeContext(dialing); err != nil {
			_ = nc.Close()
			return nil, failure(ctx, "imap tls", err)
		}
		nc = tc
	}
	cn.wire = newWire(nc, cfg.Timeouts)
	err = cn.greet(ctx, cfg)
	if err == nil {
		err = cn.signIn(ctx, cfg.Credentials)
	}
	if err == nil {
		err = cn.learnNamespace(ctx)
	}
	if err == nil && !stop() {
		err = canceled(ctx, "imap sign in")
	}
	if err != nil {
		_ = cn.Close()
		return nil, err
	}
	return cn, nil
}

// greet reads the greeting and goes on to TLS where the server offers it.
func (cn *conn) greet(ctx context.Context, cfg Config) error {
	const op = "imap greeting"
	if err := cn.SetReadDeadline(time.Now().Add(cn.limits.Command)); err != nil {
		return failure(ctx, op, err)
	}
	cn.left, cn.lines = maxOctets, maxAnswers
	line, err := cn.line()
	if err != nil {
		return failure(ctx, op, err)
	}
	rest, untagged := strings.CutPrefix(string(line), "* ")
	if r := parseResult([]byte(rest)); !untagged || !r.ok() {
		return fault.Errorf(fault.DestinationTemporary, op, "want an IMAP server that lets us sign in, it said: %s", fault.Clean(string(line)))
	}
	if err := cn.capability(ctx); err != nil || !cn.caps["STARTTLS"] || cfg.TLS {
		return err
	}
	r, err := cn.ask("STARTTLS", nil)
	switch {
	case err != nil:
		return failure(ctx, "imap starttls", err)
	case !r.ok():
		return unwilling("imap starttls", r)
	case cn.r.Buffered() > 0:
		return fault.Errorf(fault.DestinationTemporary, "imap starttls", "somebody sent %d octets behind the answer in plain text", cn.r.Buffered())
	}
	tc := tls.Client(cn.Conn, cfg.TLSConfig)
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeouts.Dial)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return fault.New(fault.DestinationTemporary, "imap starttls", err)
	}
	tag := cn.tag
	cn.wire = newWire(tc, cn.limits)
	cn.tag = tag
	return cn.capability(ctx)
}

// capability asks what the server can do (RFC 9051 §6.1.1).
func (cn *conn) capability(ctx context.Context) error {
	caps := map[string]bool{}
	r, err := cn.ask("CAPABILITY", func(line []byte) {
		if words := strings.Fields(strings.ToUpper(string(line))); len(words) > 0 && words[0] == "CAPABILITY" {
			for _, w := range words[1:] {
				caps[w] = true
			}
		}
	})
	switch {
	case err != nil:
		return failure(ctx, "imap capability", err)
	case !r.ok() || len(caps) == 0:
		return unwilling("imap capability", r)
	}
	cn.caps = caps
	return nil
}

// signIn signs in for the user (RFC 9051 §6.2.2, §6.2.3).
func (cn *conn) signIn(ctx context.Context, c Credentials) error {
	const op = "imap sign in"
	authzid, authcid := cn.user, c.Username
	if strings.Contains(c.Username, "%") {
		at := strings.LastIndexByte(cn.user, '@')
		authzid, authcid = "", strings.NewReplacer("%u", cn.user, "%n", cn.user[:at], "%d", cn.user[at+1:], "%%", "%").Replace(c.Username)
	}
	command := "LOGIN " + quote(authcid) + " " + quote(c.Password)
	switch {
	case c.Username == "":
		return fault.Errorf(fault.DestinationTemporary, op,
			"want the credentials of one who may sign in for every user: set mailbox_destination_username and its password")
	case !cn.private():
		return fault.Errorf(fault.DestinationTemporary, op,
			"the server offers no TLS, and a password that opens every mailbox leaves in TLS only: want imaps:host, or STARTTLS at the server")
	case strings.ContainsAny(authzid+authcid+c.Password, "\x00\r\n"):
		return fault.Errorf(fault.DestinationTemporary, op, "the user name and the password must not hold line ends or NUL")
	case cn.caps["AUTH=PLAIN"]:
		response := base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + authcid + "\x00" + c.Password))
		if command = "AUTHENTICATE PLAIN " + response; !cn.caps["SASL-IR"] {
			return cn.plain(ctx, response)
		}
	case authzid != "" || cn.caps["LOGINDISABLED"]:
		return fault.Errorf(fault.DestinationTemporary, op, "the server offers no AUTH=PLAIN on this connection; it may want TLS: imaps:host:993")
	}
	r, err := cn.ask(command, nil)
	return cn.signedIn(ctx, r, err)
}

// private says that nobody on the way can read along: there is TLS, or there is no way.
func (cn *conn) private() bool {
	if _, ok := cn.Conn.(*tls.Conn); ok {
		return true
	}
	a, ok := cn.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// plain is AUTHENTICATE PLAIN without SASL-IR (RFC 4959).
func (cn *conn) plain(ctx context.Context, response string) error {
	if err := cn.command("AUTHENTICATE PLAIN\r\n"); err != nil {
		return failure(ctx, "imap sign in", err)
	}
	if _, err := cn.flush(); err != nil {
		return failure(ctx, "imap sign in", err)
	}
	r, err := cn.answer(cn.limits.Command, nil)
	if err == nil && r.kind == "+" {
		if err = cn.emit([]byte(response + "\r\n")); err == nil {
			_, err = cn.flush()
		}
		if err == nil {
			r, err = cn.answer(cn.limits.Command, nil)
		}
	}
	return cn.signedIn(ctx, r, err)
}

// signedIn judges the answer. A refusal is temporary: a wrong password of ours would else be the end of everybody's
// mail.
func (cn *conn) signedIn(ctx context.Context, r result, err error) error {
	switch {
	case err != nil:
		return failure(ctx, "imap sign in", err)
	case !r.ok():
		return unwilling("imap sign in for "+fault.Clean(cn.user), r)
	}
	if err := cn.capability(ctx); err != nil {
		return err
	}
	return cn.enable(ctx)
}

// enable settles how mailbox names are written: in UTF-8 where the server knows nothing else (RFC 9051 §5.1) or wants that
// enabled first (RFC 6855 §6, UTF8=ONLY), else in modified UTF-7, as long as nothing else is enabled.
func (cn *conn) enable(ctx context.Context) error {
	cn.utf8 = cn.caps["IMAP4REV2"] && !cn.caps["IMAP4REV1"]
	if !cn.caps["UTF8=ONLY"] {
		return nil
	}
	cn.utf8 = true
	r, err := cn.ask("ENABLE UTF8=ACCEPT", nil)
	switch {
	case err != nil:
		return failure(ctx, "imap enable", err)
	case !r.ok():
		return unwilling("imap enable", r)
	}
	return nil
}

// learnNamespace asks where mailboxes of the user are and what parts their levels (RFC 2342; RFC 9051 §6.3.10, where it is no
// extension, and §6.3.9).
func (cn *conn) learnNamespace(ctx context.Context) error {
	if cn.caps["NAMESPACE"] || cn.caps["IMAP4REV2"] {
		found := false
		r, err := cn.ask("NAMESPACE", func(line []byte) {
			rest, ok := strings.CutPrefix(string(line), "NAMESPACE ((")
			if !ok || found {
				return
			}
			var delimiter string
			cn.prefix, rest = unquote(rest)
			if delimiter, _ = unquote(rest); delimiter != "NIL" {
				cn.delimiter = delimiter
			}
			found = true
		})
		if err != nil {
			return failure(ctx, "imap namespace", err)
		}
		if r.ok() && found && cn.validDelimiter() {
			return nil
		}
	}
	cn.prefix, cn.delimiter = "", ""
	r, err := cn.ask(`LIST "" ""`, func(line []byte) {
		rest, ok := strings.CutPrefix(string(line), "LIST (")
		if !ok {
			return
		}
		_, rest, _ = strings.Cut(rest, ")")
		if delimiter, _ := unquote(rest); delimiter != "NIL" {
			cn.delimiter = delimiter
		}
	})
	switch {
	case err != nil:
		return failure(ctx, "imap list", err)
	case !r.ok():
		return unwilling("imap list", r)
	case !cn.validDelimiter():
		return fault.Errorf(fault.DestinationTemporary, "imap list", "the server parts mailbox names by %s", fault.Clean(cn.delimiter))
	}
	return nil
}

// validDelimiter says whether the delimiter is one ASCII character that can stand in a name, or none.
func (cn *conn) validDelimiter() bool {
	d := cn.delimiter
	return d == "" || len(d) == 1 && d[0] > ' ' && d[0] < 0x7f && d != "%" && d != "="
}

// failure gives err the kind destination-temporary; the end of ctx comes first as a cause.
func failure(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return canceled(ctx, op)
	}
	return fault.New(fault.DestinationTemporary, op, err)
}

// unwilling is the error for a server that refuses to go on, whatever the message.
func unwilling(op string, r result) error {
	return fault.New(fault.DestinationTemporary, op, fmt.Errorf("the destination answered %s", r))
}

var errHungUp = errors.New("the destination hung up without an answer")
