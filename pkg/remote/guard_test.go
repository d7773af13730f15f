package remote_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	var first error
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7",
		"203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fdaa::1", "ff02::1", "100::1",
		"2001::1", "2001:db8::1", "3fff::1", "4000::1", "64:ff9b:1::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:10.0.0.1",
		"64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::1",
		"2a00:1:2:3:0:5efe:10.0.0.1", "2a00:1:2:3:200:5efe:7f00:1",
	} {
		err := remote.Guard{}.Check(netip.AddrPortFrom(netip.MustParseAddr(a), 110))
		if fault.KindOf(err) != fault.Policy {
			t.Errorf("%s: %v", a, err)
		}
		if first == nil {
			first = err
		} else if err == nil || err.Error() != first.Error() {
			t.Errorf("%s: another answer than to the others: %v", a, err)
		}
	}
	if err := (remote.Guard{}).Check(netip.AddrPort{}); err == nil {
		t.Error("no address passes")
	}
	for _, network := range []string{"unix", "udp4", "tcp"} {
		if err := (remote.Guard{}).Control(network, "8.8.8.8:110", nil); err == nil {
			t.Errorf("network %s passes", network)
		}
	}
}

func TestGuardAllows(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"8.8.8.8", "100.63.255.255", "172.32.0.1", "223.255.255.255", "2a00:1450:4001::6d", "2606:4700::1111",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2a00:1:2:3:0:5efe:8.8.8.8",
	} {
		if err := (remote.Guard{}).Check(netip.AddrPortFrom(netip.MustParseAddr(a), 110)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	own := remote.Guard{
		Allow:     []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")},
		DenyPorts: []uint16{25, 6379},
	}
	for a, want := range map[string]bool{
		"10.1.2.3:110": true, "[::ffff:10.1.2.3]:110": true, "[fd00::1]:110": true, "10.2.0.1:110": false,
		"10.1.2.3:25": false, "8.8.8.8:6379": false, "8.8.8.8:143": true, "[2002:a01:203::]:110": true,
	} {
		if err := own.Check(netip.MustParseAddrPort(a)); (err == nil) != want {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestGuardRefusesWhatANameResolvesTo(t *testing.T) {
	t.Parallel()
	want := remote.Guard{}.Check(netip.MustParseAddrPort("10.0.0.1:1"))
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		_, err := remote.Dialer{}.Connect(t.Context(), remote.Target{Host: host, Port: 1})
		if !errors.Is(err, want) || err.Error() != want.Error() {
			t.Errorf("%s: %v", host, err)
		}
	}
}
