package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Guard decides which addresses a session may go to. The zero value allows public unicast addresses and
// every port: neither the host's own network nor the cluster's can be reached through an account.
//
// It looks at the address that is about to be dialed, so that a name that resolves to something else the
// second time (DNS rebinding) gains nothing.
type Guard struct {
	// Allow lifts the rule for these networks, for instance a mail server in the same data center.
	Allow []netip.Prefix
	// DenyPorts are never dialed, allowed network or not.
	DenyPorts []uint16
	// Ports are further rules that a port has to pass, each of them.
	Ports []account.Ports
	// Source is the address that connections come from; the zero value leaves it to the system.
	Source netip.Addr
	// Proxy is "host:port" of a SOCKS5 proxy (RFC 1928) that connects in our place; "" for none. It may be
	// anywhere. It is given addresses that were checked, never names. ProxyUsername and ProxyPassword sign in to it
	// (RFC 1929), "" for nobody.
	Proxy, ProxyUsername, ProxyPassword string
}

// errDenied is the one answer to every refusal: it says nothing about what lies behind the address.
var errDenied error = &fault.Error{Kind: fault.Policy, Op: "remote dial", Err: errAddress{}}

type errAddress struct{}

func (errAddress) Error() string {
	return "the address of this server is not one that accounts may use here"
}

// DialContext dials through the guard; it is what [Dialer].DialContext is meant to be.
func (g Guard) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 30 * time.Second}
	if g.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.Source, 0))
	}
	var c net.Conn
	var err error
	if g.Proxy != "" {
		c, err = g.throughProxy(ctx, &d, addr)
	} else {
		d.Control = g.Control
		c, err = d.DialContext(ctx, network, addr)
	}
	if g.Source.IsValid() && errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, fault.Errorf(fault.Internal, "remote dial", "the host of this worker does not have the source address %s that the domain asks for", g.Source)
	}
	return c, err
}

// Control is a net.Dialer's Control hook: it refuses the address unless [Guard.Check] lets it pass.
func (g Guard) Control(network, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") {
		return errDenied
	}
	return g.Check(addr)
}

// Check returns nil, or the same error of kind policy for every address that is refused.
func (g Guard) Check(addr netip.AddrPort) error {
	if slices.Contains(g.DenyPorts, addr.Port()) || !addr.Addr().IsValid() {
		return errDenied
	}
	for _, p := range g.Ports {
		if !p.Allow(addr.Port()) {
			return errDenied
		}
	}
	for _, face := range faces(addr.Addr().WithZone("").Unmap()) {
		if !public(face) && !slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(face) }) {
			return errDenied
		}
	}
	return nil
}

// faces returns the address and the IPv4 address that it carries, if it is one of the forms of IPv6 that
// reach an IPv4 host: compatible (RFC 4291 §2.5.5.1), translated (RFC 2765 §2.1), NAT64 (RFC 6052 §2.1),
// 6to4 (RFC 3056 §2) and ISATAP (RFC 5214 §6.1).
func faces(a netip.Addr) []netip.Addr {
	if !a.Is6() {
		return []netip.Addr{a}
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case nat64.Contains(a):
		return []netip.Addr{last} // the prefix itself is neither public nor private
	case sixToFour.Contains(a):
		return []netip.Addr{a, netip.AddrFrom4([4]byte(b[2:6]))}
	case compatible.Contains(a), translated.Contains(a):
		return []netip.Addr{a, last}
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
		return []netip.Addr{a, last}
	}
	return []netip.Addr{a}
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	compatible = netip.MustParsePrefix("::/96")
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
	global6    = netip.MustParsePrefix("2000::/3")
)

// special holds the networks that are not public among IPv4 and global unicast IPv6 (the IANA registries
// of special-purpose addresses, RFC 6890).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
}

func public(a netip.Addr) bool {
	if a.Is6() && !global6.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}
