package local

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MailboxStyle says how the levels of a mailbox path become one name.
type MailboxStyle struct {
	// Delimiter parts the levels; "/" if it is "", for a server where names have one level only.
	Delimiter string
	// Careful leaves of ASCII letters, digits, space, hyphen and underscore only, and no level that Maildirs call
	// their own, for a server that refused the name as it is.
	Careful bool
	// Escape are more characters that cannot stand in a level.
	Escape string
	// MaxLevels and MaxOctets bound the name, the octets as [EncodeMailbox] writes it.
	MaxLevels, MaxOctets int
}

// Name returns the name of a mailbox as people read it, the same for a path whenever it is asked for. No two paths
// have the same name:
//   - What cannot stand in a level is escaped as %XX, octet by octet: the delimiter, control characters, what is no UTF-8, a level that
//     is "." or "..", and a % that would read as an escape. A careful name is escaped as =XX.
//   - An empty level becomes the mark of an escape alone.
//   - A name beyond MaxLevels or MaxOctets is cut, and ends with a hyphen and 16 digits of the SHA-256 of the whole.
//
// A first level INBOX is that in any case (RFC 9051 §5.1).
func (s MailboxStyle) Name(path []string) string {
	if s.Delimiter == "" {
		s.Delimiter = "/"
	}
	levels := make([]string, 0, len(path))
	for i, level := range path {
		if i == 0 && strings.EqualFold(level, "INBOX") {
			levels = append(levels, "INBOX")
			continue
		}
		levels = append(levels, s.level(level))
	}
	return s.cut(levels)
}

// mark begins an escape.
func (s MailboxStyle) mark() string {
	if s.Careful {
		return "="
	}
	return "%"
}

// level returns one level with what cannot stand in it escaped.
func (s MailboxStyle) level(level string) string {
	if level == "" {
		return s.mark()
	}
	all := level == "." || level == ".." || level == s.mark() || s.Careful && isReserved(level)
	var b strings.Builder
	for left := level; left != ""; {
		r, n := utf8.DecodeRuneInString(left)
		char := left[:n]
		if all || r == utf8.RuneError && n == 1 || char == s.Delimiter || strings.ContainsRune(s.Escape, r) || unicode.IsControl(r) ||
			s.Careful && !plain(r) || r == '%' && isEscape(left) {
			for _, c := range []byte(char) {
				fmt.Fprintf(&b, "%s%02X", s.mark(), c)
			}
		} else {
			b.WriteString(char)
		}
		left = left[n:]
	}
	return b.String()
}

// isReserved says whether a level is what stores call a folder of their own.
func isReserved(level string) bool {
	return strings.EqualFold(level, "cur") || strings.EqualFold(level, "new") || strings.EqualFold(level, "tmp")
}

// isEscape says whether s begins as [MailboxStyle.level] writes an escape.
func isEscape(s string) bool { return len(s) > 2 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

// plain says whether every server takes a character.
func plain(r rune) bool {
	return r >= utf8.RuneSelf || r == ' ' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'A' <= r&^0x20 && r&^0x20 <= 'Z'
}

// cut joins the levels, and shortens a name that is too long.
func (s MailboxStyle) cut(levels []string) string {
	name := strings.Join(levels, s.Delimiter)
	if len(levels) <= s.MaxLevels && len(EncodeMailbox(name)) <= s.MaxOctets {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	end := "-" + hex.EncodeToString(sum[:8])
	name, short := strings.Join(levels[:min(len(levels), s.MaxLevels)], s.Delimiter), ""
	for i, r := range name { // whole characters
		if next := name[:i+utf8.RuneLen(r)]; len(EncodeMailbox(next))+len(end) <= s.MaxOctets {
			short = next
		} else {
			break
		}
	}
	return short + end
}

// shifted is the base64 of modified UTF-7 (RFC 3501 §5.1.3).
var shifted = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// EncodeMailbox returns a name in modified UTF-7, as IMAP sends it and Maildir++ stores it (RFC 3501 §5.1.3).
func EncodeMailbox(name string) string {
	var b strings.Builder
	var wide []byte // UTF-16 that is to be shifted
	flush := func() {
		if len(wide) > 0 {
			b.WriteString("&" + shifted.EncodeToString(wide) + "-")
			wide = wide[:0]
		}
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			for _, u := range utf16.AppendRune(nil, r) {
				wide = append(wide, byte(u>>8), byte(u))
			}
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String()
}
