package directory

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "=", "example.com": "example=2ecom", "gmail-alice_2": "gmail-alice_2", "=": "=3d", "*": "=2a", ">": "=3e",
		"a b": "a=20b", "ü": "=c3=bc", "日": "=e6=97=a5", "\xff": "=ff",
	} {
		if got := token(s); got != want {
			t.Errorf("token(%q) = %q, want %q", s, got, want)
		}
	}
	for _, bad := range []string{"", "a.b", "a b", "=2", "=2E", "=zz", "=61", "a=", "ü"} {
		if s, ok := untoken(bad); ok {
			t.Errorf("%q was taken as %q", bad, s)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "example.com", "a.*.>", "=", "=3d", "Grüße 日本", "\x00\xff", " ", "a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := token(s)
		if tok == "" || strings.ContainsAny(tok, ". *>\t\r\n") {
			t.Fatalf("%q is no token", tok)
		}
		if back, ok := untoken(tok); !ok || back != s {
			t.Fatalf("%q becomes %q", s, back)
		}
		if domain, name, ok := accountOfKey(accountKey(s, "n"+s)); !ok || domain != s || name != "n"+s {
			t.Fatalf("%q becomes %q/%q", s, domain, name)
		}
		if back, ok := untoken(s); ok && token(back) != s {
			t.Fatalf("%q and %q are one name", s, token(back))
		}
	})
}

// A record that anybody can put into the bucket must not bring a reader down.
func FuzzReadAccount(f *testing.F) {
	f.Add("example=2ecom.a", []byte("\n\x03uid\x12\x0bexample.com\x1a\x01a"))
	f.Add("a", []byte(nil))
	f.Add("a.b.c", []byte{0xff})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		a, err := new(Directory).readAccount(entry{key: key, value: value, revision: 3})
		if err == nil && (accountKey(a.Domain, a.Name) != key || a.UID == "" || a.Revision != 3) {
			t.Fatalf("key %q holds %+v", key, a)
		}
	})
}
