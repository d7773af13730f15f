package lmtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250 ok\r\n", "250\r\n", "250-a\r\n250 b\r\n", "250-a\r\n550 b\r\n", "250 a\n250 b\r\n", "25", "\r\n", "354 \x00\xff\r\n",
		strings.Repeat("250-x\r\n", 200) + "250 x\r\n", strings.Repeat("2", 5000), "250-x\r\n250",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r io.Reader) (out string) {
			rd := replyReader{r: bufio.NewReaderSize(r, maxReplyLine)}
			for {
				lines := 0
				r, err := rd.read(func([]byte) { lines++ })
				if err != nil {
					return out + err.Error()
				}
				if r.code < 200 || r.code > 599 || lines < 1 || lines > maxReplyLines || len(r.text) > maxReplyText+1 {
					t.Errorf("reply %d of %d lines, %d octets", r.code, lines, len(r.text))
				}
				if s := r.String(); strings.ContainsAny(s, "\r\n\x00\x1b") || len(s) > 4*maxReplyText {
					t.Errorf("text %q", s)
				}
				out += fmt.Sprintln(r.code, r)
			}
		}
		whole := read(bytes.NewReader(b))
		if slow := read(iotest.OneByteReader(bytes.NewReader(b))); slow != whole {
			t.Errorf("%q is read as %q and, in pieces, as %q", b, whole, slow)
		}
		if n := strings.Count(whole, "\n"); n > bytes.Count(b, []byte("\r\n")) {
			t.Errorf("%q has %d answers", b, n)
		}
	})
}

// FuzzCanon compares the streaming form with a plain one, and looks at the wire for what must not be
// there (fault class SMTP smuggling).
func FuzzCanon(f *testing.F) {
	for _, s := range []string{"", ".", "\r", "\n", "\r\n", "a\r\r\nb", ".\r.\n.\r\n.", "a\n.\r\nb", "\r\n..\r\n", "x\x00\xff"} {
		for cut := range 3 {
			f.Add([]byte(s), cut)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var wire bytes.Buffer
		c := canon{emit: func(p []byte) error { wire.Write(p); return nil }}
		cut = max(0, min(cut, len(b)))
		for _, piece := range [][]byte{b[:cut], b[cut:]} {
			if n, err := c.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		if got, want := wire.String(), plainCanon(string(b)); got != want {
			t.Fatalf("%q in two from %d: %q, want %q", b, cut, got, want)
		}
		rest := strings.ReplaceAll(wire.String(), "\r\n", "")
		if strings.ContainsAny(rest, "\r\n") || strings.Contains("\r\n"+wire.String(), "\r\n.\r\n") {
			t.Errorf("%q became %q", b, wire.String())
		}
	})
}

// plainCanon is what canon does, with the whole message at hand.
func plainCanon(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	var out strings.Builder
	for line := range strings.Lines(s) {
		if line[0] == '.' {
			out.WriteByte('.')
		}
		out.WriteString(line[:len(line)-1] + "\r\n")
	}
	return out.String()
}

func TestCanonEmitErrors(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		left := n
		c := canon{emit: func([]byte) error {
			if left--; left < 0 {
				return io.ErrClosedPipe
			}
			return nil
		}}
		_, err := io.WriteString(&c, ".a\r")
		if err == nil {
			_, err = io.WriteString(&c, "b\n.c\rd")
		}
		if err == nil {
			err = c.end()
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("error after %d pieces: %v", n, err)
		}
	}
}
