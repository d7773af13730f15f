package pop3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
)

// challenge is the timestamp of a greeting: an RFC 822 msg-id in ASCII. One that is anything else may be
// crafted to find the password by MD5 collisions (RFC 1939 §7, CVE-2007-1558).
var challenge = regexp.MustCompile("<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+>")

// checkCredentials refuses what would break out of a command line.
func checkCredentials(t remote.Target) error {
	if strings.ContainsAny(t.Username+t.Password+t.Token, "\r\n\x00") {
		return fault.Errorf(fault.Policy, "pop3 login", "user name and password must not contain CR, LF or NUL")
	}
	if t.Username == "" || t.Password+t.Token == "" {
		return fault.Errorf(fault.Auth, "pop3 login", "user name or password is missing")
	}
	return nil
}

// login signs in: with APOP if that is asked for, else with the best that the account allows and the server
// offers: AUTH (RFC 5034), or USER and PASS. There is one attempt, as package sasl has it.
func (s *session) login(t remote.Target, greeting string) error {
	if t.APOP {
		s.mechanism = "APOP"
		return s.apop(t, greeting)
	}
	c := sasl.Credentials{
		Username: t.Username, Password: t.Password, Token: t.Token, Host: t.Host, Port: t.Port, TLS: s.t.State(),
	}
	s.t.secrets = c.Secrets()
	offer := s.offer(t.Auth)
	choices := offer.Choices(t.Auth, c)
	for i, m := range choices {
		s.mechanism = m
		if m == sasl.Command {
			return s.userPass(t)
		}
		attempt, err := sasl.New(m, c, offer)
		if err != nil {
			return err
		}
		ok, err := s.authenticate(attempt, oneLine(m, greeting))
		switch {
		case err != nil:
			return err
		case ok:
			return attempt.Accepted()
		case i+1 == len(choices) || codeOf(s.t.text()) != "" || !attempt.Unknown(s.t.text()):
			return attempt.Refused(s.loginRefused("pop3 auth " + string(m)))
		}
	}
	return fault.Errorf(fault.AuthWithdrawn, "pop3 login", "the server does not offer %s; its mechanisms: %s",
		t.Auth, fault.Clean(strings.Join(append(offer.Mechanisms, "USER"), " ")))
}

// offer is what the server takes. One that knows no CAPA may know the mechanism that the account names
// (RFC 1734).
func (s *session) offer(auth account.Auth) sasl.Offer {
	o := sasl.Offer{Mechanisms: s.caps.mechanisms, Command: true}
	if !s.caps.known {
		o.Mechanisms = []string{strings.ToUpper(string(auth))}
		if auth == account.OAuth2 {
			o.Mechanisms = []string{string(sasl.XOAuth2)}
		}
	}
	return o
}

// maxInitial is the longest command that may bear an initial response, CRLF included (RFC 5034 §4).
const maxInitial = 255

// oneLine says whether the initial response may stand in the command. Microsoft's servers want it by itself.
func oneLine(m sasl.Mechanism, greeting string) bool {
	return m != sasl.XOAuth2 && !strings.Contains(strings.ToLower(greeting), "microsoft")
}

// authenticate makes an attempt by AUTH (RFC 5034 §4): true for +OK, false for -ERR. What the mechanism
// cannot answer is cancelled, and its reason is the error.
func (s *session) authenticate(a *sasl.Attempt, oneLine bool) (bool, error) {
	mechanism, initial, err := a.Start()
	if err != nil {
		return false, err
	}
	line := "AUTH " + mechanism
	if encoded := base64.StdEncoding.EncodeToString(initial); initial != nil && oneLine && len(line)+1+len(encoded)+2 <= maxInitial {
		line += " " + encoded
		initial = nil
		a.InitialSent()
	}
	for {
		if err := s.c.Send(line); err != nil {
			return false, err
		}
		challenge, more, err := s.t.challenge()
		if err != nil {
			return false, err
		}
		if !more {
			return bytes.HasPrefix(s.t.status, []byte("+OK")), nil
		}
		response := initial
		if initial == nil {
			if response, err = a.Next(challenge); err != nil {
				_, _ = s.command("*")
				return false, err
			}
		} else {
			a.InitialSent()
			initial = nil
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
}

// userPass signs in with USER and PASS (RFC 1939 §7).
func (s *session) userPass(t remote.Target) error {
	ok, err := s.command("USER " + t.Username)
	if err != nil {
		return err
	}
	if !ok {
		return s.loginRefused("pop3 user")
	}
	if ok, err = s.command("PASS " + t.Password); err != nil {
		return err
	}
	if !ok {
		return s.loginRefused("pop3 pass")
	}
	return nil
}

func (s *session) apop(t remote.Target, greeting string) error {
	stamp := challenge.FindString(greeting)
	if stamp == "" {
		return fault.Errorf(fault.Policy, "pop3 apop", "the server's greeting has no APOP challenge that is a message-id; "+
			"it is not signed in to in another way while APOP is on")
	}
	sum := md5.Sum([]byte(stamp + t.Password))
	digest := hex.EncodeToString(sum[:])
	s.t.secrets = []string{t.Password, digest}
	ok, err := s.command("APOP " + t.Username + " " + digest)
	if err != nil {
		return err
	}
	if !ok {
		return s.loginRefused("pop3 apop")
	}
	return nil
}

// loginRefused is a refusal to sign in: a matter of the password unless the server says otherwise.
func (s *session) loginRefused(op string) error {
	text := strings.ToLower(string(s.t.status))
	if !s.t.Secure() && (strings.Contains(text, "plaintext") || strings.Contains(text, "stls") ||
		strings.Contains(text, "ssl") || strings.Contains(text, "tls")) {
		return fault.Errorf(fault.TLS, op, "the server wants TLS before it lets anybody sign in: %s", s.t.quote(string(s.t.status)))
	}
	return s.refusal(op, fault.Auth)
}
