package imap

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzDirect says that who fetches is given, past imapclient, the messages and bodies that imapclient would be given, and
// that imapclient sees nothing of these, whether the bodies are read to their end or not.
func FuzzDirect(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 5 FLAGS (\\Seen) INTERNALDATE \" 1-Feb-2026 00:00:00 +0000\" BODY[] {3}\r\nabc)\r\nT2 OK x\r\n",
		"* 1 FETCH (BODY[] {3}\r\nabc UID 5)\r\n* 2 FETCH (UID 6 BODY[] {2}\r\nhi FLAGS () X {1}\r\na)\r\n",
		"* 1 FETCH (UID 5 BODY[] {0}\r\n BODY[] {2}\r\nab)\r\n* 1 FETCH (UID 5 BODY[] \"a\")\r\n", "* 1 FETCH (UID 5 BODY[] {9}\r\ncut",
		"* 1 FETCH (UID 5 X (\"a\" {2}\r\n)( NIL) BODY[] {1}\r\na \"\r\n* 2 FETCH (UID 6 BODY[] {1}\r\na)\r\n",
	} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, said []byte, most int) {
		out, _ := io.ReadAll(guarded(t, said, fetching))
		want := bodies(out)
		var got []string
		g := guarded(t, said, fetching)
		g.direct = func(m message, literal io.Reader, size int64) {
			body, err := io.ReadAll(literal)
			if len(body) == int(size) {
				got = append(got, fmt.Sprintf("%d %q", m.uid, body))
			} else if err == nil {
				t.Errorf("%d of %d octets, and no error", len(body), size)
			}
		}
		rest, _ := io.ReadAll(g)
		if !slices.Equal(got, want) {
			t.Errorf("of %q it is given %q, want %q", said, got, want)
		}
		wellFormed(t, rest)
		if left := bodies(rest); len(left) > 0 {
			t.Errorf("imapclient sees %q of %q", left, said)
		}
		g = guarded(t, said, fetching)
		g.direct = func(_ message, literal io.Reader, _ int64) {
			_, _ = io.CopyN(io.Discard, literal, int64(max(0, most)))
		}
		if again, _ := io.ReadAll(g); !bytes.Equal(again, rest) {
			t.Errorf("%q, and %q where bodies are not read", rest, again)
		}
	})
}

// bodies returns the literals of what came out of a guard, each with the UID in front of it.
func bodies(out []byte) (found []string) {
	r := bufio.NewReader(bytes.NewReader(out))
	for {
		line, err := r.ReadString('\n')
		i := strings.LastIndex(line, "BODY[] {")
		if err != nil {
			return found
		}
		if i < 0 {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(line[i+len("BODY[] {"):], "}\r\n"))
		if err != nil {
			continue
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return found
		}
		if _, uid, ok := strings.Cut(line[:i], "UID "); ok && strings.HasPrefix(line, "* ") {
			found = append(found, fmt.Sprintf("%s %q", strings.Fields(uid)[0], body))
		}
	}
}
