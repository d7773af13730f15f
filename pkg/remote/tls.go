package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// StartTLS secures the connection with TLS 1.2 or newer, checks the certificate against the target's host
// name and sends that name (SNI). It is bounded by Limits.Dial and ctx. A failure is final: nothing can go
// on in plain text. The caller has made sure that nothing of the server lies unread in a buffer of its own
// (RFC 2595 §4, RFC 9051 §6.2.1).
func (c *Conn) StartTLS(ctx context.Context) error {
	cfg := &tls.Config{}
	if c.d.TLS != nil {
		cfg = c.d.TLS.Clone()
	}
	cfg.ServerName = strings.TrimSuffix(c.t.Host, ".")
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	c.t.Trust.apply(cfg)
	defer c.Watch(ctx)()
	c.AnswerWithin(c.limits.Dial)
	tc := tls.Client(c.wire, cfg)
	if err := tc.Handshake(); err != nil { // ctx is watched: the handshake's own watching would hide its cause
		c.traceTLS(err, tc.ConnectionState())
		return c.wire.fail(c.handshakeError(err))
	}
	c.AnswerWithin(c.limits.Command)
	state := tc.ConnectionState()
	c.conn, c.secure = tc, &state
	c.traceTLS(nil, state)
	return nil
}

// apply makes cfg follow the rule. A session that was resumed is not verified again, so that sessions made
// under a rule of its own are no other account's to resume.
func (t Trust) apply(cfg *tls.Config) {
	if len(t.Pins) == 0 && t.CA == nil && !t.Any {
		return
	}
	cfg.ClientSessionCache = nil
	if t.CA != nil {
		cfg.RootCAs = t.CA
	}
	cfg.InsecureSkipVerify = t.Any || len(t.Pins) > 0 // the pin is checked in its place
	if len(t.Pins) > 0 {
		cfg.VerifyConnection = t.pinned
	}
}

func (t Trust) pinned(state tls.ConnectionState) error {
	const op = "remote tls"
	if len(state.PeerCertificates) == 0 {
		return fault.Errorf(fault.TLS, op, "the server shows no certificate")
	}
	if pin := account.Pin(state.PeerCertificates[0]); !slices.Contains(t.Pins, pin) {
		return fault.Errorf(fault.TLS, op, "the key of the server's certificate is not the pinned one: its SHA-256 is %s; "+
			"pin that one too if its operator confirms it", pin)
	}
	return nil
}

// MaySignIn is asked before a credential is sent: it returns nil in TLS, and what Target.Plaintext says
// without.
func (c *Conn) MaySignIn(ctx context.Context) error {
	if c.Secure() || c.t.Plaintext == nil {
		return nil
	}
	return fault.Wrap(fault.TLS, "remote sign in", c.t.Plaintext(ctx))
}

// Certificate returns the server's certificate, nil without TLS.
func (c *Conn) Certificate() *x509.Certificate {
	if c.secure == nil || len(c.secure.PeerCertificates) == 0 {
		return nil
	}
	return c.secure.PeerCertificates[0]
}

// TLS returns "none" or the version, for instance "TLS 1.3".
func (c *Conn) TLS() string {
	if c.secure == nil {
		return "none"
	}
	return tls.VersionName(c.secure.Version)
}

// State returns the state of the TLS connection, nil if there is none.
func (c *Conn) State() *tls.ConnectionState { return c.secure }

// Secure says whether the connection is in TLS.
func (c *Conn) Secure() bool { return c.secure != nil }

// Resumed says whether the TLS session continued an earlier one.
func (c *Conn) Resumed() bool { return c.secure != nil && c.secure.DidResume }

func (c *Conn) handshakeError(err error) error {
	const op = "remote tls"
	host := fault.Clean(c.t.Host)
	var (
		e         *fault.Error
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &e):
		return err
	case fault.KindOf(err) == fault.Timeout:
		return fault.Errorf(fault.Timeout, op, "the TLS handshake with %s was not done within %s", host, fault.Span(c.limits.Dial))
	case errors.As(err, &authority):
		return fault.Errorf(fault.TLS, op, "the certificate of %s is not trusted: an authority that is not known here "+
			"signed it; ask for a publicly trusted certificate, or have the administrator add the authority", host)
	case errors.As(err, &name):
		return fault.Errorf(fault.TLS, op, "the certificate is not trusted: it is made out to %s, not to %s; "+
			"use the name in the certificate as the server", names(name.Certificate), host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault.Errorf(fault.TLS, op, "the certificate of %s is not trusted: it is not valid at this time "+
			"(from %s to %s); the operator of the server has to renew it", host,
			invalid.Cert.NotBefore.Format("2006-01-02"), invalid.Cert.NotAfter.Format("2006-01-02"))
	case errors.As(err, &record):
		return fault.Errorf(fault.TLS, op, "%s does not speak TLS on port %d; check the port and the TLS mode", host, c.t.Port)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return fault.Errorf(fault.TLS, op, "%s closed the connection during the TLS handshake; "+
			"check the port and the TLS mode", host)
	}
	return fault.Errorf(fault.TLS, op, "TLS with %s failed: %s", host, fault.Clean(err.Error()))
}

// isTLS says whether TLS, not the network below it, failed after the handshake.
func isTLS(err error) bool {
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &alert) || errors.As(err, &record) || strings.Contains(err.Error(), "tls: ")
}

func names(cert *x509.Certificate) string {
	var all []string
	all = append(all, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	return fault.Clean(strings.Join(all, ", "))
}
