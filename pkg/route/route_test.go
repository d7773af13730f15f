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

func at(destination string) route.Where {
	return func(account.Target) (string, error) { return destination, nil }
}

func TestDecide(t *testing.T) {
	t.Parallel()
	a := account.Account{
		Domain: "example.com", ForwardTo: "alice@example.com",
		CopyTo: []string{"bob@example.com", "carol@example.com/Copies", "dave@example.org/Not/theirs/to/file/into"},
	}
	header := []byte("Return-Path: <bob@example.org>\r\nSubject: x\r\n\r\n")
	got, err := route.Decide(a, route.Message{Header: header}, route.Tenant{Postmaster: "pm@example.com"}, func(t account.Target) (string, error) {
		switch {
		case t.Mailbox != nil:
			return "maildir:/mail/%u", nil
		case t.Domain() == "example.org":
			return "lmtp:org:24", nil
		}
		return "lmtp:com:24", nil
	}, nil)
	want := route.Route{
		From: "bob@example.org",
		Legs: []route.Leg{
			{Destination: "lmtp:com:24", To: []string{"alice@example.com", "bob@example.com"}},
			{Destination: "maildir:/mail/%u", To: []string{"carol@example.com"}, Mailbox: []string{"Copies"}},
			{Destination: "lmtp:org:24", To: []string{"dave@example.org"}},
		},
		Fallback: []string{"pm@example.com"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("route %+v, error %v", got, err)
	}
	for _, bad := range []string{"", "smoke:x:25"} {
		if _, err := route.Decide(a, route.Message{}, route.Tenant{}, at(bad), nil); fault.KindOf(err) != fault.DestinationTemporary {
			t.Errorf("destination %q: %v", bad, err)
		}
	}
	bad := account.Account{ForwardTo: "x\r\nRCPT TO:<y>"}
	if _, err := route.Decide(bad, route.Message{}, route.Tenant{}, at("lmtp:h:24"), nil); fault.KindOf(err) != fault.Policy {
		t.Errorf("bad Forward to: %v", err)
	}
}

func TestFallback(t *testing.T) {
	t.Parallel()
	const alice, forward, pm = "alice@example.com", "forward@example.com", "pm@example.com"
	here := at("lmtp:h:24")
	leg := func(to ...string) []route.Leg { return []route.Leg{{Destination: "lmtp:h:24", To: to}} }
	tests := map[string]struct {
		route   route.Route
		refused []string
		covered bool
		fell    string
		to      []string
	}{
		"none":                    {route.Route{Legs: leg(alice)}, []string{alice}, false, "", []string{alice}},
		"the first":               {route.Route{Legs: leg(alice), Fallback: []string{forward, pm}}, []string{alice}, true, forward, []string{alice, forward}},
		"has it already":          {route.Route{Legs: leg(alice, forward), Fallback: []string{forward, pm}}, []string{alice}, true, forward, []string{alice, forward}},
		"refused itself":          {route.Route{Legs: leg(alice, forward), Fallback: []string{forward, pm}}, []string{forward, alice}, true, pm, []string{alice, forward, pm}},
		"all refuse":              {route.Route{Legs: leg(pm), Fallback: []string{pm}}, []string{pm}, false, pm, []string{pm}},
		"another, later":          {route.Route{Legs: leg(alice, forward), Fell: forward}, []string{alice}, true, forward, []string{alice, forward}},
		"one that is not address": {route.Route{Legs: leg(alice), Fallback: []string{"x", pm}}, []string{alice}, true, pm, []string{alice, pm}},
	}
	for name, tt := range tests {
		r := tt.route
		r.Refuse("550 no", tt.refused...)
		err := r.Fall(here)
		if covered := r.Covered(); err != nil || covered != tt.covered || r.Fell != tt.fell || !reflect.DeepEqual(r.Legs, leg(tt.to...)) {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
	r := route.Route{Legs: leg(alice), Fallback: []string{pm}}
	r.Refuse("550 no", alice)
	if err := r.Fall(at("")); err == nil || len(r.Fallback) != 1 {
		t.Errorf("a fallback without destination is used up: %v, %+v", err, r)
	}
}

func TestRouteIsKeptInAShortForm(t *testing.T) {
	t.Parallel()
	full := route.Route{
		From: "b@c", Legs: []route.Leg{{Destination: "lmtp:h:24", To: []string{"a@b", "c@d"}}, {Destination: "maildir:/x/%u", To: []string{"a@b"}, Mailbox: []string{"x", "y"}}},
		Fallback: []string{"p@q"}, Fell: "f@g", Refused: []string{"c@d"}, Reason: "550 no",
	}
	b, err := json.Marshal(full)
	const short = `{"f":"b@c","l":[{"t":["a@b","c@d"],"d":"lmtp:h:24"},{"t":["a@b"],"d":"maildir:/x/%u","m":["x","y"]}],"b":["p@q"],"g":"f@g","r":["c@d"],"e":"550 no"}`
	if err != nil || string(b) != short {
		t.Errorf("stored %s, error %v", b, err)
	}
	for stored, want := range map[string]route.Route{
		short: full,
		`{"f":"b@c","t":["a@b"],"d":"lmtp:h:24"}`: {From: "b@c", Legs: []route.Leg{{Destination: "lmtp:h:24", To: []string{"a@b"}}}}, // of earlier versions
	} {
		var got route.Route
		if err := json.Unmarshal([]byte(stored), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, error %v; want %+v", got, err, want)
		}
	}
	for _, bad := range []string{``, `{}`, `{"t":["a"]}`, `{"d":"x"}`, `[]`, `{"t":"a","d":"x"}`, `{"l":[{"t":["a"]}]}`, `{"l":[{"d":"x"}]}`} {
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
