package imap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// guard is the net.Conn that imapclient works on. It takes the server's octets apart into lines and
// literals and writes them anew: what the client needs, in a form that it can read, and nothing else. So
// a status response it would choke on, an answer it does not know or an item nobody asked for neither
// ends the session nor fills its memory, and whoever stands for the server chooses none of its paths but
// the few that are tested.
//
// What breaks the framing itself ends the session: a line or a literal above its limit, a parenthesis in
// a capability list (imapclient turns in circles on it), a line that is no response.
type guard struct {
	*wire
	out     []byte // to be handed out, before any literal
	buf     []byte // backs out
	literal int64  // octets of a literal to be handed out
	skip    int64  // octets of a literal to be passed over
	drop    int64  // the rest of a response is passed over, with literals up to this size; 0: it is not
	att     attributes
	// direct takes a message whose UID came before its body, listed one of a listing, and says whether it did; nil: the
	// client gets all.
	direct func(m message, literal io.Reader, size int64)
	listed func(uid uint32, size int64) bool
	hold   bool   // the next command waits for the one behind it
	held   []byte // a command that waits
}

var _ net.Conn = (*guard)(nil)

// Read hands out what has been checked.
func (g *guard) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(g.out) > 0:
			n := copy(p, g.out)
			g.out = g.out[n:]
			return n, nil
		case g.literal > 0:
			n, err := g.wire.literal(p, g.literal)
			g.literal -= int64(n)
			return n, err
		case g.skip > 0:
			n, err := g.pass()
			g.skip -= int64(n)
			if err != nil {
				return 0, err
			}
		default:
			if err := g.next(); err != nil {
				return 0, err
			}
		}
	}
}

// pass reads octets that nobody gets.
func (g *guard) pass() (int, error) {
	n, err := g.r.Discard(int(min(g.skip, 4<<10)))
	if err != nil {
		err = g.fail(err)
	}
	return n, err
}

// next reads a line and decides what becomes of it.
func (g *guard) next() error {
	line, err := g.line()
	if err != nil {
		return err
	}
	switch {
	case g.drop > 0:
		return g.dropped(line, g.drop)
	case g.att.open:
		return g.attributes(line)
	}
	g.buf = g.buf[:0]
	l := lexer{line}
	switch {
	case l.take('+'):
		l.spaces()
		if !g.idle() {
			_, err := g.answer()
			return err
		}
		g.emit("+ %s\r\n", printable(l.rest))
		return nil
	case l.take('*') && l.take(' '):
		return g.untagged(&l)
	case len(line) > 0 && line[0] != '*':
		return g.tagged(&l)
	}
	return g.garbage(line)
}

func (g *guard) emit(format string, args ...any) {
	g.buf = fmt.Appendf(g.buf, format, args...)
	g.out = g.buf
}

func (g *guard) garbage(line []byte) error {
	return g.fail(fault.Errorf(fault.Protocol, "imap read", "not a response: %s", g.secrets.quote(string(line))))
}

// dropped passes over one line of a response and the literal that it seems to end with.
func (g *guard) dropped(line []byte, limit int64) error {
	n, ok := trailingLiteral(line)
	if !ok {
		g.drop = 0
		return nil
	}
	g.drop = limit
	return g.swallow(n, limit)
}

// swallow passes over a literal.
func (g *guard) swallow(n, limit int64) error {
	if n > limit {
		return g.fail(fault.Errorf(fault.Protocol, "imap read", "a literal of %d octets, the limit is %d", n, limit))
	}
	g.skip = n
	return nil
}

// tagged passes on the end of a command (RFC 9051 §7.1).
func (g *guard) tagged(l *lexer) error {
	line := l.rest
	tag := l.atom()
	if len(tag) == 0 || !l.take(' ') {
		return g.garbage(line)
	}
	st, ok := parseStatus(l.rest)
	if !ok || st.kind != "OK" && st.kind != "NO" && st.kind != "BAD" {
		return g.garbage(line)
	}
	if g.isIdle() {
		return g.fail(fault.Errorf(fault.Protocol, "imap idle", "the server ended IDLE by itself: %s", g.secrets.quote(string(line))))
	}
	if st.code == "UIDVALIDITY" || st.code == "UIDNEXT" {
		st.code = ""
	}
	return g.status(string(tag), st)
}

// status writes a status response with the codes that imapclient can read.
func (g *guard) status(tag string, st status) error {
	switch st.code {
	case "", "APPENDUID", "COPYUID", "PERMANENTFLAGS", "HIGHESTMODSEQ":
		g.emit("%s %s %s\r\n", tag, st.kind, st.text)
	case "CAPABILITY":
		caps, err := g.list([]byte(st.args))
		if err != nil {
			return err
		}
		if caps != "" {
			g.emit("%s %s [CAPABILITY %s] %s\r\n", tag, st.kind, caps, st.text)
		} else if tag != "*" {
			g.emit("%s %s %s\r\n", tag, st.kind, st.text)
		}
	case "UIDVALIDITY", "UIDNEXT":
		l := lexer{[]byte(st.args)}
		if n, ok := l.number32(); ok {
			g.emit("%s %s [%s %d] %s\r\n", tag, st.kind, st.code, n, st.text)
		}
	default:
		g.emit("%s %s [%s] %s\r\n", tag, st.kind, st.code, st.text)
	}
	return nil
}

// untagged decides about what the server says besides (RFC 9051 §7). What is not listed here is dropped,
// whatever it means: we did not ask for it.
func (g *guard) untagged(l *lexer) error {
	wanted, err := g.answer()
	if err != nil {
		return err
	}
	line := l.rest
	if n, ok := l.number32(); ok && l.take(' ') {
		return g.numbered(n, l, wanted)
	}
	l.rest = line
	switch word := upper(l.atom()); word {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		st, ok := parseStatus(line)
		if !ok {
			return nil
		}
		switch {
		case word == "BYE" && !g.isLeaving():
			g.said(st.fault("imap read", fault.Unavailable, g.secrets))
		case word == "OK" && (st.code == "CAPABILITY" || st.code == "UIDVALIDITY" || st.code == "UIDNEXT"):
			return g.status("*", st)
		}
		return nil
	case "CAPABILITY":
		caps, err := g.list(l.rest)
		if err != nil {
			return err
		}
		g.emit("* CAPABILITY %s\r\n", caps)
		return nil
	case "SEARCH":
		return g.search(l)
	case "LIST", "STATUS":
		return g.mailbox(word, l)
	}
	return g.dropped(line, int64(g.limits.Line))
}

// list keeps a list of capabilities and returns it as it is passed on.
func (g *guard) list(b []byte) (string, error) {
	caps, err := parseCapabilities(b)
	if err != nil {
		return "", g.fail(err)
	}
	if len(caps) > 0 {
		g.learn(caps)
	}
	return strings.Join(caps, " "), nil
}

// numbered decides about the responses that begin with a number (RFC 9051 §7.4, §7.5).
func (g *guard) numbered(n uint32, l *lexer, wanted phase) error {
	line := l.rest
	word := l.atom()
	raise(word)
	switch string(word) {
	case "EXISTS", "EXPUNGE":
		if string(word) == "EXISTS" {
			g.counted(n)
		} else {
			g.expunged()
		}
		g.emit("* %d %s\r\n", n, word)
		return nil
	case "FETCH":
		if l.spaces(); wanted != noFetch && l.take('(') {
			g.att = attributes{open: true, seq: n, wanted: wanted}
			return g.attributes(l.rest)
		}
	}
	return g.dropped(line, int64(g.limits.Line))
}

// maxFound bounds what a SEARCH may find: imapclient sorts it in as it comes, in quadratic time.
const maxFound = 50_000

// search passes on the numbers of a SEARCH response (RFC 3501 §7.2.5). Anything else in it ends the
// session: half an answer must not look like a whole one.
func (g *guard) search(l *lexer) error {
	g.buf = append(g.buf, "* SEARCH"...)
	n := 0
	for l.spaces(); !l.empty(); l.spaces() {
		uid, ok := l.number32()
		if !ok || !l.empty() && !l.at(' ') {
			return g.garbage(l.rest)
		}
		g.buf = fmt.Appendf(g.buf, " %d", uid)
		n++
	}
	g.buf = append(g.buf, "\r\n"...)
	g.out = g.buf
	if g.find(n) > maxFound {
		return g.fail(fault.Errorf(fault.Protocol, "imap search", "more than %d messages were found", maxFound))
	}
	return nil
}

// Write sends p.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.failure(); err != nil {
		return 0, err
	}
	if g.hold {
		g.hold, g.held = false, append(g.held, p...)
		return len(p), nil
	}
	if len(g.held) > 0 {
		if _, err := g.conn.Write(append(g.held, p...)); err != nil {
			return 0, err
		}
		g.held = nil
		return len(p), nil
	}
	return g.conn.Write(p)
}

// errUnreadable stands for what imapclient could not read, in spite of everything.
var errUnreadable error = &fault.Error{Kind: fault.Protocol, Op: "imap read", Err: errors.New("the answer cannot be read")}

// Close drops the connection. imapclient calls it when it gives up.
func (g *guard) Close() error {
	if g.failure() == nil {
		_ = g.fail(errUnreadable)
	}
	return nil
}

// The deadlines of imapclient are ignored: the wire has its own.

func (g *guard) SetDeadline(time.Time) error      { return nil }
func (g *guard) SetReadDeadline(time.Time) error  { return nil }
func (g *guard) SetWriteDeadline(time.Time) error { return nil }
func (g *guard) LocalAddr() net.Addr              { return g.conn.LocalAddr() }
func (g *guard) RemoteAddr() net.Addr             { return g.conn.RemoteAddr() }
