package route

import (
	"bytes"
	"iter"
	"strings"
)

// field is one header field.
type field struct {
	name, value string // unfolded
	hop         int    // how many Received fields stand above it
}

// eachField yields names and values, folds included, of the fields of the header block that data begins with, in their
// order. What is no field ends the block, but for an mbox line at its start.
func eachField(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest := data[:min(len(data), maxHeader)]
		for first := true; len(rest) > 0; first = false {
			var raw []byte
			raw, rest = cutField(rest)
			if first && (bytes.HasPrefix(raw, []byte("From ")) || bytes.HasPrefix(raw, []byte(">From "))) {
				continue
			}
			name, value, ok := bytes.Cut(raw, []byte(":"))
			name = bytes.TrimRight(name, " \t")
			if !ok || !isFieldName(name) || !yield(name, value) {
				return
			}
		}
	}
}

// parseFields returns the fields of the header block that data begins with, as eachField has them.
func parseFields(data []byte) []field {
	var out []field
	hop := 0
	for name, value := range eachField(data) {
		f := field{name: string(name), value: unfold(value), hop: hop}
		out = append(out, f)
		if f.is("Received") {
			hop++
		}
	}
	return out
}

func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// unfold takes the line ends out (RFC 5322 §2.2.3). A bare CR stays: it is no line end.
func unfold(value []byte) string {
	s := strings.ReplaceAll(string(value), "\r\n", "")
	return strings.Trim(strings.ReplaceAll(s, "\n", ""), " \t")
}

// hops returns the number of Received fields.
func hops(fields []field) int {
	if len(fields) == 0 {
		return 0
	}
	last := fields[len(fields)-1]
	if last.is("Received") {
		return last.hop + 1
	}
	return last.hop
}
