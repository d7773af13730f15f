package remote

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/proxy"

	"github.com/mailferry/mailferry/pkg/fault"
)

// maxTried is how many addresses of a name are tried through a proxy.
const maxTried = 4

// throughProxy looks the name up here, checks what it resolves to, and has the proxy connect to an address: a name
// it would resolve by itself, to whatever it likes.
func (g Guard) throughProxy(ctx context.Context, d *net.Dialer, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	err, tried := errDenied, 0
	for _, a := range addrs {
		target := netip.AddrPortFrom(a.WithZone("").Unmap(), uint16(number))
		if g.Check(target) != nil || tried == maxTried {
			continue
		}
		tried++
		var c net.Conn
		if c, err = g.proxied(ctx, d, target); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// proxied is one attempt. Its errors tell nothing of the proxy.
func (g Guard) proxied(ctx context.Context, d *net.Dialer, target netip.AddrPort) (net.Conn, error) {
	const op = "remote dial"
	raw, err := d.DialContext(ctx, "tcp", g.Proxy)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fault.Errorf(fault.Network, op, "the proxy of this domain does not answer")
	}
	var auth *proxy.Auth
	if g.ProxyUsername != "" {
		auth = &proxy.Auth{User: g.ProxyUsername, Password: g.ProxyPassword}
	}
	socks, err := proxy.SOCKS5("tcp", g.Proxy, auth, opened{raw})
	if err == nil {
		var c net.Conn
		if c, err = socks.(proxy.ContextDialer).DialContext(ctx, "tcp", target.String()); err == nil {
			return proxiedConn{c, net.TCPAddrFromAddrPort(target)}, nil
		}
	}
	_ = raw.Close()
	switch text := err.Error(); {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case strings.Contains(text, "not allowed by ruleset"): // RFC 1928 §6, as the library words it
		return nil, errDenied
	case strings.Contains(text, "no acceptable authentication methods"), strings.Contains(text, "username/password"):
		return nil, fault.Errorf(fault.Policy, op, "the proxy of this domain wants another user name or password")
	case strings.Contains(text, "connection refused"):
		return nil, fault.Errorf(fault.Refused, op, "the server refuses connections on port %d", target.Port())
	}
	return nil, fault.Errorf(fault.Network, op, "the proxy of this domain could not reach the server")
}

// opened is a dialer that has dialed.
type opened struct{ net.Conn }

func (o opened) Dial(string, string) (net.Conn, error)                         { return o.Conn, nil }
func (o opened) DialContext(context.Context, string, string) (net.Conn, error) { return o.Conn, nil }

// proxiedConn says where the connection leads.
type proxiedConn struct {
	net.Conn
	remote net.Addr
}

func (c proxiedConn) RemoteAddr() net.Addr { return c.remote }
