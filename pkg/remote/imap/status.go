package imap

import (
	"bytes"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// status is a status response: OK, NO, BAD, BYE or PREAUTH (RFC 9051 §7.1).
type status struct{ kind, code, args, text string }

// parseStatus reads what follows the tag.
func parseStatus(b []byte) (status, bool) {
	l := lexer{b}
	st := status{kind: upper(l.atom())}
	if st.kind == "" || !l.empty() && !l.at(' ') {
		return st, false
	}
	l.spaces()
	if end := bytes.IndexByte(l.rest, ']'); l.at('[') && end > 0 {
		code := lexer{l.rest[1:end]}
		if st.code = upper(code.atom()); st.code != "" {
			code.spaces()
			st.args = string(code.rest)
			l.rest = l.rest[end+1:]
			l.spaces()
		}
	}
	st.text = string(printable(l.rest))
	if strings.HasPrefix(st.text, "[") { // a client would look for a code in it
		st.text = "(" + st.text[1:]
	}
	return st, true
}

// printable replaces what would end a line or a text early.
func printable(b []byte) []byte {
	b = bytes.Clone(b)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = '?'
		}
	}
	return b
}

func upper(b []byte) string { return strings.ToUpper(string(b)) }

// raise makes ASCII letters upper case in place.
func raise(b []byte) {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
}

// parseCapabilities returns the capabilities of a list. A parenthesis is an error; anything else that is no
// atom is passed over.
func parseCapabilities(b []byte) ([]string, error) {
	if bytes.IndexByte(b, '(') >= 0 {
		return nil, fault.Errorf(fault.Protocol, "imap capability", "a parenthesis in the list of capabilities")
	}
	var caps []string
	for f := range strings.FieldsSeq(string(b)) {
		l := lexer{[]byte(f)}
		if c := upper(l.atom()); l.empty() {
			caps = append(caps, c)
		}
	}
	return caps, nil
}

// codeKinds says what a response code means (RFC 5530 §3, RFC 9051 §7.1, and what large providers send).
var codeKinds = map[string]fault.Kind{
	"AUTHENTICATIONFAILED": fault.Auth,
	"AUTHORIZATIONFAILED":  fault.Auth,
	"EXPIRED":              fault.Auth,
	"NOPERM":               fault.Auth,
	"PRIVACYREQUIRED":      fault.TLS,
	"UNAVAILABLE":          fault.Unavailable,
	"SERVERBUG":            fault.Unavailable,
	"CORRUPTION":           fault.Unavailable,
	"INUSE":                fault.InUse,
	"LIMIT":                fault.Throttled,
	"THROTTLED":            fault.Throttled,
	"OVERQUOTA":            fault.RemoteQuota,
	"NONEXISTENT":          fault.NotFound,
	"CLIENTBUG":            fault.Protocol,
	"PARSE":                fault.Protocol,
}

// meaning returns what a refusal comes to; a plain NO is of the kind fallback. Of words alone, those count
// here that speak of the account as a whole: what ails one mailbox or message has codes.
func (st status) meaning(fallback fault.Kind, now time.Time) remote.Meaning {
	m := remote.Understand(codeKinds[st.code], st.text, now)
	switch m.Kind {
	case codeKinds[st.code], fault.AuthWithdrawn, fault.Throttled, fault.RemoteQuota:
	default:
		m = remote.Meaning{}
	}
	if m.Kind == fault.None {
		m.Kind = fallback
		if st.kind == "BAD" {
			m.Kind = fault.Protocol
		}
	}
	return m
}

// fault returns the refusal as an error.
func (st status) fault(op string, fallback fault.Kind, s secrets) error {
	m := st.meaning(fallback, time.Now())
	word := st.kind
	if st.code != "" {
		word += " [" + st.code + "]"
	}
	said := s.quote(word + " " + st.text)
	if m.Hint != "" {
		said += "; " + m.Hint
	}
	return &fault.Error{Kind: m.Kind, Op: op, Err: remoteError(said), Until: m.Until}
}

// remoteError is what the server said, cleaned.
type remoteError string

func (e remoteError) Error() string { return "the server said: " + string(e) }

// secrets are the forms in which a server may repeat the credentials.
type secrets []string

// secretRun is how many octets in a row of a secret give it away.
const secretRun = 8

// quote returns text of the server for an error. It is withheld if it repeats a part of a secret.
func (s secrets) quote(text string) string {
	if len(text) > 1<<10 {
		text = text[:1<<10]
	}
	low := strings.ToLower(text)
	for _, secret := range s {
		secret = strings.ToLower(secret)
		for i := 0; i == 0 || i+secretRun <= len(secret); i++ {
			if run := secret[i:min(i+secretRun, len(secret))]; run != "" && strings.Contains(low, run) {
				return "(withheld: it repeats the credentials)"
			}
		}
	}
	return fault.Clean(text)
}
