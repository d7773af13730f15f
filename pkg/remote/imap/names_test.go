package imap

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/remote"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, name, delimiter string
		want                     bool
	}{
		{"INBOX", "INBOX", "/", true},
		{"inbox", "INBOX", "/", true},
		{"inbox", "Inbox/a", "/", false},
		{"Work", "work", "/", false},
		{"*", "a/b/c", "/", true},
		{"%", "a", "/", true},
		{"%", "a/b", "/", false},
		{"%", "a/b", ".", true},
		{"%", "a/b", "", true},
		{"%/%", "a/b", "/", true},
		{"%/%", "a/b/c", "/", false},
		{"*/c", "a/b/c", "/", true},
		{"a*", "a", "/", true},
		{"a%", "ab/c", "/", false},
		{"%a*c", "xa/b/c", "/", true},
		{"%a*c", "x/a/c", "/", false},
		{"Gr%e", "Grüße", "/", true},
		{"", "a", "/", false},
		{"a/", "a", "/", false},
		{"*a*a*a*a*b", strings.Repeat("a", 500), "/", false},
	} {
		if got := matches(tt.pattern, tt.name, tt.delimiter); got != tt.want {
			t.Errorf("%q matches %q with %q: %v", tt.pattern, tt.name, tt.delimiter, got)
		}
	}
}

// encodeName writes a name in modified UTF-7 (RFC 3501 §5.1.3).
func encodeName(name string) string {
	var out strings.Builder
	var shift []uint16
	flush := func() {
		if len(shift) > 0 {
			var b []byte
			for _, u := range shift {
				b = binary.BigEndian.AppendUint16(b, u)
			}
			out.WriteString("&" + shifted.EncodeToString(b) + "-")
			shift = nil
		}
	}
	for _, r := range name {
		if r >= ' ' && r <= '~' {
			flush()
			out.WriteString(strings.ReplaceAll(string(r), "&", "&-"))
		} else {
			shift = utf16.AppendRune(shift, r)
		}
	}
	flush()
	return out.String()
}

// FuzzMailboxName decodes names: what comes out is written in one way alone, and can be told to people.
func FuzzMailboxName(f *testing.F) {
	for _, s := range []string{"INBOX", "inbox", "Gr&APwA3w-e", "R&-D", "&-&AOQ-&-", "&U,BTFw-", "&2D3eAA-", "&", "&AGE-", "&AOQ-&AOQ-", "&AOQ-x&AOQ-",
		"&2AA-", "&AOQ", "&A-", "&AOR-", "\xff", "Grüße", "a\x00", "&AA0ACg-", "../..", "", "&,,8-", "-", "&--"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		name, ok := decodeName(raw)
		if !ok {
			return
		}
		if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			t.Errorf("%q becomes %q", raw, name)
		}
		ascii := !bytes.ContainsFunc(raw, func(r rune) bool { return r >= utf8.RuneSelf })
		if sent := encodeName(name); ascii && sent != string(raw) && !strings.EqualFold(sent, string(raw)) {
			t.Errorf("%q becomes %q, which is sent as %q", raw, name, sent)
		}
	})
}

// FuzzMailboxes reads what a server says of its mailboxes when it was asked.
func FuzzMailboxes(f *testing.F) {
	for _, s := range []string{
		"* LIST (\\HasNoChildren \\Trash) \"/\" \"a b\"\r\n* LIST () NIL {3}\r\na\"b\r\nT1 OK x\r\n", "* LIST () \"/\" inbox (\"OLDNAME\" ({3}\r\nabc))\r\n",
		"* LIST (\\Noselect) \"\\\\\" \"x\\\"y\"\r\n", "* LIST () \"/\" {600}\r\nx", "* LIST (", "* LIST () \"/\" {3}\r\n", "* LIST () \"/\" &\r\n",
		"* STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\r\nT1 OK x\r\n", "* STATUS {5}\r\nINBOX (UIDNEXT 4294967296)\r\n",
		"* STATUS \"inbox\" (MESSAGES 3 X-A (B C) UIDNEXT 10)\r\n", "* STATUS INBOX (\r\n", "* STATUS b (UIDVALIDITY 1 UIDNEXT 1)\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, said []byte, list bool) {
		g := guarded(t, said, noFetch)
		asked := &found{list: list, status: map[string]remote.Status{"INBOX": {}}}
		g.begin(expectation{octets: 1 << 20, answers: 1000, found: asked})
		out, _ := io.ReadAll(g)
		for line := range strings.Lines(strings.ToUpper(string(out))) {
			if strings.HasPrefix(line, "* LIST") || strings.HasPrefix(line, "* STATUS") {
				t.Errorf("%q is passed on as %q", said, out)
			}
		}
		if !list && len(asked.names) > 0 || len(asked.status) != 1 || len(asked.names) > bytes.Count(said, []byte("*")) {
			t.Errorf("%q becomes %+v", said, asked)
		}
		if st := asked.status["INBOX"]; st != (remote.Status{}) && (list || st.UIDNext == 0 || st.UIDValidity == 0) {
			t.Errorf("%q becomes %+v", said, st)
		}
		for _, m := range asked.names {
			if m.name == "" || len(m.name) > maxName || len(m.delimiter) > utf8.UTFMax || len(m.attributes) > len(known) {
				t.Errorf("%q becomes %+v", said, m)
			}
		}
	})
}
