package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSlotOf(t *testing.T) {
	t.Parallel()
	base := SlotOf("pop3", "pop.example.net", 110, "alice")
	same := []Slot{SlotOf("POP3", "Pop.Example.NET.", 995, "alice")}
	other := []Slot{
		SlotOf("imap", "pop.example.net", 143, "alice"), SlotOf("pop3", "pop.example.net", 1110, "alice"),
		SlotOf("pop3", "pop.example.net", 110, "Alice"), SlotOf("pop3", "pop.example.com", 110, "alice"),
		SlotOf("pop3", "pop.example.net", 143, "alice"), SlotOf("pop3", "pop.example.net", 0, "\x00alice"),
	}
	for _, s := range same {
		if s != base {
			t.Errorf("%s is another slot than %s", s, base)
		}
	}
	if slices.Contains(other, base) {
		t.Errorf("%v has %s", other, base)
	}
	if SlotOf("imap", "h", 143, "u") != SlotOf("imap", "h", 993, "u") {
		t.Error("the standard ports of IMAP are two slots")
	}
	for _, k := range base.workerKeys("a1", false) {
		if !strings.HasPrefix(k, "mf:{"+string(base)+"}:") || strings.Contains(k, "alice") {
			t.Errorf("key %q", k)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	k := NewKeyer([]byte("secret"))
	for _, key := range []Key{k.UniqueID("a"), k.Content([]byte("a")), k.IMAP("INBOX", 0, 0), k.IMAP("INBOX", 1<<32-1, 1<<32-1)} {
		got, err := ParseKey(string(key))
		if err != nil || got != key {
			t.Errorf("%s: %s, %v", key, got, err)
		}
		if keyOf(key.raw()) != key {
			t.Errorf("%s comes back as %s", key, keyOf(key.raw()))
		}
	}
	if k.UniqueID("a") == NewKeyer([]byte("other")).UniqueID("a") || k.UniqueID("a") == k.UniqueID("b") {
		t.Error("keys of other secrets or unique-ids are equal")
	}
	if k.ID() == NewKeyer([]byte("other")).ID() || strings.Contains(k.ID(), "secret") {
		t.Errorf("id %q", k.ID())
	}
	for _, s := range []string{"", "p", "p00", "c00000000000000", "p80000000000000", "pZZ000000000000", "p0000000000000A", "i00000000-1", "i00000000-01-1",
		"i00000000-1-4294967296", "i0000000G-1-1", "i00000000--1", "x00000000000000", "i00000000-1-1-1", "i00000000-+1-1"} {
		if _, err := ParseKey(s); err == nil {
			t.Errorf("%q is taken for a key", s)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	k := NewKeyer([]byte("secret"))
	for _, s := range []string{"", "p", "i00000000-1-1", "c80000000000000", string(k.UniqueID("a")), string(k.IMAP("INBOX", 7, 9))} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseKey(s)
		if err != nil {
			return
		}
		if string(key) != s || string(keyOf(key.raw())) != s || strings.ContainsAny(s, " .*>{}\n") {
			t.Fatalf("%q became %q", s, key)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add("e1 10 10 1 0 abcd 0\n")
	f.Add("e1 10 10 1 0 abcd 1700000000000\n" + blob([]byte("route"), []string{"bob@example.com", ""}))
	f.Add("e1 10 10 1 0 abcd 0\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMark(s, time.UnixMilli(1))
		if m.Raw != s {
			t.Fatalf("raw %q of %q", m.Raw, s)
		}
		if err != nil {
			return
		}
		if m.Size < 0 || m.Listed < 0 || m.Attempts < 0 || m.Takes < 0 {
			t.Fatalf("%+v", m)
		}
		route, served, err := parseBlob(blob(m.Route, m.Served))
		if err != nil || string(route) != string(m.Route) || !slices.Equal(served, m.Served) {
			t.Fatalf("%q, %q, %v of %+v", route, served, err, m)
		}
		parseState(s)
	})
}
