package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

// extensions is what the server offers (RFC 5321 §4.1.1.1).
type extensions struct {
	pipelining, eightBit, size, utf8, startTLS bool
	chunking, binary                           bool     // RFC 3030
	maxSize                                    int64    // octets of a message, 0 for no fixed limit (RFC 1870 §4)
	auth, client                               []string // mechanisms of AUTH, attributes of XCLIENT
}

// add notes the extension that a line of the answer to LHLO or EHLO names.
func (e *extensions) add(line []byte) {
	words := strings.Fields(strings.ToUpper(string(line)))
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "PIPELINING":
		e.pipelining = true
	case "8BITMIME":
		e.eightBit = true
	case "SIZE":
		e.size = true
		if len(words) > 1 {
			e.maxSize, _ = strconv.ParseInt(words[1], 10, 64)
		}
	case "SMTPUTF8":
		e.utf8 = true
	case "STARTTLS":
		e.startTLS = true
	case "CHUNKING":
		e.chunking = true
	case "BINARYMIME":
		e.binary = true
	case "AUTH":
		e.auth = words[1:]
	case "XCLIENT":
		e.client = words[1:]
	}
}

// octets says that a message may be sent as it is, in counted chunks.
func (cn *conn) octets() bool { return cn.ext.chunking && cn.ext.binary && !cn.server.noBDAT.Load() }

// open brings a new connection to where mail can be handed over: greeting, LHLO or EHLO, TLS, sign-in.
func (cn *conn) open(ctx context.Context, cfg Config, at Endpoint) error {
	if cfg.TLS == ImplicitTLS {
		if err := cn.handshake(ctx, cfg, at); err != nil {
			return err
		}
	}
	r, err := cn.answer(cn.limits.Command, nil)
	switch {
	case err != nil:
		return cn.failure(ctx, "greeting", err)
	case !r.ok():
		return cn.unwilling("greeting", r)
	}
	if err := cn.hello(ctx, cfg.Hello); err != nil {
		return err
	}
	if err := cn.secure(ctx, cfg, at); err != nil {
		return err
	}
	return cn.signIn(ctx, cfg)
}

// ask sends one command and returns its answer.
func (cn *conn) ask(ctx context.Context, step string, each func([]byte), parts ...string) (reply, error) {
	err := cn.command(parts...)
	if err == nil {
		err = cn.flush()
	}
	if err != nil {
		return reply{}, cn.failure(ctx, step, err)
	}
	r, err := cn.answer(cn.limits.Command, each)
	if err != nil {
		return reply{}, cn.failure(ctx, step, err)
	}
	return r, nil
}

func (cn *conn) hello(ctx context.Context, name string) error {
	verb := cn.verb()
	cn.ext, cn.name = extensions{}, name
	r, err := cn.ask(ctx, strings.ToLower(verb), cn.ext.add, verb, " ", name)
	if err == nil && !r.ok() {
		err = cn.unwilling(strings.ToLower(verb), r)
	}
	return err
}

var (
	errNoTLS = errors.New("the destination offers no TLS (STARTTLS), and it is required")
	errExtra = errors.New("the destination said more than it may before TLS begins")
)

// secure begins TLS where it is wanted and offered (RFC 3207). What the server said before counts no more.
func (cn *conn) secure(ctx context.Context, cfg Config, at Endpoint) error {
	const step = "starttls"
	switch {
	case cfg.TLS == ImplicitTLS, cfg.TLS == NoTLS, cfg.TLS == OfferedTLS && !cn.ext.startTLS:
		return nil
	case !cn.ext.startTLS:
		return cn.failure(ctx, step, errNoTLS)
	}
	r, err := cn.ask(ctx, step, nil, "STARTTLS")
	switch {
	case err != nil:
		return err
	case !r.ok() && cfg.TLS == OfferedTLS && cfg.Username == "" && !leaves(r.code):
		return nil
	case !r.ok():
		return cn.unwilling(step, r)
	case cn.in.r.Buffered() > 0: // it would be taken for something said in TLS (RFC 3207 §4.2)
		return cn.failure(ctx, step, errExtra)
	}
	if err := cn.handshake(ctx, cfg, at); err != nil {
		return err
	}
	return cn.hello(ctx, cfg.Hello)
}

// leaves says that the server ends the session (RFC 5321 §3.8).
func leaves(code int) bool { return code == 421 }

// handshake begins TLS. The certificate is checked unless TLS is taken merely where it is offered, which keeps no
// secret from whoever can take the offer away; a password is never sent that way.
func (cn *conn) handshake(ctx context.Context, cfg Config, at Endpoint) error {
	tc := tls.Client(cn.Conn, cfg.tlsFor(at))
	if err := cn.SetDeadline(time.Now().Add(cn.limits.Dial)); err != nil {
		return cn.failure(ctx, "tls", err)
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return cn.failure(ctx, "tls", err)
	}
	if err := cn.SetDeadline(time.Time{}); err != nil {
		return cn.failure(ctx, "tls", err)
	}
	cn.Conn = tc
	cn.in.r.Reset(tc)
	return nil
}

// private says that nobody but the server reads what is sent.
func (cn *conn) private() bool {
	if _, ok := cn.Conn.(*tls.Conn); ok {
		return true
	}
	switch a := cn.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}
