package pop3

import (
	"crypto/md5"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// challenge is the timestamp of a greeting: an RFC 822 msg-id in ASCII. One that is anything else may be
// crafted to find the password by MD5 collisions (RFC 1939 §7, CVE-2007-1558).
var challenge = regexp.MustCompile("<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+>")

// checkCredentials refuses what would break out of a command line.
func checkCredentials(t remote.Target) error {
	if strings.ContainsAny(t.Username+t.Password, "\r\n\x00") {
		return fault.Errorf(fault.Policy, "pop3 login", "user name and password must not contain CR, LF or NUL")
	}
	if t.Username == "" || t.Password == "" {
		return fault.Errorf(fault.Auth, "pop3 login", "user name or password is missing")
	}
	return nil
}

// login signs in with USER and PASS, or with APOP if that is asked for; one is never tried for the other.
func (s *session) login(t remote.Target, greeting string) error {
	if t.APOP {
		return s.apop(t, greeting)
	}
	s.t.secrets = []string{t.Password}
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
