package imap

import (
	"bytes"
	"math"
)

// lexer takes the tokens of one line from the front (RFC 9051 §9).
type lexer struct{ rest []byte }

func (l *lexer) empty() bool { return len(l.rest) == 0 }

// at says whether the next octet is c.
func (l *lexer) at(c byte) bool { return len(l.rest) > 0 && l.rest[0] == c }

// take passes over c if it is next.
func (l *lexer) take(c byte) bool {
	if !l.at(c) {
		return false
	}
	l.rest = l.rest[1:]
	return true
}

// spaces passes over any number of spaces.
func (l *lexer) spaces() {
	for l.take(' ') {
	}
}

// atom returns the atom that is next, or nothing.
func (l *lexer) atom() []byte { return l.while(isAtomChar) }

func (l *lexer) while(ok func(byte) bool) []byte {
	n := 0
	for n < len(l.rest) && ok(l.rest[n]) {
		n++
	}
	a := l.rest[:n]
	l.rest = l.rest[n:]
	return a
}

// number returns the number that is next.
func (l *lexer) number() (int64, bool) {
	return parseNumber(l.while(func(c byte) bool { return '0' <= c && c <= '9' }))
}

// parseNumber returns a number without sign that fits in 63 bits.
func parseNumber(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// number32 is number for what the protocol bounds to 32 bits.
func (l *lexer) number32() (uint32, bool) {
	n, ok := l.number()
	return uint32(n), ok && n <= math.MaxUint32
}

// quoted returns the quoted string that is next, with its quotes and escapes.
func (l *lexer) quoted() ([]byte, bool) {
	if !l.at('"') {
		return nil, false
	}
	for n := 1; n < len(l.rest); n++ {
		switch l.rest[n] {
		case '\\':
			n++
		case '"':
			q := l.rest[:n+1]
			l.rest = l.rest[n+1:]
			return q, true
		}
	}
	return nil, false
}

// literal returns the size of the literal that the line announces with its last octets; ~{n} is one too
// (RFC 3516 §7).
func (l *lexer) literal() (int64, bool) {
	b := l.rest
	if len(b) > 0 && b[0] == '~' {
		b = b[1:]
	}
	if len(b) < 3 || b[0] != '{' || b[len(b)-1] != '}' {
		return 0, false
	}
	n, ok := parseNumber(b[1 : len(b)-1])
	if ok {
		l.rest = nil
	}
	return n, ok
}

// trailingLiteral returns the size of a literal that a line which cannot be read otherwise seems to end
// with.
func trailingLiteral(line []byte) (int64, bool) {
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return 0, false
	}
	l := lexer{line[i:]}
	return l.literal()
}

func isAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > ' ' && c < 0x7f
}
