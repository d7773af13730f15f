package local_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/local"
)

func TestMailboxNames(t *testing.T) {
	t.Parallel()
	slash := local.MailboxStyle{Delimiter: "/", MaxLevels: 4, MaxOctets: 60}
	dot := local.MailboxStyle{Delimiter: ".", MaxLevels: 4, MaxOctets: 60}
	flat := local.MailboxStyle{MaxLevels: 4, MaxOctets: 60}
	careful := local.MailboxStyle{Delimiter: ".", Careful: true, MaxLevels: 4, MaxOctets: 60}
	for _, tt := range []struct {
		style local.MailboxStyle
		path  string // parted by |
		want  string
	}{
		{slash, "Imported|Gmail", "Imported/Gmail"},
		{dot, "Imported|Gmail", "Imported.Gmail"},
		{flat, "Imported|Gmail", "Imported/Gmail"},
		{slash, "inBox|a", "INBOX/a"},
		{slash, "a|inBox", "a/inBox"},
		{slash, "v1.2|a/b", "v1.2/a%2Fb"},
		{dot, "v1.2|a/b", "v1%2E2.a/b"},
		{careful, "v1.2|a=b|100%", "v1=2E2.a=3Db.100=25"},
		{careful, "Größe|a||=", "Größe.a.=.=3D"},
		{slash, "100%|50%2F|%|%zz", "100%/50%252F/%25/%zz"},
		{slash, "a||b", "a/%/b"},
		{slash, ".|..|...", "%2E/%2E%2E/..."},
		{slash, "a\x00b\r\n|\x7f\u0085", "a%00b%0D%0A/%7F%C2%85"},
		{slash, "1|2|3|4|5|6", "1/2/3/4-fc7871769bac7d7f"},
		{slash, "\xff", "%FF"},
		{slash, strings.Repeat("x", 61), strings.Repeat("x", 43) + "-c508e75f24e25db9"},
	} {
		if got := tt.style.Name(strings.Split(tt.path, "|")); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestEncodeMailbox(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{ // of RFC 3501 §5.1.3, and as Dovecot writes them
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		"A&B":                "A&-B",
		"Entwürfe":           "Entw&APw-rfe",
		"Hi Mom -☺-!":        "Hi Mom -&Jjo--!",
		"🚢":                  "&2D3eog-",
		"ü&ü":                "&APw-&-&APw-",
		"a\tb":               "a&AAk-b",
	} {
		if got := local.EncodeMailbox(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

// No two paths have one name, and every name is one that a command can hold.
func FuzzMailboxName(f *testing.F) {
	f.Add("a|b", "a.b", ".", false)
	f.Add("a|b", "a|b", "/", true)
	f.Add("a%2Eb", "a.b", ".", false)
	f.Add("a=2Eb", "a.b", ".", true)
	f.Add("|", "%|%", "/", false)
	f.Add("1|2|3|4|5", "1|2|3|4/5", "/", false)
	f.Add("INBOX|x", "inbox|x", "", false)
	f.Fuzz(func(t *testing.T, a, b, delimiter string, careful bool) {
		if delimiter != "" && delimiter != "." && delimiter != "/" || strings.EqualFold(a, b) {
			return
		}
		s := local.MailboxStyle{Delimiter: delimiter, Careful: careful, MaxLevels: 4, MaxOctets: 180}
		na, nb := s.Name(strings.Split(a, "|")), s.Name(strings.Split(b, "|"))
		if na == nb {
			t.Errorf("%q and %q are both %q", a, b, na)
		}
		if wire := local.EncodeMailbox(na); len(wire) > 180 || strings.ContainsFunc(wire, func(r rune) bool { return r < ' ' || r > '~' }) || wire == "" {
			t.Errorf("%q becomes %q", a, wire)
		}
	})
}
