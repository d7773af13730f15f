package route_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	a := account.Account{ForwardTo: "alice@example.com"}
	header := []byte("Return-Path: <bob@example.org>\r\nSubject: x\r\n\r\n")
	got, err := route.Decide(a, "lmtp:127.0.0.1:24", header)
	want := route.Route{
		Envelope:    route.Envelope{From: "bob@example.org", To: []string{"alice@example.com"}},
		Destination: "lmtp:127.0.0.1:24",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("route %+v, error %v", got, err)
	}
	for _, bad := range []string{"", "smtp:x:25"} {
		if _, err := route.Decide(a, bad, header); fault.KindOf(err) != fault.DestinationTemporary {
			t.Errorf("destination %q: %v", bad, err)
		}
	}
	if _, err := route.Decide(account.Account{ForwardTo: "x\r\nRCPT TO:<y>"}, "lmtp:h:24", nil); fault.KindOf(err) != fault.Policy {
		t.Errorf("bad Forward to: %v", err)
	}
}

func TestRouteIsKeptInAShortForm(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]route.Route{
		`{"f":"b@c","t":["a@b"],"d":"lmtp:h:24"}`: {Envelope: route.Envelope{From: "b@c", To: []string{"a@b"}}, Destination: "lmtp:h:24"},
		`{"t":["a@b","c@d"],"d":"maildir:/x/%u"}`: {Envelope: route.Envelope{To: []string{"a@b", "c@d"}}, Destination: "maildir:/x/%u"},
	} {
		b, err := json.Marshal(want)
		if err != nil || string(b) != stored {
			t.Errorf("stored %s, error %v; want %s", b, err, stored)
		}
		var got route.Route
		if err := json.Unmarshal([]byte(stored), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, error %v; want %+v", got, err, want)
		}
	}
	for _, bad := range []string{``, `{}`, `{"t":["a"]}`, `{"d":"x"}`, `[]`, `{"t":"a","d":"x"}`} {
		if err := json.Unmarshal([]byte(bad), new(route.Route)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestReturnPath(t *testing.T) {
	t.Parallel()
	const a = "alice@example.com"
	long := strings.Repeat("X-Long: "+strings.Repeat("x", 70)+"\r\n", 900) // more than 64 KiB
	tests := map[string]struct{ header, want string }{
		"plain":               {"Return-Path: <alice@example.com>\r\n\r\n", a},
		"LF":                  {"Return-Path: <alice@example.com>\n\n", a},
		"case":                {"rEtUrN-pAtH:<alice@example.com>\r\n", a},
		"folded":              {"Return-Path:\r\n <alice@example.com>\r\n", a},
		"space before colon":  {"Return-Path : <alice@example.com>\r\n", a},
		"without brackets":    {"Return-Path: alice@example.com\r\n", a},
		"not the first field": {"Received: x\r\n\ty\r\nReturn-Path: <alice@example.com>\r\n", a},
		"mbox line":           {"From alice Mon Jan  1 00:00:00 2024\nReturn-Path: <alice@example.com>\n", a},
		"the first of two":    {"Return-Path: <alice@example.com>\r\nReturn-Path: <bob@example.com>\r\n", a},
		"first malformed":     {"Return-Path: <alice>\r\nReturn-Path: <alice@example.com>\r\n", ""},
		"VERP":                {"Return-Path: <l+bob=example.org@example.com>\r\n", "l+bob=example.org@example.com"},
		"beyond ASCII":        {"Return-Path: <älice@exämple.com>\r\n", "älice@exämple.com"},
		"null":                {"Return-Path: <>\r\n", ""},
		"none":                {"Subject: x\r\n\r\n", ""},
		"in the body":         {"Subject: x\r\n\r\nReturn-Path: <alice@example.com>\r\n", ""},
		"in the body, LF":     {"Subject: x\n\nReturn-Path: <alice@example.com>\n", ""},
		"after no field":      {"Hello\r\nReturn-Path: <alice@example.com>\r\n", ""},
		"second mbox line":    {"Subject: x\nFrom alice\nReturn-Path: <alice@example.com>\n", ""},
		"in another field":    {"Subject: x\r\n Return-Path: <alice@example.com>\r\n\r\n", ""},
		"longer name":         {"Return-Path-Extra: <alice@example.com>\r\n", ""},
		"empty":               {"", ""},
		"cut off":             {"Return-Path: alice@example.co", ""},
		"unclosed":            {"Return-Path: <alice@example.com\r\n", ""},
		"command":             {"Return-Path: <alice@example.com>\r SIZE=1\r\n", ""},
		"parameters":          {"Return-Path: <alice@example.com> AUTH=x\r\n", ""},
		"inner bracket":       {"Return-Path: <a@b.c> BODY=<8BITMIME>\r\n", ""},
		"NUL":                 {"Return-Path: <al\x00ice@example.com>\r\n", ""},
		"bad UTF-8":           {"Return-Path: <al\xffice@example.com>\r\n", ""},
		"source route":        {"Return-Path: <@x.org:alice@example.com>\r\n", ""},
		"quoted":              {"Return-Path: <\"al ice\"@example.com>\r\n", ""},
		"literal":             {"Return-Path: <alice@[127.0.0.1]>\r\n", ""},
		"too long":            {"Return-Path: <" + strings.Repeat("a", 250) + "@example.com>\r\n", ""},
		"much too long":       {"Return-Path: <" + strings.Repeat(" ", 2000) + "alice@example.com>\r\n", ""},
		"beyond the bound":    {long + "Return-Path: <alice@example.com>\r\n", ""},
	}
	for name, tt := range tests {
		if got := route.ReturnPath([]byte(tt.header)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	f.Add([]byte("Return-Path: <alice@example.com>\r\n\r\n"))
	f.Add([]byte("From x\nReceived: y\n z\nreturn-path: a@b\n"))
	f.Add([]byte("Return-Path:\r\n\t<>\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := route.ReturnPath(b)
		if got == "" {
			return
		}
		if len(got) > 254 || strings.ContainsAny(got, "<> \t\r\n\x00") || account.ValidateAddress("x", got) != nil {
			t.Errorf("%q passes for an address", got)
		}
		if !strings.Contains(string(b), got) {
			t.Errorf("%q is not in the header", got)
		}
	})
}
