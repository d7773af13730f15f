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
	"github.com/mailferry/mailferry/pkg/local"
)

// Bounds of mailbox names, and of how many are remembered on a connection.
const (
	maxLevels    = 32
	maxName      = 1000
	maxCareful   = 180 // what a file of a Maildir++ can be called, with room to spare
	maxMailboxes = 2000
)

// conn is a connection that is signed in as one user. One goroutine uses it at a time.
type conn struct {
	*wire
	user      string
	caps      map[string]bool
	prefix    string // of the personal namespace
	delimiter string
	mailboxes map[string]*mailbox // by path
	kept      bool                // was in the pool before
	usedAt    time.Time           // when it went back there
	broken    bool                // must not be used for another message
}

// mailbox is what is known of one at the destination.
type mailbox struct {
	wire  string // the name as a quoted string
	there bool   // it took a message or was made
	// keywords are those that it can keep, in lower case, \* for new ones; nil while that is not known.
	keywords map[string]bool
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
	return cn.capability(ctx)
}

// learnNamespace asks where mailboxes of the user are and what parts their levels (RFC 2342, RFC 9051 §6.3.9).
func (cn *conn) learnNamespace(ctx context.Context) error {
	if cn.caps["NAMESPACE"] {
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

// mailbox returns what is known of the mailbox of a path.
func (cn *conn) mailbox(path []string) *mailbox {
	key := strings.Join(path, "\x00")
	mb, ok := cn.mailboxes[key]
	if !ok {
		if len(cn.mailboxes) >= maxMailboxes {
			clear(cn.mailboxes)
		}
		mb = &mailbox{wire: cn.name(path, false)}
		cn.mailboxes[key] = mb
	}
	return mb
}

// name returns the name of a mailbox as a quoted string.
func (cn *conn) name(path []string, careful bool) string {
	if len(path) == 0 {
		return "INBOX"
	}
	style := local.MailboxStyle{Delimiter: cn.delimiter, MaxLevels: maxLevels, MaxOctets: maxName}
	if careful {
		style.Careful, style.MaxOctets = true, maxCareful
	}
	name := style.Name(path)
	if first, _, _ := strings.Cut(name, cn.delimiter); first != "INBOX" || cn.delimiter == "" && name != "INBOX" {
		name = cn.prefix + name
	}
	if cn.caps["IMAP4REV2"] && !cn.caps["IMAP4REV1"] {
		return quote(name)
	}
	return quote(local.EncodeMailbox(name))
}

// create makes a mailbox with all above it, and subscribes it (RFC 9051 §6.3.4, §6.3.7). Its answer is that to CREATE.
func (cn *conn) create(ctx context.Context, mb *mailbox, path []string) (result, error) {
	r, err := cn.ask("CREATE "+mb.wire, nil)
	if err == nil && refusedName(r) {
		if r, err = cn.createCarefully(mb, path, r); err == nil && r.code == "ALREADYEXISTS" {
			r.kind = "OK"
		}
	}
	switch {
	case err != nil:
		return r, failure(ctx, "imap create", err)
	case !r.ok() && r.code != "ALREADYEXISTS":
		return r, nil
	}
	if _, err := cn.ask("SUBSCRIBE "+mb.wire, nil); err != nil {
		return r, failure(ctx, "imap subscribe", err)
	}
	r.kind, mb.there = "OK", true
	return r, nil
}

// createCarefully is create for a name that was refused with no code that says why: somebody may have been faster.
func (cn *conn) createCarefully(mb *mailbox, path []string, refused result) (result, error) {
	r, err := cn.ask("STATUS "+mb.wire+" (MESSAGES)", nil)
	if careful := cn.name(path, true); err == nil && !r.ok() && careful != mb.wire {
		mb.wire = careful
		return cn.ask("CREATE "+careful, nil)
	}
	if r.ok() {
		return r, err
	}
	return refused, err
}

// refusedName says whether a refusal of CREATE can be about the name (RFC 5530 §3).
func refusedName(r result) bool {
	switch r.code {
	case "ALREADYEXISTS", "OVERQUOTA", "LIMIT", "INUSE", "UNAVAILABLE", "NOPERM":
		return false
	}
	return !r.ok()
}

// learnKeywords asks once which keywords the mailbox can keep (RFC 9051 §7.1, PERMANENTFLAGS), and makes it if it is
// not there.
func (cn *conn) learnKeywords(ctx context.Context, mb *mailbox, path []string) error {
	for made := mb.there; mb.keywords == nil; made = true {
		keywords := map[string]bool{}
		r, err := cn.ask("SELECT "+mb.wire, func(line []byte) {
			if r := parseResult(line); r.ok() && r.code == "PERMANENTFLAGS" {
				for _, f := range strings.Fields(strings.Trim(strings.ToLower(r.args), "()")) {
					keywords[f] = true
				}
			}
		})
		switch {
		case err != nil:
			return failure(ctx, "imap select", err)
		case r.ok():
			mb.keywords = keywords
		case made:
			return nil
		default:
			if _, err := cn.create(ctx, mb, path); err != nil {
				return err
			}
		}
	}
	return nil
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
