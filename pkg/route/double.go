package route

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
)

// Double returns the digest by which a double of a message is known: one with the same Message-ID, Date, From and Subject
// and the same octets behind its header, for the same recipients of the same account. What servers on its way have
// written makes no difference. It is nil for a message without a Message-ID (RFC 5322 §3.6.4), or whose header does not
// end within 64 KiB: no other counts as its double. It reads the message to its end.
func Double(uid string, r Route, message io.Reader) ([]byte, error) {
	head := make([]byte, maxHeader)
	n, err := io.ReadFull(message, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	end := headerEnd(head)
	if end < 0 {
		return nil, nil
	}
	h := sha256.New()
	write := func(words ...string) {
		for _, w := range words {
			_, _ = io.WriteString(h, w+"\x00")
		}
	}
	write(uid)
	var names []string
	for _, l := range r.Legs {
		for _, to := range l.To {
			names = append(names, l.Name(to))
		}
	}
	slices.Sort(names)
	write(names...)
	named := false
	for _, f := range parseFields(head[:end]) {
		switch name := strings.ToLower(f.name); name {
		case "message-id", "date", "from", "subject":
			write(name, f.value)
			named = named || name == "message-id" && f.value != ""
		}
	}
	if !named {
		return nil, nil
	}
	write("")
	_, _ = h.Write(head[end:])
	if _, err := io.Copy(h, message); err != nil {
		return nil, err
	}
	return h.Sum(nil)[:16], nil
}

// headerEnd returns where the empty line behind a header block begins, -1 if there is none.
func headerEnd(b []byte) int {
	crlf, lf := bytes.Index(b, []byte("\r\n\r\n")), bytes.Index(b, []byte("\n\n"))
	switch {
	case crlf >= 0 && (lf < 0 || crlf < lf):
		return crlf + 2
	case lf >= 0:
		return lf + 1
	}
	return -1
}
