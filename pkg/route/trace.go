package route

import (
	"net"
	"strings"
	"time"
)

// TraceInfo is what the trace of a message says.
type TraceInfo struct {
	AccountUID, Key, RunID string
	// RemoteHost is where the message came from, and Protocol by what: "pop3" or "imap".
	RemoteHost, Protocol string
	// SkipFilters and SkipAntispam ask the destination to run none.
	SkipFilters, SkipAntispam bool
	// Client gave the message to the remote server; the zero one is not told.
	Client Client
	// By names this installation; default "mailferry".
	By string
	// At is when the message was fetched.
	At time.Time
	// Tier decided who gets the message, by the header field Field; see [Find].
	Tier, Field string
}

// maxToken bounds what is taken over of each part, in octets.
const maxToken = 255

// Trace returns the header lines that are put in front of a message, each ended by CRLF:
//
//	X-Mailferry: account=<uid>; key=<key>
//	X-Mailferry-Skip: none
//	X-Mailferry-Client: ip=<address>; helo=<name>; name=<name>
//	X-Mailferry-Route: tier=<tier>; field=<field>
//	Received: from <remote host> by <mailferry> with <protocol> id <run>; <date>
//
// The first is the same on every copy of a message, whatever becomes of the account meanwhile, so that a filter can
// tell copies. The second says what the account asks its destination to skip, "filters", "antispam" or both; it is always
// there, above all that a sender may have written by that name. So is the third, "none" where no client is told. The
// fourth is there only where the recipients were looked for in the header. The last is the trace
// of RFC 5321 §4.4. Lines are folded and ASCII only; whatever cannot stand in a part becomes a
// hyphen, so that no part can end its line.
func Trace(t TraceInfo) []byte {
	b := folder{make([]byte, 0, 512)}
	b.line("X-Mailferry:", "account="+token(t.AccountUID)+";", "key="+token(t.Key))
	skip := "none"
	switch {
	case t.SkipFilters && t.SkipAntispam:
		skip = "filters, antispam"
	case t.SkipFilters:
		skip = "filters"
	case t.SkipAntispam:
		skip = "antispam"
	}
	b.line("X-Mailferry-Skip:", skip)
	b.line("X-Mailferry-Client:", clientWords(t.Client)...)
	if t.Tier != "" {
		route := []string{"tier=" + token(t.Tier)}
		if t.Field != "" {
			route = []string{route[0] + ";", "field=" + token(t.Field)}
		}
		b.line("X-Mailferry-Route:", route...)
	}
	words := make([]string, 0, 10)
	if t.RemoteHost != "" {
		words = append(words, "from", domain(t.RemoteHost))
	}
	if t.By == "" {
		t.By = "mailferry"
	}
	words = append(words, "by", domain(t.By))
	if t.Protocol != "" {
		words = append(words, "with", strings.ToUpper(token(t.Protocol)))
	}
	if t.RunID != "" {
		words = append(words, "id", token(t.RunID))
	}
	words[len(words)-1] += ";"
	b.line("Received:", append(words, t.At.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))...)
	return b.out
}

// clientWords are as safe as what [FindClient] lets pass.
func clientWords(c Client) []string {
	if !c.Known() {
		return []string{"none"}
	}
	words := []string{"ip=" + c.IP.String()}
	if c.Helo != "" {
		words[0] += ";"
		words = append(words, "helo="+c.Helo)
	}
	if c.Name != "" {
		words[len(words)-1] += ";"
		words = append(words, "name="+c.Name)
	}
	return words
}

// folder writes header lines of at most 78 octets where words allow (RFC 5322 §2.1.1).
type folder struct{ out []byte }

func (f *folder) line(name string, words ...string) {
	f.out = append(f.out, name...)
	width := len(name)
	for _, w := range words {
		if width+1+len(w) > 78 {
			f.out = append(f.out, "\r\n\t"...)
			width = 8
		} else {
			f.out = append(f.out, ' ')
			width++
		}
		f.out = append(f.out, w...)
		width += len(w)
	}
	f.out = append(f.out, "\r\n"...)
}

// token makes s an atom or a sequence of atoms and dots (RFC 5322 §3.2.3), less what means something in a
// parameter.
func token(s string) string { return only(s, "_.+=/@~") }

// domain makes s a domain or an address literal (RFC 5321 §4.1.3).
func domain(s string) string {
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		if ip.To4() == nil {
			return "[IPv6:" + ip.String() + "]"
		}
		return "[" + ip.String() + "]"
	}
	return only(s, "_.")
}

// only cuts s and puts a hyphen for all but letters, digits, hyphens and the marks in also.
func only(s, also string) string {
	s = s[:min(len(s), maxToken)]
	if s == "" {
		return "unknown"
	}
	var out []byte // once it differs from s
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if letter || '0' <= c && c <= '9' || c == '-' || strings.IndexByte(also, c) >= 0 {
			continue
		}
		if out == nil {
			out = []byte(s)
		}
		out[i] = '-'
	}
	if out != nil {
		return string(out)
	}
	return s
}
