package directory

import (
	"encoding/hex"
	"strings"
)

const digits = "0123456789abcdef"

// token returns s as one token of a subject and a valid part of a key: letters, digits, hyphens and
// underscores stand for themselves, every other byte becomes "=" and two hexadecimal digits, and the
// empty string becomes "=".
func token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// untoken returns what [token] made t of, and false for what it never makes.
func untoken(t string) (string, bool) {
	if t == "=" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		switch {
		case plain(t[i]):
			b.WriteByte(t[i])
		case t[i] == '=' && i+2 < len(t):
			c, err := hex.DecodeString(t[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.WriteByte(c[0])
			i += 2
		default:
			return "", false
		}
	}
	s := b.String()
	return s, s != "" && token(s) == t
}

// accountKey returns the key of an account.
func accountKey(domain, name string) string { return token(domain) + "." + token(name) }

// accountOfKey returns domain and name of the account with a key.
func accountOfKey(key string) (domain, name string, ok bool) {
	d, n, ok := strings.Cut(key, ".")
	if !ok {
		return "", "", false
	}
	domain, ok = untoken(d)
	if ok {
		name, ok = untoken(n)
	}
	return domain, name, ok
}
