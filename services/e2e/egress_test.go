package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestEgressOfADomain sends the sessions of a domain through its proxy, from its address, and to no port that it or
// the settings deny; each rule holds without a restart.
func TestEgressOfADomain(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote, socks := testenv.NewDovecot(t), testenv.NewSocks(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	port := fmt.Sprint(remote.POP3Port)
	a := h.account("egress", "egress", account.POP3, account.Leave)
	fetch := func(what, want string) {
		t.Helper()
		testenv.Eventually(t, time.Minute, what, func() bool { // workers keep what a domain says for some seconds
			out, err := cli.run("fetch", a.Ref())
			return (err == nil) == (want == "") && strings.Contains(out, want)
		})
	}
	const denied = "the address of this server is not one that accounts may use here"
	domain := func(verb string, flags ...string) {
		t.Helper()
		cli.ok(append([]string{"domain", verb, "example.com"}, flags...)...)
	}

	fetch("there is no rule", "")
	domain("add", "--egress-ports", "110,995")
	fetch("the domain names other ports", denied)
	domain("edit", "--egress-ports", port, "--egress-proxy", "socks5://"+socks.Addr)
	fetch("the domain names the port and a proxy", "")
	if seen := socks.Seen(); len(seen) == 0 || seen[0] != "127.0.0.1:"+port {
		t.Errorf("the proxy was asked for %v", seen)
	}
	socks.Ask("house", "canary of the proxy")
	fetch("the proxy asks for a password", "another user name or password")
	secret := filepath.Join(t.TempDir(), "proxy")
	if err := os.WriteFile(secret, []byte("canary of the proxy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	domain("edit", "--egress-proxy-username", "house", "--egress-proxy-password-file", secret)
	fetch("the domain has it", "")
	if out := cli.ok("domain", "list", "--json"); strings.Contains(out, "canary") || !strings.Contains(out, `"sealedEgressProxyPassword":""`) || !strings.Contains(out, `"egressProxyUsername":"house"`) {
		t.Errorf("the API shows the password, or no user name:\n%s", out)
	}
	cli.ok("settings", "set", "egress_ports=!"+port)
	fetch("the settings deny the port", denied)
	cli.ok("settings", "set", "egress_ports=")
	fetch("the settings deny nothing", "")
	domain("edit", "--egress-proxy", "", "--egress-source", "127.0.0.7")
	testenv.Eventually(t, time.Minute, "the session comes from the domain's address", func() bool {
		cli.ok("fetch", a.Ref())
		return strings.Contains(remote.Log(), "rip=127.0.0.7")
	})
	if out := cli.ok("domain", "list"); !strings.Contains(out, "ports "+port+", from 127.0.0.7") {
		t.Errorf("the rules are not shown:\n%s", out)
	}
	for _, bad := range []string{"--egress-ports=none", "--egress-proxy=http://proxy:1", "--egress-source=here"} {
		if out, err := cli.run("domain", "edit", "example.com", bad); err == nil || !strings.Contains(out, "[policy]") {
			t.Errorf("%s is taken: %v\n%s", bad, err, out)
		}
	}
	if out, err := cli.run("settings", "set", "egress_ports=0"); err == nil || !strings.Contains(out, "[policy]") {
		t.Errorf("a port 0 is taken: %v\n%s", err, out)
	}
}
