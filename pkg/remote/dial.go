package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Target is where a session goes and who signs in.
type Target struct {
	Host               string
	Port               int
	TLS                account.TLSMode
	Username, Password string
	// APOP signs in with APOP only (POP3).
	APOP bool
	// Auth says how to sign in; empty: as with auto. Token is the access token for OAuth2.
	Auth  account.Auth
	Token string
	// LenientDot ends a body also at a dot that ends its last line, once the server is silent and answers
	// NOOP (POP3; servers that never send CRLF.CRLF).
	LenientDot bool
	// Mailboxes are those that List lists (IMAP). Known is what was known of one when nothing in it was left to
	// do: one that has not changed since is not listed again. Nil: nothing is known. OnlyNew lists of a known
	// mailbox to which messages came these alone.
	Mailboxes Mailboxes
	Known     func(mailbox string) (Status, bool)
	OnlyNew   bool
	// Trust says which certificates of the server are taken; the zero value: those that are valid.
	Trust Trust
	// DialContext opens the TCP connection in place of the dialer's, where it is not nil.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Plaintext is asked before anybody signs in without TLS; its error ends the session before a credential
	// was sent. Nil: nothing against it.
	Plaintext func(context.Context) error
}

// Trust is an account's own rule for the certificate of its server.
type Trust struct {
	// Pins are keys as account.Pin writes them. Where there are any, one of them has to be that of the
	// certificate, and nothing else of it counts.
	Pins []string
	// CA alone is trusted where it is not nil, in place of the dialer's authorities.
	CA *x509.CertPool
	// Any takes every certificate.
	Any bool
}

// Dialer opens connections to remote servers.
type Dialer struct {
	// DialContext opens the TCP connection; the egress guard is part of it.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is cloned for each session; its ServerName is set to the target's host. A ClientSessionCache in
	// it makes polls cheaper.
	TLS    *tls.Config
	Limits Limits
	// Trusted is asked before each write to the server and its error ends the session: a worker that woke
	// up after its lock had expired sends nothing. Nil: always trusted.
	Trusted func() error
	// Trace, where it is not nil, is filled in while a session is opened: it holds what was seen of the server also
	// where the session does not come to be.
	Trace *Trace
}

// Trace is what was seen of a server while a session was opened.
type Trace struct {
	// Address is the one that was dialed, with its port; "" until the connection stood.
	Address string
	// TLS is "none" or the version.
	TLS string
	// Certificate is the server's, also one that was refused; nil without TLS.
	Certificate *x509.Certificate
	// Capabilities are what the server named last, cleaned: the lines of CAPA, or those of CAPABILITY.
	Capabilities []string
}

// maxTraced bounds what is kept of a list of capabilities.
const maxTraced = 100

// TraceCapabilities keeps what the server says that it can do.
func (c *Conn) TraceCapabilities(names []string) {
	if c.d.Trace == nil {
		return
	}
	out := make([]string, min(len(names), maxTraced))
	for i := range out {
		out[i] = fault.Clean(names[i])
	}
	c.d.Trace.Capabilities = out
}

// traceTLS keeps the certificate of a handshake that has ended with err.
func (c *Conn) traceTLS(err error, state tls.ConnectionState) {
	var refused *tls.CertificateVerificationError
	certs := state.PeerCertificates
	if errors.As(err, &refused) {
		certs = refused.UnverifiedCertificates
	}
	switch {
	case c.d.Trace == nil || len(certs) == 0:
		return
	case err == nil:
		c.d.Trace.TLS = tls.VersionName(state.Version)
	}
	c.d.Trace.Certificate = certs[0]
}
