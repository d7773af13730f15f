package route_test

import (
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/route"
)

var fetched = time.Date(2026, 11, 23, 23, 5, 7, 0, time.FixedZone("", 3600))

func TestTrace(t *testing.T) {
	t.Parallel()
	tests := []struct {
		info route.TraceInfo
		want string
	}{
		{
			route.TraceInfo{AccountUID: "0123456789abcdefghij", Key: "p00112233445566", RunID: "01r", RemoteHost: "pop.example.com", Protocol: "pop3", At: fetched},
			"X-Mailferry: account=0123456789abcdefghij; key=p00112233445566\r\nX-Mailferry-Skip: none\r\nX-Mailferry-Client: none\r\n" +
				"Received: from pop.example.com by mailferry with POP3 id 01r;\r\n\tMon, 23 Nov 2026 22:05:07 +0000\r\n",
		},
		{
			route.TraceInfo{AccountUID: "a", Key: "i00112233-1-2", RunID: "r", RemoteHost: "2001:db8::1", Protocol: "imap", By: "ferry.example.com", At: fetched},
			"X-Mailferry: account=a; key=i00112233-1-2\r\nX-Mailferry-Skip: none\r\nX-Mailferry-Client: none\r\n" +
				"Received: from [IPv6:2001:db8::1] by ferry.example.com with IMAP id r;\r\n" +
				"\tMon, 23 Nov 2026 22:05:07 +0000\r\n",
		},
		{
			route.TraceInfo{AccountUID: "a", Key: "c0", RemoteHost: "::ffff:192.0.2.1", At: fetched},
			"X-Mailferry: account=a; key=c0\r\nX-Mailferry-Skip: none\r\nX-Mailferry-Client: none\r\nReceived: from [192.0.2.1] by mailferry; Mon, 23 Nov 2026 22:05:07 +0000\r\n",
		},
		{
			route.TraceInfo{AccountUID: "a", Key: "c0", SkipFilters: true, SkipAntispam: true, At: fetched},
			"X-Mailferry: account=a; key=c0\r\nX-Mailferry-Skip: filters, antispam\r\nX-Mailferry-Client: none\r\nReceived: by mailferry; Mon, 23 Nov 2026 22:05:07 +0000\r\n",
		},
		{
			route.TraceInfo{AccountUID: "a", Key: "c0", SkipAntispam: true, At: fetched},
			"X-Mailferry: account=a; key=c0\r\nX-Mailferry-Skip: antispam\r\nX-Mailferry-Client: none\r\nReceived: by mailferry; Mon, 23 Nov 2026 22:05:07 +0000\r\n",
		},
	}
	for _, tt := range tests {
		if got := string(route.Trace(tt.info)); got != tt.want {
			t.Errorf("trace\n%s\nwant\n%s", got, tt.want)
		}
	}
}

// The mark that copies are told by must not differ between them (DESIGN §1).
func TestTraceMarksCopiesAlike(t *testing.T) {
	t.Parallel()
	one := route.Trace(route.TraceInfo{AccountUID: "a", Key: "k", RunID: "r1", RemoteHost: "h1", Protocol: "pop3", By: "x", At: fetched})
	two := route.Trace(route.TraceInfo{AccountUID: "a", Key: "k", RunID: "r2", RemoteHost: "h2", Protocol: "imap", At: fetched.Add(time.Hour)})
	mark := func(b []byte) string { line, _, _ := strings.Cut(string(b), "\r\n"); return line }
	if mark(one) != mark(two) || mark(one) != "X-Mailferry: account=a; key=k" {
		t.Errorf("marks %q and %q", mark(one), mark(two))
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("a\r\nBcc: x", "k; account=b", "r;", "host\n(", "pop3 ", "\x00ö")
	f.Add("", "", "", "", "", "")
	f.Add(strings.Repeat("x", 1000), "k", "r", "[::1]", "imap", strings.Repeat("y.", 500))
	f.Fuzz(func(t *testing.T, uid, key, run, host, protocol, by string) {
		info := route.TraceInfo{AccountUID: uid, Key: key, RunID: run, RemoteHost: host, Protocol: protocol, By: by, At: fetched}
		b := route.Trace(info)
		for _, c := range b {
			if c != '\r' && c != '\n' && c != '\t' && (c < ' ' || c > '~') {
				t.Fatalf("octet %#x in %q", c, b)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(string(b) + "\r\n"))
		if err != nil || len(m.Header) != 4 || len(m.Header["X-Mailferry-Client"]) != 1 || len(m.Header["X-Mailferry-Skip"]) != 1 || len(m.Header["X-Mailferry"]) != 1 || len(m.Header["Received"]) != 1 {
			t.Fatalf("%q is not four header lines: %v", b, err)
		}
		if mark := m.Header.Get("X-Mailferry"); strings.Count(mark, ";") != 1 || strings.Count(mark, "account=") < 1 {
			t.Errorf("mark %q", mark)
		}
		if _, date, ok := strings.Cut(m.Header.Get("Received"), ";"); !ok || strings.TrimSpace(date) != "Mon, 23 Nov 2026 22:05:07 +0000" {
			t.Errorf("received %q", m.Header.Get("Received"))
		}
		if strings.Contains(strings.ReplaceAll(string(b), "\r\n", ""), "\n") || len(b) > 3000 {
			t.Errorf("line ends or length of %q", b)
		}
	})
}
