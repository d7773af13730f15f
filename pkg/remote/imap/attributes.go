package imap

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
)

// attributes is a FETCH response that is being taken apart (RFC 9051 §7.5.2). It goes on over several
// lines, with a literal after each but the last.
type attributes struct {
	open   bool
	seq    uint32
	wanted phase
	depth  int  // of the list that is passed over
	handed bool // its beginning has been handed out: the client waits for the rest
	taken  bool // past the client: it sees nothing of it
	// what there was of each
	items                        int
	uid, size, flags, date, body bool
	message                      // what is known of it
	octets                       int64
}

// internalDate is the layout of date-time (RFC 9051 §9).
const internalDate = "_2-Jan-2006 15:04:05 -0700"

// attributes reads a line of a FETCH response. Wanted items are written anew, others are passed over.
// Where it cannot be read the rest of it is dropped, and what was good so far stands.
func (g *guard) attributes(line []byte) error {
	a := &g.att
	g.progress(g.limits.Command)
	switch {
	case a.handed:
		g.buf = g.buf[:0]
	case a.items == 0:
		g.buf = append(strconv.AppendUint(append(g.buf[:0], "* "...), uint64(a.seq), 10), " FETCH ("...)
	}
	for l := (lexer{line}); ; {
		v := value{kind: passed}
		if a.depth > 0 {
			v = a.list(&l)
		} else if l.spaces(); l.take(')') {
			g.closed()
			return nil
		} else if name, ok := attributeName(&l); ok {
			v = g.attribute(name, &l)
		} else {
			v.kind = unreadable
		}
		switch v.kind {
		case unreadable:
			return g.broken(line)
		case otherLiteral:
			if a.handed {
				g.out = g.buf
			}
			return g.swallow(v.size, g.limits.Message)
		case bodyLiteral:
			return g.hand(v.size)
		}
	}
}

// value says what was found in the place of an item's value.
type value struct {
	kind valueKind
	size int64
}

type valueKind int

const (
	passed       valueKind = iota
	otherLiteral           // a literal to pass over
	bodyLiteral            // the literal that we want
	unreadable
)

// attributeName takes the name of an item with its section and origin, and makes it upper case.
func attributeName(l *lexer) ([]byte, bool) {
	b := l.rest
	name := l.while(func(c byte) bool { return isAtomChar(c) && c != '[' })
	if len(name) == 0 {
		return nil, false
	}
	if l.take('[') {
		for !l.take(']') {
			if _, ok := l.quoted(); !ok && (l.empty() || l.at('"')) {
				return nil, false
			} else if !ok {
				l.rest = l.rest[1:]
			}
		}
		l.while(func(c byte) bool { return c != ' ' })
	}
	name = b[:len(b)-len(l.rest)]
	raise(name)
	return name, l.at(' ')
}

// attribute takes the value of an item and writes both if they are wanted.
func (g *guard) attribute(name []byte, l *lexer) value {
	a := &g.att
	l.spaces()
	begin := l.rest
	switch string(name) {
	case "UID":
		if n, ok := l.number32(); ok && n > 0 {
			if g.item(&a.uid, true, "UID ") {
				a.message.uid = goimap.UID(n)
				g.buf = strconv.AppendUint(g.buf, uint64(n), 10)
			}
			return value{}
		}
	case "RFC822.SIZE":
		if n, ok := l.number(); ok {
			if g.item(&a.size, a.wanted == listing, "RFC822.SIZE ") {
				a.octets = n
				g.buf = strconv.AppendInt(g.buf, n, 10)
			}
			return value{}
		}
	case "FLAGS":
		if flags, ok := flagList(l); ok {
			if g.item(&a.flags, a.wanted == fetching, "FLAGS (") {
				for i, f := range flags {
					if i > 0 {
						g.buf = append(g.buf, ' ')
					}
					g.buf = append(g.buf, f...)
					a.message.flags = append(a.message.flags, flagName(f))
				}
				g.buf = append(g.buf, ')')
			}
			return value{}
		}
	case "INTERNALDATE":
		if q, ok := l.quoted(); ok {
			if t, err := time.Parse(internalDate, string(q[1:len(q)-1])); err == nil && !t.IsZero() && g.item(&a.date, a.wanted == fetching, "INTERNALDATE ") {
				a.message.date = t
				g.buf = append(g.buf, q...)
			}
			return value{}
		}
	case "BODY[]":
		if a.wanted == fetching && !a.body {
			return g.bodyValue(l)
		}
	case "BODY[HEADER]": // handed out as the body: nothing else is asked for
		if a.wanted == heading && !a.body {
			return g.bodyValue(l)
		}
	}
	l.rest = begin
	return a.skip(l)
}

// item writes the name of an item if it is wanted and the first of its name, and says whether it is.
func (g *guard) item(seen *bool, wanted bool, name string) bool {
	wanted = wanted && !*seen
	*seen = true
	if wanted {
		if g.att.items > 0 {
			g.buf = append(g.buf, ' ')
		}
		g.buf = append(g.buf, name...)
		g.att.items++
	}
	return wanted
}

// bodyValue takes the value of BODY[], a literal, a quoted string or NIL.
func (g *guard) bodyValue(l *lexer) value {
	if n, ok := l.literal(); ok {
		g.item(&g.att.body, true, "BODY[] {")
		g.buf = append(strconv.AppendInt(g.buf, n, 10), "}\r\n"...)
		return value{bodyLiteral, n}
	}
	if q, ok := l.quoted(); ok {
		g.item(&g.att.body, true, "BODY[] ")
		g.buf = append(g.buf, q...)
		return value{}
	}
	if upper(l.atom()) != "NIL" {
		return value{kind: unreadable}
	}
	g.item(&g.att.body, true, "BODY[] NIL")
	return value{}
}

// skip passes over a value of any form.
func (a *attributes) skip(l *lexer) value {
	if n, ok := l.literal(); ok {
		return value{otherLiteral, n}
	}
	if _, ok := l.quoted(); ok {
		return value{}
	}
	if l.take('(') {
		a.depth = 1
		return value{}
	}
	if len(l.while(func(c byte) bool { return c != ' ' && c != ')' && c != '(' && c != '"' })) == 0 {
		return value{kind: unreadable}
	}
	return value{}
}

// list passes over the rest of a list, up to a literal in it.
func (a *attributes) list(l *lexer) value {
	for !l.empty() {
		if n, ok := l.literal(); ok {
			return value{otherLiteral, n}
		}
		if _, ok := l.quoted(); ok {
			continue
		}
		switch {
		case l.take('('):
			a.depth++
		case l.take(')'):
			if a.depth--; a.depth == 0 {
				return value{}
			}
		case l.at('"'):
			return value{kind: unreadable}
		default:
			l.rest = l.rest[1:]
		}
	}
	return value{kind: unreadable}
}

// flagList takes a list of flags and returns those that are well formed, without \Recent, which says
// nothing outside of the server's session.
func flagList(l *lexer) ([][]byte, bool) {
	end := bytes.IndexByte(l.rest, ')')
	if !l.take('(') || end < 1 {
		return nil, false
	}
	var flags [][]byte
	for _, f := range bytes.Fields(l.rest[:end-1]) {
		name := lexer{bytes.TrimPrefix(f, []byte(`\`))}
		if a := name.atom(); len(a) > 0 && name.empty() && !bytes.EqualFold(f, []byte(`\Recent`)) {
			flags = append(flags, f)
		}
	}
	l.rest = l.rest[end:]
	return flags, true
}

// flagName is how a flag is spelled (RFC 9051 §2.3.2): those of the system as we do, whatever their case.
func flagName(f []byte) string {
	for _, known := range []goimap.Flag{goimap.FlagSeen, goimap.FlagAnswered, goimap.FlagFlagged, goimap.FlagDeleted, goimap.FlagDraft} {
		if strings.EqualFold(string(f), string(known)) {
			return string(known)
		}
	}
	return string(f)
}

// hand hands out what has been written up to the body, and the body after it; or, of a message that is known by now, the
// body to who asked for it, past the client.
func (g *guard) hand(size int64) error {
	if size > g.limits.Message {
		return g.fail(fault.Errorf(fault.Policy, "imap fetch", "a message of %d octets, the limit is %d",
			size, g.limits.Message))
	}
	g.progress(g.limits.Idle)
	if g.att.uid && g.direct != nil {
		g.att.taken = true
		body := &octets{wire: g.wire, left: size}
		g.direct(g.att.message, body, size)
		_, err := io.Copy(io.Discard, body) // what was left of it
		return err
	}
	g.att.handed = true
	g.out, g.literal = g.buf, size
	return nil
}

// closed ends a FETCH response. One without what was asked for is dropped: it would only keep the
// client from seeing the one that has it.
func (g *guard) closed() {
	a := &g.att
	a.open = false
	complete := a.body
	if a.wanted == listing {
		complete = a.uid && (a.size || !a.flags)
		a.taken = complete && g.listed != nil && g.listed(uint32(a.message.uid), a.octets)
	}
	if !a.taken && (a.handed || complete) {
		g.buf = append(g.buf, ")\r\n"...)
		g.out = g.buf
	}
}

// broken drops the rest of a FETCH response that cannot be read.
func (g *guard) broken(line []byte) error {
	g.att.open = false
	if g.att.handed {
		g.out = append(g.buf[:0], ")\r\n"...)
	}
	return g.dropped(line, g.limits.Message)
}
