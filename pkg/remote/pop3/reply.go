package pop3

import (
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// codes are the response codes of RFC 2449 §8.1 and RFC 3206 §4.
var codes = map[string]fault.Kind{
	"AUTH":        fault.Auth,
	"IN-USE":      fault.InUse,
	"LOGIN-DELAY": fault.Throttled,
	"SYS/TEMP":    fault.Unavailable,
	"SYS/PERM":    fault.NotFound,
}

// phrases are the words of servers that send no code, in the order in which they are looked for. A text
// that speaks of the account, not of the maildrop, is no lock.
var phrases = []struct {
	kind   fault.Kind
	words  []string
	unless string
}{
	{kind: fault.Throttled, words: []string{
		"login limit", "too many", "rate limit", "login rate", "throttl", "too frequent", "too often",
		"minimum interval", "login interval", "wait a few minutes",
	}},
	{kind: fault.InUse, unless: "account", words: []string{
		"lock", "in use", "already open", "another session", "another process", "another connection",
		"being accessed", "another pop", "mailbox busy", "maildrop busy",
	}},
	{kind: fault.Unavailable, words: []string{
		"temporar", "try again later", "internal error", "server error", "unavailable", "out of order", "maintenance",
	}},
}

// refusal is the error of a -ERR: its kind by code, then by words, then otherwise. delay is the server's
// LOGIN-DELAY.
func (s *session) refusal(op string, otherwise fault.Kind) error {
	text := strings.TrimSpace(strings.TrimPrefix(string(s.t.status), "-ERR"))
	kind := kindOf(text, otherwise)
	e := &fault.Error{Kind: kind, Op: op, Err: refused(s.t.quote(text))}
	if kind == fault.Throttled && s.caps.loginDelay > 0 {
		e.Until = time.Now().Add(s.caps.loginDelay)
	}
	return e
}

// refused is a -ERR in words.
type refused string

func (r refused) Error() string { return "the server refused: " + string(r) }

func kindOf(text string, otherwise fault.Kind) fault.Kind {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		code, _, _ := strings.Cut(rest, "]")
		if kind, ok := codes[strings.ToUpper(code)]; ok {
			return kind
		}
	}
	lower := strings.ToLower(text)
	for _, p := range phrases {
		if p.unless != "" && strings.Contains(lower, p.unless) {
			continue
		}
		for _, w := range p.words {
			if strings.Contains(lower, w) {
				return p.kind
			}
		}
	}
	return otherwise
}
