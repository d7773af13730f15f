package imap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// maxListed is how many mailboxes are taken note of.
const maxListed = 5000

// found is what LIST or STATUS was asked for, and what came of it. The guard keeps it for itself: imapclient ends
// the session on a name that it cannot read.
type found struct {
	list  bool
	names []listed
	// delimiter is the first that was named.
	delimiter string
	passed    int    // names that cannot be used
	first     string // the first of them
	// status holds the mailboxes that are asked about; what came of one is not zero.
	status map[string]remote.Status
}

// listed is a mailbox as LIST has it (RFC 9051 §7.3.1).
type listed struct {
	name, delimiter string
	attributes      []string // of those that are known, in lower case
}

// known are the attributes that decide whether a mailbox is collected (RFC 9051 §7.3.1, RFC 8457 §4).
var known = []string{`\noselect`, `\nonexistent`, `\all`, `\flagged`, `\important`, `\drafts`, `\junk`, `\trash`}

func (m listed) is(attributes ...string) bool {
	return slices.ContainsFunc(m.attributes, func(a string) bool { return slices.Contains(attributes, a) })
}

// note says which names were passed over, or "".
func (f *found) note() string {
	if f.passed == 0 {
		return ""
	}
	return fmt.Sprintf("%d mailboxes are passed over: their names cannot be read or sent back, or they are more than %d; the first is %s",
		f.passed, maxListed, f.first)
}

// mailbox reads a LIST or STATUS response if one was asked for, else it drops it.
func (g *guard) mailbox(word string, l *lexer) error {
	f := g.asked()
	if f == nil || f.list != (word == "LIST") {
		return g.dropped(l.rest, int64(g.limits.Line))
	}
	var m listed
	readable := !f.list || m.read(l)
	var raw []byte
	if l.spaces(); readable {
		var err error
		if raw, err = g.astring(l); err != nil || g.drop > 0 {
			g.keep(f, func() { f.pass([]byte("one of too many octets")) })
			return err
		}
	}
	var ok bool
	m.name, ok = decodeName(raw)
	g.keep(f, func() {
		if f.list && readable && f.delimiter == "" {
			f.delimiter = m.delimiter
		}
		switch {
		case !f.list && ok:
			f.said(m.name, l)
		case f.list && ok && len(f.names) < maxListed:
			f.names = append(f.names, m)
		case f.list:
			f.pass(raw)
		}
	})
	return g.dropped(l.rest, int64(g.limits.Line))
}

// asked returns what the last command asks for, or nil.
func (w *wire) asked() *found {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}

// keep changes f unless its command has ended meanwhile: whoever sent it reads f then.
func (w *wire) keep(f *found, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found == f {
		change()
	}
}

// astring takes a string in any of its forms, a literal with the line behind it. A literal that is too long is
// passed over, with the rest of its response.
func (g *guard) astring(l *lexer) ([]byte, error) {
	if q, ok := l.quoted(); ok {
		return unquoted(q), nil
	}
	n, ok := l.literal()
	switch {
	case !ok:
		return l.while(func(c byte) bool { return c > ' ' && c != '"' && c != '(' && c != ')' }), nil
	case n > maxName:
		g.drop = int64(g.limits.Line)
		return nil, g.swallow(n, g.drop)
	}
	b := make([]byte, n)
	for got := 0; got < len(b); {
		k, err := g.wire.literal(b[got:], n-int64(got))
		if err != nil {
			return nil, err
		}
		got += k
	}
	line, err := g.line()
	l.rest = line
	return b, err
}

// unquoted returns what is in a quoted string.
func unquoted(q []byte) []byte {
	var out []byte
	for q = q[1 : len(q)-1]; len(q) > 0; q = q[1:] {
		if q[0] == '\\' && len(q) > 1 {
			q = q[1:]
		}
		out = append(out, q[0])
	}
	return out
}

// read takes the attributes and the delimiter of a LIST response.
func (m *listed) read(l *lexer) bool {
	l.spaces()
	end := bytes.IndexByte(l.rest, ')')
	if !l.take('(') || end < 1 {
		return false
	}
	for _, a := range known {
		if slices.ContainsFunc(bytes.Fields(l.rest[:end-1]), func(f []byte) bool { return strings.EqualFold(string(f), a) }) {
			m.attributes = append(m.attributes, a)
		}
	}
	l.rest = l.rest[end:]
	l.spaces()
	if q, ok := l.quoted(); ok {
		m.delimiter = string(unquoted(q))
		return len(m.delimiter) <= utf8.UTFMax
	}
	return upper(l.atom()) == "NIL"
}

// pass takes note of a name that cannot be used.
func (f *found) pass(raw []byte) {
	if f.passed++; f.passed == 1 {
		f.first = fault.Clean(string(raw[:min(len(raw), maxName)]))
	}
}

// said takes the items of a STATUS response (RFC 9051 §7.3.4). One that does not say all that was asked, in
// numbers, says nothing.
func (f *found) said(name string, l *lexer) {
	if _, ok := f.status[name]; !ok {
		return
	}
	var st remote.Status
	l.spaces()
	if !l.take('(') {
		return
	}
	for l.spaces(); !l.take(')'); l.spaces() {
		word := upper(l.atom())
		l.spaces()
		n, ok := l.number32()
		switch {
		case !ok || word == "":
			return
		case word == "UIDVALIDITY":
			st.UIDValidity = n
		case word == "UIDNEXT":
			st.UIDNext = n
		case word == "MESSAGES":
			st.Messages = n
		}
	}
	if st.UIDValidity > 0 && st.UIDNext > 0 {
		f.status[name] = st
	}
}
