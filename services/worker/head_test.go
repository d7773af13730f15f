package worker

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mailferry/mailferry/pkg/ledger"
)

// The identity of a message is the same whether its header came alone or with the body, and in pieces of any size;
// the body passes unchanged.
func TestHeaded(t *testing.T) {
	t.Parallel()
	w := &Worker{Deps: Deps{Keyer: ledger.NewKeyer([]byte("installation key"))}}
	for name, head := range map[string]string{
		"a header":      "Received: from a by b\r\nSubject: one\r\n\r\n",
		"bare LF":       "Received: from a by b\nSubject: one\n\n",
		"a long one":    "Received: from a by b\r\n" + strings.Repeat("X: y\r\n", maxHead/6-10) + "\r\n",
		"too long":      "Received: from a by b\r\n" + strings.Repeat("X: y\r\n", maxHead/6) + "\r\n",
		"no Received":   "Subject: one\r\n\r\n",
		"nothing":       "\r\n",
		"no end at all": "Received: from a by b\r\nSubject: one",
	} {
		alone, _, err := w.identity(strings.NewReader(head))
		if err != nil {
			t.Fatal(err)
		}
		whole := head + strings.Repeat("text\r\n\r\n", 20000)
		if name == "no end at all" {
			whole = head
		}
		for how, cut := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by the octet": iotest.OneByteReader, "by halves": iotest.HalfReader,
		} {
			var id []byte
			times := 0
			body, err := io.ReadAll(cut(&headed{r: cut(strings.NewReader(whole)), found: func(head []byte) {
				times++
				id, _, _ = w.identity(bytes.NewReader(head))
			}}))
			if err != nil || string(body) != whole || times != 1 || !bytes.Equal(id, alone) {
				t.Errorf("%s, %s: %d octets, identity %x told %d times, want %x: %v", name, how, len(body), id, times, alone, err)
			}
		}
	}
}
