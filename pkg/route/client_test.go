package route_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/route"
)

func client(ip, helo, name string) route.Client {
	return route.Client{IP: netip.MustParseAddr(ip), Helo: helo, Name: name}
}

// What known servers write, and what a client can make them write.
func TestFindClient(t *testing.T) {
	t.Parallel()
	known := client("192.0.2.7", "out.sender.test", "")
	named := client("192.0.2.7", "out.sender.test", "rdns.sender.test")
	for line, want := range map[string]route.Client{
		// Postfix, Sendmail, Gmail
		"from out.sender.test (rdns.sender.test [192.0.2.7]) by MX with ESMTPS id 1 for <a@b>; Mon":                                           named,
		"from out.sender.test (rdns.sender.test. [192.0.2.7])\r\n\tby MX. with ESMTPS id 1\r\n (version=TLS1_3 cipher=[6.6.6.6]); Mon":        named,
		"from out.sender.test (unknown [192.0.2.7]) (using TLSv1.3 with cipher x (256/256 bits)) (Client CN \"a [6.6.6.6]\") by MX (Postfix)": known,
		"from out.sender.test (unknown [IPv6:2001:db8::7]) by MX":                                                                             client("2001:db8::7", "out.sender.test", ""),
		"from [6.6.6.6] (rdns.sender.test [192.0.2.7]) by MX":                                                                                 client("192.0.2.7", "[6.6.6.6]", "rdns.sender.test"),
		"from out.sender.test (IDENT:joe@rdns.sender.test [192.0.2.7]) by MX":                                                                 named,
		"from out.sender.test (rdns.sender.test [192.0.2.7] (may be forged)) by MX":                                                           known,
		"from out.sender.test (rdns.sender.test [::ffff:192.0.2.7]) by MX":                                                                    named,
		// Exim
		"from rdns.sender.test ([192.0.2.7] helo=out.sender.test) by MX with esmtp (Exim 4.96)": named,
		"from rdns.sender.test ([192.0.2.7]:2525 helo=out.sender.test) by MX":                   named,
		"from out.sender.test ([192.0.2.7]) by MX":                                              known,
		"from [192.0.2.7] (helo=out.sender.test) by MX":                                         known,
		"from [192.0.2.7] (port=2525 helo=out.sender.test) by MX":                               known,
		"from [192.0.2.7] (helo=[6.6.6.6]) by MX":                                               client("192.0.2.7", "[6.6.6.6]", ""),
		"from rdns.sender.test ([192.0.2.7] helo=[6.6.6.6]) by MX":                              client("192.0.2.7", "[6.6.6.6]", "rdns.sender.test"),
		// Exchange, qmail, Yahoo
		"from out.sender.test (192.0.2.7) by MX (2603:10a6::1) with Microsoft SMTP Server": known,
		"from unknown (HELO out.sender.test) (192.0.2.7) by MX with SMTP":                  known,
		"from rdns.sender.test (HELO out.sender.test) (joe@192.0.2.7) by MX with SMTP":     named,
		"from unknown (HELO [6.6.6.6]) (192.0.2.7) by MX with SMTP":                        client("192.0.2.7", "[6.6.6.6]", ""),
		"from 192.0.2.7 (EHLO out.sender.test) by MX with SMTP":                            known,
		// nothing that can be told
		"from out.sender.test by MX":                                   {},
		"from [192.0.2.7] by MX":                                       {}, // may be what the client said of itself
		"by MX with SMTP id 1":                                         {},
		"from out.sender.test (rdns.sender.test) by MX":                {},
		"from out.sender.test (x.test [10.1.2.3]) by MX":               {},
		"from out.sender.test (x.test [127.0.0.1]) by MX":              {},
		"from out.sender.test (x.test [100.64.0.1]) by MX":             {},
		"from out.sender.test (x.test [::1]) by MX":                    {},
		"from out.sender.test (x.test [fe80::1%eth0]) by MX":           {},
		"from out.sender.test (Authenticated sender: [6.6.6.6]) by MX": {},
		// a client that says more than a name
		"from x ([6.6.6.6]) (rdns.sender.test [192.0.2.7]) by MX":                        {},
		"from x (y.test [6.6.6.6]) by MX with SMTP (rdns.sender.test [192.0.2.7]) by MX": {},
		"from x by MX ([6.6.6.6]) (rdns.sender.test [192.0.2.7]) by MX":                  {},
		"from x y.test (rdns.sender.test [192.0.2.7]) by MX":                             {},
		"from out.sender.test (rdns.sender.test [192.0.2.7] by MX":                       {},
		"from <x (rdns.sender.test [192.0.2.7]) by MX with ESMTP for <a@b>":              {},
		"from " + strings.Repeat("x", 300) + " (rdns.sender.test [192.0.2.7]) by MX":     client("192.0.2.7", "", "rdns.sender.test"),
		"from (x (rdns.sender.test [192.0.2.7]) by MX with ESMTP":                        {},
		"from \"x (rdns.sender.test [192.0.2.7]) by MX with ESMTP":                       client("192.0.2.7", "", "rdns.sender.test"),
		"from x;y (rdns.sender.test [192.0.2.7]) by MX with ESMTP":                       {},
		"from out.sender.test (rdns.sender.test;helo=x [192.0.2.7]) by MX":               {},
	} {
		a := account.Account{Recipients: account.Recipients{ReceivedBy: []string{"mx*.isp.test"}}}
		header := "Received: from store by inner.isp.test; Mon\r\nReceived: " + strings.ReplaceAll(line, "MX", "mx1.isp.test") + "\r\n" +
			"Received: from forged (forged.test [6.6.6.6]) by mx1.isp.test\r\nSubject: x\r\n\r\n"
		if got := route.FindClient(a, route.Tenant{}, []byte(header)); got != want {
			t.Errorf("%s\n%+v, want %+v", line, got, want)
		}
		if got := route.FindClient(account.Account{}, route.Tenant{}, []byte(header)); got.Known() {
			t.Errorf("%s: without a declared host %+v", line, got)
		}
		if got := route.FindClient(account.Account{}, route.Tenant{ReceivedBy: []string{"mx1.isp.test"}}, []byte(header)); got != want {
			t.Errorf("%s: by the domain's host %+v", line, got)
		}
	}
}

// A line that a sender wrote in the name of a declared host lies beneath that of the host.
func TestForgedReceived(t *testing.T) {
	t.Parallel()
	forged := "Received: from x (x.test [6.6.6.6]) by mx.isp.test\r\n"
	a := account.Account{Recipients: account.Recipients{ReceivedBy: []string{"mx.isp.test"}}}
	for name, header := range map[string]string{
		"in the body":         "Subject: x\r\n\r\n" + forged,
		"folded into another": "Subject: x\r\n " + forged + "\r\n",
		"of a host like it":   strings.ReplaceAll(forged, "mx.isp.test", "mx.isp.test.evil.test") + "\r\n",
		"by in a comment":     "Received: from x (x.test [6.6.6.6]) (by mx.isp.test) by mx.evil.test\r\n\r\n",
		"beneath an empty":    "Received: by mx.isp.test with LMTP\r\n" + forged + "\r\n",
	} {
		if got := route.FindClient(a, route.Tenant{}, []byte(header)); got.Known() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDecideClient(t *testing.T) {
	t.Parallel()
	where := func(account.Target) (string, error) { return "lmtp:h:24", nil }
	m := route.Message{Header: []byte("Received: from h.test (n.test [192.0.2.7]) by mx.isp.test\r\n\r\n")}
	told := client("192.0.2.7", "h.test", "n.test")
	for _, tt := range []struct {
		account, domain, want account.ClientAddress
		client                route.Client
	}{
		{"", "", "", route.Client{}},
		{account.ClientOff, account.ClientAuto, "", route.Client{}},
		{"", account.ClientHeader, account.ClientHeader, told},
		{account.ClientXCLIENT, account.ClientHeader, account.ClientXCLIENT, told},
	} {
		a := account.Account{Domain: "example.com", ForwardTo: "alice@example.com", ClientAddress: tt.account}
		r, err := route.Decide(a, m, route.Tenant{ReceivedBy: []string{"mx.isp.test"}, ClientAddress: tt.domain}, where, nil)
		if err != nil || r.ClientBy != tt.want || r.Client != tt.client {
			t.Errorf("%+v: %q %+v, %v", tt, r.ClientBy, r.Client, err)
		}
		b, err := r.MarshalJSON()
		var back route.Route
		if err == nil {
			err = back.UnmarshalJSON(b)
		}
		if err != nil || back.Client != r.Client || r.Client.Known() && back.ClientBy != r.ClientBy {
			t.Errorf("%+v: kept as %s, read as %+v, %v", tt, b, back, err)
		}
	}
}

func FuzzFindClient(f *testing.F) {
	f.Add("from a.test (b.test [192.0.2.7]) by mx.isp.test", "h.test")
	f.Add("from [192.0.2.7] (helo=x) by mx.isp.test; x", "")
	f.Add("from ((((a) by mx.isp.test", "x\r\nBcc: y")
	f.Fuzz(func(t *testing.T, line, _ string) {
		a := account.Account{Recipients: account.Recipients{ReceivedBy: []string{"mx.isp.test"}}}
		c := route.FindClient(a, route.Tenant{}, []byte("Received: "+line+"\r\n\r\n"))
		trace := string(route.Trace(route.TraceInfo{AccountUID: "a", Key: "k", Client: c, At: fetched}))
		if !c.Known() != strings.Contains(trace, "X-Mailferry-Client: none\r\n") || strings.Count(trace, "\r\nX-Mailferry-Client: ") != 1 {
			t.Errorf("%+v: %q", c, trace)
		}
		if c.Known() && (c.IP.IsLoopback() || c.IP.IsPrivate() || strings.ContainsAny(c.Helo+c.Name, "\r\n =+;()<>\x00")) || strings.Count(trace, "\r\n") > 8 {
			t.Errorf("%+v: %q", c, trace)
		}
	})
}
