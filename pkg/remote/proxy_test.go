package remote_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// greeter greets whoever connects, and says from where.
func greeter(t *testing.T) (port int, from chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from = make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
			_, _ = c.Write([]byte("+OK\r\n"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port, from
}

// A proxy is told an address that was checked here, never a name; what is denied does not reach it.
func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	port, _ := greeter(t)
	socks := testenv.NewSocks(t)
	g := remote.Guard{Allow: loopback.Allow, Proxy: socks.Addr}
	connect := func(g remote.Guard, host string) (*remote.Conn, error) {
		return remote.Dialer{}.Connect(t.Context(), remote.Target{Host: host, Port: port, TLS: account.Disable, DialContext: g.DialContext})
	}
	c, err := connect(g, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)).String()
	if seen := socks.Seen(); len(seen) != 1 || seen[0] != want || c.RemoteAddr().String() != want {
		t.Errorf("the proxy was asked for %v, the session is at %s; want %s", seen, c.RemoteAddr(), want)
	}
	c.Abort()

	denied := remote.Guard{}.Check(netip.MustParseAddrPort("10.0.0.1:1"))
	for name, closed := range map[string]remote.Guard{
		"network": {Proxy: socks.Addr}, "port of the flag": {Allow: g.Allow, Proxy: socks.Addr, DenyPorts: []uint16{uint16(port)}},
		"port of a rule": {Allow: g.Allow, Proxy: socks.Addr, Ports: []account.Ports{"", "110,995"}},
	} {
		for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1"} {
			if _, err := connect(closed, host); !errors.Is(err, denied) || err.Error() != denied.Error() {
				t.Errorf("%s, %s: %v", name, host, err)
			}
		}
	}
	if seen := socks.Seen(); len(seen) != 1 {
		t.Errorf("the proxy was asked for what is denied: %v", seen)
	}
	for code, kind := range map[byte]fault.Kind{1: fault.Network, 2: fault.Policy, 3: fault.Network, 4: fault.Network, 5: fault.Refused, 99: fault.Network} {
		socks.Answer(code)
		_, err := connect(g, "127.0.0.1")
		if fault.KindOf(err) != kind || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("reply %d of the proxy: %v", code, err)
		}
		if code == 2 && err.Error() != denied.Error() {
			t.Errorf("the proxy's refusal is told apart: %v", err)
		}
	}
	socks.Answer(0)
	socks.Ask("alice", "canary-password")
	for _, login := range []struct {
		username, password string
		kind               fault.Kind
	}{{"alice", "canary-password", fault.None}, {"alice", "wrong-password!", fault.Policy}, {"", "", fault.Policy}} {
		c, err := connect(remote.Guard{Allow: g.Allow, Proxy: socks.Addr, ProxyUsername: login.username, ProxyPassword: login.password}, "127.0.0.1")
		if fault.KindOf(err) != login.kind || err != nil && strings.Contains(err.Error(), login.username+login.password) && login.username != "" {
			t.Errorf("%s at the proxy: %v", login.username, err)
		}
		if c != nil {
			c.Abort()
		}
	}
	if _, err := connect(remote.Guard{Allow: g.Allow, Proxy: "127.0.0.1:1"}, "localhost"); fault.KindOf(err) != fault.Network || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("no proxy: %v", err)
	}
}

// Sessions come from the address that is asked for, or not at all.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	port, from := greeter(t)
	for source, want := range map[string]fault.Kind{"127.0.0.3": fault.None, "192.0.2.77": fault.Internal} {
		g := remote.Guard{Allow: loopback.Allow, Source: netip.MustParseAddr(source)}
		c, err := remote.Dialer{}.Connect(t.Context(), remote.Target{Host: "127.0.0.1", Port: port, TLS: account.Disable, DialContext: g.DialContext})
		if fault.KindOf(err) != want {
			t.Fatalf("from %s: %v", source, err)
		}
		if err != nil {
			continue
		}
		if got := <-from; got != source {
			t.Errorf("the session comes from %s, want %s", got, source)
		}
		c.Abort()
	}
}
