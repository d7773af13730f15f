package imap

import (
	"bytes"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
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

// throttleWords are those of servers that give no code.
var throttleWords = []string{
	"request is throttled", "too many simultaneous", "too many connections", "too many concurrent",
	"maximum number of connections", "user is authenticated but not connected",
}

// backoffWords precede a time in milliseconds (Exchange Online).
const backoffWords = "suggested backoff time: "

// maxBackoff bounds how long a server may ask us to stay away.
const maxBackoff = 24 * time.Hour

// kindOf returns the fault kind of a refusal, and the time before which a retry is useless. A plain NO
// is of the kind fallback.
func (st status) kindOf(fallback fault.Kind, now time.Time) (fault.Kind, time.Time) {
	text := strings.ToLower(st.text)
	if _, after, ok := strings.Cut(text, backoffWords); ok {
		l := lexer{[]byte(after)}
		if ms, ok := l.number(); ok {
			return fault.Throttled, now.Add(time.Duration(min(ms, maxBackoff.Milliseconds())) * time.Millisecond)
		}
	}
	if k, ok := codeKinds[st.code]; ok {
		return k, time.Time{}
	}
	for _, w := range throttleWords {
		if strings.Contains(text, w) {
			return fault.Throttled, time.Time{}
		}
	}
	if st.kind == "BAD" {
		return fault.Protocol, time.Time{}
	}
	return fallback, time.Time{}
}

// fault returns the refusal as an error.
func (st status) fault(op string, fallback fault.Kind, s secrets) error {
	kind, until := st.kindOf(fallback, time.Now())
	word := st.kind
	if st.code != "" {
		word += " [" + st.code + "]"
	}
	return &fault.Error{Kind: kind, Op: op, Err: remoteError(s.quote(word + " " + st.text)), Until: until}
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
