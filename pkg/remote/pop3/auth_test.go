package pop3_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Every mechanism that Dovecot knows, with the right password and with a wrong one.
func TestMechanismsWithDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword(canary),
		testenv.DovecotExtra("auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256"))
	for _, tt := range []struct {
		auth account.Auth
		mode account.TLSMode
		want string
	}{
		{account.AuthAuto, account.Detect, "SCRAM-SHA-256"},
		{account.AuthAuto, account.Disable, "SCRAM-SHA-256"},
		{account.AuthScramSHA256, account.Detect, "SCRAM-SHA-256"},
		{account.AuthScramSHA1, account.Detect, "SCRAM-SHA-1"},
		{account.AuthScramSHA1, account.Disable, "SCRAM-SHA-1"},
		{account.AuthCramMD5, account.Disable, "CRAM-MD5"},
		{account.AuthPlain, account.Detect, "PLAIN"},
		{account.AuthLogin, account.Detect, "LOGIN"},
		{account.AuthUserPass, account.Disable, "password command"},
	} {
		t.Run(string(tt.auth)+" "+string(tt.mode), func(t *testing.T) {
			t.Parallel()
			target := remote.Target{Host: dove.Host, Port: dove.POP3Port, TLS: tt.mode, Username: "alice", Password: canary, Auth: tt.auth}
			s, err := pop3.Dial(t.Context(), dialer(dove.Pool), target)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Abort()
			if got := s.Info().Mechanism; got != tt.want {
				t.Errorf("signed in with %s, want %s", got, tt.want)
			}
			if l, err := s.List(t.Context()); err != nil || !l.Complete {
				t.Error(l, err)
			}
			target.Password += "x"
			_, err = pop3.Dial(t.Context(), dialer(dove.Pool), target)
			if fault.KindOf(err) != fault.Auth || strings.Contains(err.Error(), canary) {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
	t.Run("scram-sha-256-plus is not offered", func(t *testing.T) {
		t.Parallel()
		_, err := pop3.Dial(t.Context(), dialer(dove.Pool), remote.Target{
			Host: dove.Host, Port: dove.POP3Port, TLS: account.Detect, Username: "alice", Password: canary, Auth: account.AuthScramSHA256Plus,
		})
		if fault.KindOf(err) != fault.AuthWithdrawn || !strings.Contains(err.Error(), "SCRAM-SHA-256") {
			t.Error(err)
		}
	})
}
