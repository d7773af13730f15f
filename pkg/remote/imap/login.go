package imap

import (
	"context"
	"encoding/base64"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// secretsOf returns the forms in which the credentials of t go over the wire.
func secretsOf(t remote.Target) secrets {
	return secrets{
		t.Password,
		base64.StdEncoding.EncodeToString([]byte("\x00" + t.Username + "\x00" + t.Password)),
	}
}

// login signs in with PLAIN, else LOGIN (RFC 9051 §6.2.2, §6.2.3). There is one attempt: another one would
// count as a second wrong password.
func (s *session) login(ctx context.Context, t remote.Target) error {
	err := s.run(ctx, "imap login", chatter, fault.Auth, func() error {
		if err := s.client.WaitGreeting(); err != nil {
			return err
		}
		_, before := s.wire.capabilities()
		if err := s.authenticate(t); err != nil {
			return err
		}
		return s.learn(before)
	})
	if err != nil {
		return err
	}
	s.identify()
	return nil
}

func (s *session) authenticate(t remote.Target) error {
	caps, _ := s.wire.capabilities()
	switch {
	case caps.Has(goimap.AuthCap(sasl.Plain)):
		return s.client.Authenticate(sasl.NewPlainClient("", t.Username, t.Password))
	case caps.Has(goimap.CapLoginDisabled):
		return s.noLogin()
	}
	return s.client.Login(t.Username, t.Password).Wait()
}

// learn finds out what the server can do for this user, if it has not said so by itself.
func (s *session) learn(before int) error {
	caps, lists := s.wire.capabilities()
	if lists == before {
		if _, err := s.client.Capability().Wait(); err != nil {
			return err
		}
		caps, _ = s.wire.capabilities()
	}
	s.caps = caps
	return nil
}

// noLogin says why there is no way to sign in.
func (s *session) noLogin() error {
	if !s.conn.Secure() {
		return fault.Errorf(fault.TLS, "imap login", "the server takes no password without TLS (LOGINDISABLED)")
	}
	return fault.Errorf(fault.AuthWithdrawn, "imap login", "the server takes no password (LOGINDISABLED, no AUTH=PLAIN)")
}

// identify says who we are to a server that wants to know (RFC 2971): some refuse EXAMINE without it. The
// answer is not awaited, nothing hangs on it.
func (s *session) identify() {
	if s.caps.Has(goimap.CapID) {
		s.client.ID(&goimap.IDData{Name: "mailferry", Version: "1"})
	}
}
