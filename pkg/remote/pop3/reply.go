package pop3

import (
	"fmt"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// codes are the response codes of RFC 2449 §8.1 and RFC 3206 §4.
var codes = map[string]fault.Kind{
	"AUTH":        fault.Auth,
	"IN-USE":      fault.InUse,
	"LOGIN-DELAY": fault.Throttled,
	"SYS/TEMP":    fault.Unavailable,
	"SYS/PERM":    fault.NotFound,
}

// refusal is the error of a -ERR: its kind by code and words, or otherwise. A server's LOGIN-DELAY says for
// how long it refuses.
func (s *session) refusal(op string, otherwise fault.Kind) error {
	text := s.t.text()
	m := remote.Understand(codes[codeOf(text)], text, time.Now())
	e := &fault.Error{Kind: m.Kind, Op: op, Err: refused(s.t.quote(text)), Until: m.Until}
	if m.Kind == fault.None {
		e.Kind = otherwise
	}
	if m.Hint != "" {
		e.Err = fmt.Errorf("%w; %s", e.Err, m.Hint)
	}
	if e.Kind == fault.Throttled && e.Until.IsZero() && s.caps.loginDelay > 0 {
		e.Until = time.Now().Add(s.caps.loginDelay)
	}
	return e
}

// refused is a -ERR in words.
type refused string

func (r refused) Error() string { return "the server refused: " + string(r) }

// codeOf returns the response code of a text (RFC 2449 §8), "" if there is none.
func codeOf(text string) string {
	rest, ok := strings.CutPrefix(text, "[")
	code, _, closed := strings.Cut(rest, "]")
	if !ok || !closed {
		return ""
	}
	return strings.ToUpper(code)
}
