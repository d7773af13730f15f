package route

import "strings"

// received is what a Received field says (RFC 5321 §4.4).
type received struct {
	by    string   // the host that wrote it, in lower case
	whom  []string // the addr-specs behind "for"
	known bool     // it has a "by"
}

// parseReceived reads a Received field. What stands in front of the last "by" is, in part, what the client said of
// itself and does not count, nor do comments and what follows the semicolon.
func parseReceived(value string) received {
	words := receivedWords(value)
	var r received
	rest := 0
	for i, w := range words {
		if strings.EqualFold(w, "by") && i+1 < len(words) {
			r.by, r.known, rest = hostName(words[i+1]), true, i+2
		}
	}
	for i := rest; r.known && i < len(words); i++ {
		if !strings.EqualFold(words[i], "for") {
			continue
		}
		for _, w := range words[i+1:] {
			a := addresses(w)
			if len(a) == 0 {
				break
			}
			r.whom = append(r.whom, a...)
		}
		break
	}
	return r
}

func hostName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// receivedWords splits a Received field at white space and commas up to the semicolon, without its comments. What
// stands in angle brackets or quotes is one word.
func receivedWords(value string) []string {
	s := scanner{s: value, strict: true}
	for s.pos < len(s.s) {
		switch c := s.s[s.pos]; c {
		case ';':
			return s.words
		case ',', '\r':
			s.gap = true
			s.pos++
		case '<':
			end := bracketEnd(s.s, s.pos)
			s.words, s.gap = append(s.words, s.s[s.pos:end]), true
			s.pos = end
		default:
			s.octet(c)
		}
	}
	return s.words
}

// bracketEnd returns the index behind the angle bracket that closes the one at i; the end if none does.
func bracketEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i = quoteEnd(s, i) - 1; i < 0 {
				return len(s)
			}
		case '>':
			return i + 1
		}
	}
	return len(s)
}
