package route

import "strings"

// addresses returns the addr-specs of an address list (RFC 5322 §3.4), as they are written, in their order: those of
// groups too, without display names, comments and source routes. It is more lenient than net/mail, which refuses a
// list for one bad address: what cannot be read costs itself only. It never looks for an address in a display name,
// and never decodes an encoded word, which cannot hold one (RFC 2047 §5).
func addresses(list string) []string {
	var out []string
	for s := (scanner{s: list}); s.pos < len(s.s); {
		if a := s.element(); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// scanner walks over the elements of an address list.
type scanner struct {
	s   string
	pos int
	// open says of which brackets one does not end: those that follow are text like any other, so that no input costs
	// more than its length.
	open struct{ comment, quote bool }

	strict bool // white space always parts words

	words []string // of what is being read: an element, or what stands in its angle brackets
	gap   bool     // white space or a comment came last
	angle bool
	found string // what stood in the last pair of angle brackets
	named bool   // there was a pair
}

// element reads up to the next comma or semicolon and returns the one address of the element, or "".
func (s *scanner) element() string {
	s.reset()
	s.angle, s.named, s.found = false, false, ""
	for s.pos < len(s.s) {
		c := s.s[s.pos]
		if c == ',' && s.angle && s.route() || c == ':' {
			s.reset() // of a source route the last part counts, of a group its members
		} else if c == ',' || c == ';' {
			s.pos++
			break
		} else {
			s.octet(c)
			continue
		}
		s.pos++
	}
	if s.angle {
		s.close()
	}
	if s.named {
		return s.found
	}
	return bare(s.words)
}

// octet reads what is no separator.
func (s *scanner) octet(c byte) {
	switch c {
	case '(':
		if end := s.end(&s.open.comment, commentEnd); end > 0 {
			s.gap, s.pos = true, end
			return
		}
	case '"':
		if end := s.end(&s.open.quote, quoteEnd); end > 0 {
			s.add(s.s[s.pos:end])
			s.pos = end
			return
		}
	case '<':
		s.reset()
		s.angle, s.named = true, true
	case '>':
		if s.angle {
			s.close()
		}
	case ' ', '\t':
		s.gap = true
	default:
		s.add(s.s[s.pos : s.pos+1])
	}
	s.pos++
}

// end returns the index behind what begins here, 0 if it does not end.
func (s *scanner) end(open *bool, find func(string, int) int) int {
	if *open {
		return 0
	}
	end := find(s.s, s.pos)
	*open = end == 0
	return end
}

// maxWord bounds what is kept of a word, in octets: nothing so long is an address.
const maxWord = 1000

// add appends text to the last word, or begins one. White space around dots and at signs joins words (obs-addr-spec,
// RFC 5322 §4.4).
func (s *scanner) add(text string) {
	n := len(s.words)
	joins := n > 0 && (!s.gap || !s.strict && (isJoint(text) || isJoint(s.words[n-1][len(s.words[n-1])-1:])))
	s.gap = false
	switch {
	case !joins:
		s.words = append(s.words, text)
	case len(s.words[n-1]) < maxWord:
		s.words[n-1] += text
	}
}

func isJoint(s string) bool { return s == "@" || s == "." }

func (s *scanner) reset() { s.words, s.gap = nil, false }

// route says whether what is being read begins a source route.
func (s *scanner) route() bool { return len(s.words) == 0 || strings.HasPrefix(s.words[0], "@") }

// close ends a pair of angle brackets.
func (s *scanner) close() {
	s.found = ""
	if len(s.words) == 1 {
		s.found = s.words[0]
	}
	s.angle = false
	s.reset()
}

// bare returns the one word that is an address.
func bare(words []string) string {
	found := ""
	for _, w := range words {
		if strings.LastIndexByte(w, '@') <= strings.LastIndexByte(w, '"') {
			continue // no at sign outside quotes
		}
		if found != "" {
			return ""
		}
		found = w
	}
	return found
}

// maxNesting bounds comments in comments.
const maxNesting = 16

// commentEnd returns the index behind the comment that begins at i (RFC 5322 §3.2.2), 0 if it does not end.
func commentEnd(s string, i int) int {
	depth := 0
	for ; i < len(s) && depth <= maxNesting; i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// quoteEnd returns the index behind the quoted string that begins at i (RFC 5322 §3.2.4), 0 if it does not end.
func quoteEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}
