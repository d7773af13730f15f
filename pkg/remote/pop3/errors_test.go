package pop3_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// refused signs in, which must fail with the kind and the words, without the password.
func refused(t *testing.T, d remote.Dialer, target remote.Target, kind fault.Kind, words string) {
	t.Helper()
	s, err := pop3.Dial(t.Context(), d, target)
	if err == nil {
		s.Abort()
		t.Fatalf("signed in, want %s", kind)
	}
	if fault.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("%v is of kind %s, want %s and %q", err, fault.KindOf(err), kind, words)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotUsers("alice"), testenv.DovecotExtra("auth_mechanisms = plain login apop"))
	strict := testenv.NewDovecot(t, testenv.DovecotRequireTLS(), testenv.DovecotPassword(canary))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	brief := dialer(dove.Pool)
	brief.Limits.Command, brief.Limits.Dial = 300*time.Millisecond, 300*time.Millisecond
	untrusting := dialer(nil)

	for _, c := range []struct {
		name   string
		d      remote.Dialer
		target remote.Target
		kind   fault.Kind
		words  string
	}{
		{"unknown host", dialer(nil), remote.Target{Host: "no-such-host.invalid", Port: 110}, fault.DNS, "no-such-host.invalid"},
		{"nothing listens", dialer(nil), remote.Target{Host: "127.0.0.1", Port: port}, fault.Refused, "refuses connections"},
		{"an address that is not allowed", remote.Dialer{}, remote.Target{Host: "127.0.0.1", Port: dove.POP3Port}, fault.Policy, "address"},
		{"wrong password", dialer(dove.Pool), remote.Target{Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect}, fault.Auth, "[AUTH]"},
		{"wrong APOP", dialer(dove.Pool), remote.Target{Host: dove.Host, Port: dove.POP3Port, APOP: true}, fault.Auth, "pop3 apop"},
		{"Direct to a plain port", dialer(dove.Pool), remote.Target{Host: dove.Host, Port: dove.POP3Port, TLS: account.Direct}, fault.TLS, "does not speak TLS"},
		{"plain text to a TLS port", brief, remote.Target{Host: dove.Host, Port: dove.POP3SPort, TLS: account.Disable}, fault.Timeout, "300ms"},
		{"Detect to a TLS port", brief, remote.Target{Host: dove.Host, Port: dove.POP3SPort, TLS: account.Detect}, fault.Timeout, "300ms"},
		{"untrusted, Direct", untrusting, remote.Target{Host: dove.Host, Port: dove.POP3SPort, TLS: account.Direct}, fault.TLS, "not trusted"},
		{"untrusted, STLS", untrusting, remote.Target{Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect}, fault.TLS, "not trusted"},
		{"TLS is required", dialer(nil), remote.Target{Host: strict.Host, Port: strict.POP3Port, TLS: account.Disable}, fault.TLS, "wants TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.target.Username, c.target.Password = "alice", canary
			refused(t, c.d, c.target, c.kind, c.words)
		})
	}
}

func TestCredentialsThatBreakOut(t *testing.T) {
	t.Parallel()
	s := testenv.NewScript(t, "S: +OK\n") // any command would break the dialogue
	d := dialer(nil)
	d.Limits.Command = time.Second
	for _, target := range []remote.Target{
		{Username: "alice\r\nDELE 1", Password: canary},
		{Username: "alice", Password: canary + "\nDELE 1"},
		{Username: "alice", Password: canary + "\rx"},
		{Username: "alice\x00", Password: canary},
	} {
		target.Host, target.Port = "localhost", s.Port
		refused(t, d, target, fault.Policy, "CR, LF or NUL")
	}
	refused(t, d, remote.Target{Host: "localhost", Port: s.Port, Username: "alice"}, fault.Auth, "missing")
}

func TestAPOPWithDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotUsers("alice"), testenv.DovecotExtra("auth_mechanisms = plain login apop"))
	s, err := pop3.Dial(t.Context(), dialer(dove.Pool), remote.Target{
		Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect, Username: "alice", Password: dove.Password, APOP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, 10*time.Second, "Dovecot logs the method", func() bool {
		return strings.Contains(dove.Log(), "method=APOP")
	})
}

func TestDetectWithoutTLS(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS())
	s, err := pop3.Dial(t.Context(), dialer(dove.Pool), remote.Target{
		Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect, Username: "alice", Password: dove.Password,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if s.Info().TLS != "none" || !strings.HasPrefix(s.Info().Address, "127.0.0.1:") {
		t.Errorf("%+v", s.Info())
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t)
	d := dialer(dove.Pool)
	d.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	resumed := 0
	d.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.DidResume {
			resumed++
		}
		return nil
	}
	for range 3 {
		s, err := pop3.Dial(t.Context(), d, remote.Target{
			Host: dove.Host, Port: dove.POP3SPort, TLS: account.Direct, Username: "alice", Password: dove.Password,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if resumed != 2 {
		t.Errorf("%d of 3 sessions continued an earlier one", resumed)
	}
}

func TestInUseWithDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword(canary), testenv.DovecotExtra("mail_max_userip_connections = 1"))
	target := remote.Target{Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect, Username: "alice", Password: canary}
	var err error
	testenv.Eventually(t, 10*time.Second, "a second session is refused", func() bool {
		s, again := pop3.Dial(t.Context(), dialer(dove.Pool), target)
		if err = again; err == nil { // Dovecot counts a session a moment after its login
			t.Cleanup(s.Abort)
		}
		return err != nil
	})
	if fault.KindOf(err) != fault.InUse || !strings.Contains(err.Error(), "[IN-USE]") {
		t.Error(err)
	}
}
