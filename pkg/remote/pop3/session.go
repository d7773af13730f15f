// Package pop3 is a session with a POP3 maildrop: RFC 1939 with CAPA and PIPELINING (RFC 2449), STLS
// (RFC 2595) and extended response codes (RFC 3206).
//
// It stands on go-pop3 for commands and replies, and on a transport of its own for what that library lacks:
// bounds in time and bytes, STLS, APOP, pipelining, and bodies that stream as they are. Order of a session:
//
//  1. connect, with Direct in TLS;
//  2. greeting, CAPA, and with Detect STLS where it is offered, then CAPA again;
//  3. AUTH (RFC 5034), USER and PASS, or APOP;
//  4. STAT, UIDL and LIST, checked against each other;
//  5. RETR in a window, then DELE in a window;
//  6. QUIT: only its +OK makes deletions true.
//
// Every error that is not of one message alone ends the session.
package pop3

import (
	"context"
	"errors"
	"net"
	"strings"

	pop3 "github.com/knadh/go-pop3"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
)

// session is a remote.Session.
type session struct {
	t    *transport
	c    *pop3.Conn
	caps capabilities
	err  error // why the session is over
	// lenient says that a body may end without its mark; see there.
	lenient bool
	// blind says that the server drops the connection at CAPA.
	blind bool
	// gmail is a server that drops what was read when the session ends well, and lists a part at a time.
	gmail bool
	// mechanism is how the session signs in.
	mechanism sasl.Mechanism
}

// Dial opens a session: connect, secure, sign in. ctx bounds Dial alone. Where the server drops the connection
// at the first CAPA, as some old ones do, it is connected to once more, and not asked.
func Dial(ctx context.Context, d remote.Dialer, t remote.Target) (remote.Session, error) {
	if err := checkCredentials(t); err != nil {
		return nil, err
	}
	s := &session{lenient: t.LenientDot}
	err := s.dial(ctx, d, t)
	if err != nil && s.blind {
		s = &session{lenient: t.LenientDot, blind: true}
		err = s.dial(ctx, d, t)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) dial(ctx context.Context, d remote.Dialer, t remote.Target) error {
	conn, err := d.Connect(ctx, t)
	if err != nil {
		return err
	}
	s.t = newTransport(conn)
	s.t.secrets = []string{t.Password} // before the server is sent them, too: it may know them
	defer conn.Watch(ctx)()
	if err := s.open(ctx, t); err != nil {
		return s.end("pop3 open", err)
	}
	return nil
}

// connected is a go-pop3 dialer that has dialed already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

func (s *session) open(ctx context.Context, t remote.Target) error {
	var err error
	if s.c, err = pop3.New(pop3.Opt{Dialer: connected{s.t}}).NewConn(); err != nil {
		return s.greetingError(err)
	}
	greeting := string(s.t.status)
	s.gmail = strings.HasPrefix(greeting, "+OK Gpop ")
	if err := s.secure(ctx, t.TLS); err != nil {
		return err
	}
	if err := s.t.MaySignIn(ctx); err != nil {
		return err
	}
	if err := s.login(t, greeting); err != nil {
		return err
	}
	if s.caps.perUser && !s.blind {
		return s.capa()
	}
	return nil
}

// greetingError tells -ERR in place of a greeting from no greeting at all.
func (s *session) greetingError(err error) error {
	if strings.HasPrefix(string(s.t.status), "-ERR") {
		return s.refusal("pop3 greeting", fault.Unavailable)
	}
	return err
}

// Info says how the session is connected.
func (s *session) Info() remote.Info {
	return remote.Info{
		TLS: s.t.TLS(), Address: s.t.RemoteAddr().String(), Mechanism: string(s.mechanism), LoginDelay: s.caps.loginDelay,
		Consumes: s.caps.expireZero || s.gmail,
	}
}

// enter begins a method: the session must be alive, and ends with ctx until leave is called.
func (s *session) enter(ctx context.Context) (leave func(), err error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.t.Watch(ctx), nil
}

// end ends the session because of err, once.
func (s *session) end(op string, err error) error {
	if s.err == nil {
		if broken := s.t.Err(); broken != nil && fault.KindOf(err) != fault.TLS {
			err = broken // what broke the connection, not what that looked like above
		}
		s.err = named(op, err)
	}
	s.t.Abort()
	return s.err
}

// named gives err an operation of this package, and a kind, unless it has one.
func named(op string, err error) error {
	var e *fault.Error
	if errors.As(err, &e) && strings.HasPrefix(e.Op, "pop3 ") {
		return err
	}
	return fault.Wrap(fault.Protocol, op, err)
}

// Close sends QUIT. An error means that deletions are not confirmed (RFC 1939 §6).
func (s *session) Close(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ok, err := s.command("QUIT")
	if err == nil && !ok {
		err = s.refusal("pop3 quit", fault.Unavailable)
	}
	if err != nil {
		return s.end("pop3 quit", err)
	}
	s.err = fault.New(fault.Canceled, "pop3", net.ErrClosed)
	_ = s.t.Close()
	s.t.giveReader()
	return nil
}

// Abort drops the connection.
func (s *session) Abort() { s.t.Abort() }
