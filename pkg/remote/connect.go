package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Connect opens the connection of a session: resolve, connect and, with Direct, the TLS handshake. Each of
// the two is bounded by Limits.Dial. ctx bounds Connect alone; see [Conn.Watch] for what comes after it.
// Without a DialContext it dials through the zero [Guard].
func (d Dialer) Connect(ctx context.Context, t Target) (*Conn, error) {
	limits := d.Limits.WithDefaults()
	if err := d.trusted(); err != nil {
		return nil, err
	}
	dial := Guard{}.DialContext
	switch {
	case t.DialContext != nil:
		dial = t.DialContext
	case d.DialContext != nil:
		dial = d.DialContext
	}
	dialCtx, cancel := context.WithTimeout(ctx, limits.Dial)
	defer cancel()
	raw, err := dial(dialCtx, "tcp", net.JoinHostPort(t.Host, strconv.Itoa(t.Port)))
	if err != nil {
		return nil, dialError(ctx, err, limits, t)
	}
	c := newConn(raw, d, t, limits)
	if d.Trace != nil {
		*d.Trace = Trace{Address: raw.RemoteAddr().String(), TLS: "none"}
	}
	if t.TLS == account.Direct {
		if err := c.StartTLS(ctx); err != nil {
			c.Abort()
			return nil, err
		}
	}
	return c, nil
}

// trusted asks Trusted and gives its error a kind.
func (d Dialer) trusted() error {
	if d.Trusted == nil {
		return nil
	}
	return fault.Wrap(fault.Canceled, "remote", d.Trusted())
}

func dialError(ctx context.Context, err error, limits Limits, t Target) error {
	const op = "remote dial"
	host := fault.Clean(t.Host)
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(fault.Canceled, op, context.Cause(ctx))
	case errors.Is(err, errDenied):
		return errDenied
	case errors.As(err, &dns) && dns.IsNotFound:
		return fault.Errorf(fault.DNS, op, "no address is known for the name %s", host)
	case errors.As(err, &dns):
		return fault.Errorf(fault.DNS, op, "the name %s could not be looked up: %s", host, fault.Clean(dns.Err))
	case fault.KindOf(err) == fault.Timeout:
		return fault.Errorf(fault.Timeout, op, "%s did not accept a connection on port %d within %s", host, t.Port, fault.Span(limits.Dial))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.Errorf(fault.Refused, op, "%s refuses connections on port %d", host, t.Port)
	}
	var e *fault.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fault.New(fault.Network, op, err)
}
