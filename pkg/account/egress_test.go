package account_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestPorts(t *testing.T) {
	t.Parallel()
	for rule, want := range map[account.Ports]string{ // of 25, 110, 995 and 8080
		"": "25 110 995 8080", "110,995": "110 995", "!25": "110 995 8080", "!25,!8000-8999": "110 995", "100-999, !110": "995",
		"110,!110": "", "!1-65535": "", "!": "", "110,x": "", "70000": "", "0": "", "9-1": "", ",": "", "-": "", "1-2-3": "",
	} {
		var got []string
		for _, port := range []string{"25", "110", "995", "8080"} {
			n := map[string]uint16{"25": 25, "110": 110, "995": 995, "8080": 8080}[port]
			if rule.Allow(n) {
				got = append(got, port)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q lets %v pass, want %s", rule, got, want)
		}
		if bad := want == "" && !strings.HasSuffix(string(rule), "!110") && rule != "!1-65535"; (rule.Validate() != nil) != bad {
			t.Errorf("%q: %v", rule, rule.Validate())
		}
	}
	if account.Ports(strings.Repeat("1", 2000)).Validate() == nil {
		t.Error("a rule without end is valid")
	}
}

func TestProxyAndSource(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"socks5://proxy.example:1080": "proxy.example:1080", "socks5://[::1]:1080": "[::1]:1080",
		"http://proxy:1": "", "socks5://proxy": "", "socks5://u:p@proxy:1": "", "proxy:1": "", "socks5://proxy:0": "", "socks5://:1": "", "": "",
	} {
		if got, err := account.ProxyAddress(url); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
	for s, ok := range map[string]bool{"192.0.2.1": true, "2001:db8::1": true, "fe80::1%eth0": false, "0.0.0.0": false, "host": false, "": false, "224.0.0.1": false} {
		if _, err := account.SourceAddress(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}
