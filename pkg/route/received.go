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

// topmost returns the topmost Received field that one of the hosts wrote; what lies beneath came with the message and can
// be forged. It is not ok where the client gave itself a name that hides who wrote that field.
func topmost(fields []field, hosts []string) (x field, r received, ok bool) {
	for _, x := range fields {
		if !x.is("Received") {
			continue
		}
		r := parseReceived(x.value)
		if ok := r.known && matchesAny(hosts, r.by); ok || namesBy(x.value, hosts) {
			return x, r, ok
		}
	}
	return field{}, received{}, false
}

// namesBy says whether a Received field has one of the hosts behind any "by", also in a comment, or behind brackets that
// do not close: the line that a host wrote is never passed over for one beneath it, whatever name its client gave itself.
func namesBy(value string, hosts []string) bool {
	words := strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(" \t\r()<>[]\",;", c) })
	for i, w := range words {
		if i > 0 && strings.EqualFold(words[i-1], "by") && matchesAny(hosts, hostName(w)) {
			return true
		}
	}
	return false
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
