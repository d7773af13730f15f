package imap

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxName is how many octets a mailbox's name may have, on the wire and decoded.
const maxName = 512

// shifted is the base64 of modified UTF-7 (RFC 3501 §5.1.3).
var shifted = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// decodeName returns the name of a mailbox as people read it: of modified UTF-7 in the only form in which it is
// written again, or of UTF-8 (RFC 9051 §5.1). It refuses what is too long and what holds control characters: such a
// name could not be sent back, or not be told.
func decodeName(raw []byte) (string, bool) {
	if len(raw) == 0 || len(raw) > maxName || !utf8.Valid(raw) {
		return "", false
	}
	if strings.EqualFold(string(raw), inbox) {
		return inbox, true
	}
	var name strings.Builder
	rest, afterShift := string(raw), false
	for rest != "" {
		plain, shift, found := strings.Cut(rest, "&")
		name.WriteString(plain)
		if !found {
			break
		}
		code, after, ended := strings.Cut(shift, "-")
		switch {
		case !ended:
			return "", false
		case code == "":
			name.WriteByte('&')
		case afterShift && plain == "":
			return "", false // one shift was enough
		default:
			text, ok := decodeShifted(code)
			if !ok {
				return "", false
			}
			name.WriteString(text)
		}
		rest, afterShift = after, code != ""
	}
	s := name.String()
	return s, len(s) <= maxName && !strings.ContainsFunc(s, unicode.IsControl)
}

// decodeShifted decodes what stands between & and -: UTF-16, and no character that stands for itself.
func decodeShifted(code string) (string, bool) {
	b, err := shifted.DecodeString(code)
	if err != nil || len(b)%2 != 0 || strings.ContainsAny(code, "\r\n") { // the decoder passes over line ends
		return "", false
	}
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i < len(b); i += 2 {
		units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
	}
	text := string(utf16.Decode(units))
	return text, !strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || r >= ' ' && r <= '~' })
}

// matches says whether a pattern names a mailbox: * is anything, % anything without the delimiter
// (RFC 9051 §6.3.9). It takes time by the product of their lengths, whatever the pattern.
func matches(pattern, name, delimiter string) bool {
	if name == inbox {
		pattern = strings.ToUpper(pattern)
	}
	p := []rune(pattern)
	at := make([]bool, len(p)+1) // at[i]: the first i of the pattern fit what is read of the name
	at[0] = true
	pass := func(at []bool) { // a wildcard may stand for nothing
		for i, c := range p {
			if at[i] && (c == '*' || c == '%') {
				at[i+1] = true
			}
		}
	}
	pass(at)
	for _, r := range name {
		next := make([]bool, len(p)+1)
		for i, c := range p {
			switch {
			case !at[i]:
			case c == '*' || c == '%' && string(r) != delimiter:
				next[i] = true
			case c == r:
				next[i+1] = true
			}
		}
		pass(next)
		at = next
	}
	return at[len(p)]
}
