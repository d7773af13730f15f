package imap_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
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
			target := remote.Target{Host: dove.Host, Port: dove.IMAPPort, TLS: tt.mode, Username: "alice", Password: canary, Auth: tt.auth}
			s, err := imap.Dial(t.Context(), dialer(dove.Pool), target)
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
			_, err = imap.Dial(t.Context(), dialer(dove.Pool), target)
			if fault.KindOf(err) != fault.Auth || strings.Contains(err.Error(), canary) {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
	t.Run("scram-sha-256-plus is not offered", func(t *testing.T) {
		t.Parallel()
		_, err := imap.Dial(t.Context(), dialer(dove.Pool), remote.Target{
			Host: dove.Host, Port: dove.IMAPPort, TLS: account.Detect, Username: "alice", Password: canary, Auth: account.AuthScramSHA256Plus,
		})
		if fault.KindOf(err) != fault.AuthWithdrawn || !strings.Contains(err.Error(), "SCRAM-SHA-256") {
			t.Error(err)
		}
	})
}

// Dialogues that no real server holds. Where nothing is said of a mode it is TLS from the first byte.
func TestSigningIn(t *testing.T) {
	t.Parallel()
	const (
		alice = "AGFsaWNlAGNBbmFyeS03ZjNh"
		token = "tOken-9c1d"
		ends  = "S: H1 OK [CAPABILITY IMAP4rev1] in\n"
	)
	greets := func(caps string) string { return "TLS\nS: * OK [CAPABILITY IMAP4rev1 " + caps + "] ready\n" }
	for name, tt := range map[string]struct {
		auth     account.Auth
		dialogue string
		kind     fault.Kind
		text     string // of the error, or the mechanism
	}{
		"PLAIN in two steps": {account.AuthPlain, greets("AUTH=PLAIN") + "C: H1 AUTHENTICATE PLAIN\nS: + \nC: " + alice + "\n" + ends, fault.None, "PLAIN"},
		"LOGIN": {account.AuthLogin, greets("SASL-IR AUTH=LOGIN") + "C: H1 AUTHENTICATE LOGIN\nS: + VXNlciBOYW1lAA==\nC: YWxpY2U=\n" +
			"S: + UGFzc3dvcmQA\nC: Y0FuYXJ5LTdmM2E=\n" + ends, fault.None, "LOGIN"},
		"the command": {account.AuthUserPass, greets("SASL-IR AUTH=PLAIN") + "C: H1 LOGIN \"alice\" \"cAnary-7f3a\"\n" + ends, fault.None, "password command"},
		"one that is not known": {account.AuthAuto, greets("SASL-IR AUTH=SCRAM-SHA-1 AUTH=PLAIN") + "C? H1 AUTHENTICATE SCRAM-SHA-1 \n" +
			"S: H1 NO Unsupported authentication mechanism.\nC: H2 AUTHENTICATE PLAIN " + alice + "\nS: H2 OK [CAPABILITY IMAP4rev1] in\n", fault.None, "PLAIN"},
		"a wrong password is one attempt": {account.AuthAuto, greets("SASL-IR AUTH=SCRAM-SHA-1 AUTH=PLAIN") + "C? H1 AUTHENTICATE SCRAM-SHA-1 \n" +
			"S: H1 NO [AUTHENTICATIONFAILED] mechanism failed\n", fault.Auth, "AUTHENTICATIONFAILED"},
		"a named one that is not known": {account.AuthScramSHA1, greets("SASL-IR AUTH=SCRAM-SHA-1 AUTH=PLAIN") + "C? H1 AUTHENTICATE SCRAM-SHA-1 \n" +
			"S: H1 NO Unsupported authentication mechanism.\n", fault.Auth, "Unsupported"},
		"no proof of the server": {account.AuthAuto, greets("SASL-IR AUTH=SCRAM-SHA-1") + "C? H1 AUTHENTICATE SCRAM-SHA-1 \n" + ends, fault.Protocol, "without a proof"},
		"a costly SCRAM": {account.AuthAuto, greets("SASL-IR AUTH=SCRAM-SHA-1") + "C? H1 AUTHENTICATE SCRAM-SHA-1 \n" +
			"S: + cj14LHM9UVE9PSxpPTk5OTk5OTk5\nC: *\n", fault.Protocol, "99999999 iterations"},
		"XOAUTH2": {account.OAuth2, greets("SASL-IR AUTH=PLAIN AUTH=XOAUTH2") + "C: H1 AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0T2tlbi05YzFkAQE=\n" +
			ends, fault.None, "XOAUTH2"},
		"XOAUTH2 refused": {account.OAuth2, greets("SASL-IR AUTH=XOAUTH2") + "C? H1 AUTHENTICATE XOAUTH2 \n" +
			"S: + eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==\nC: \nS: H1 NO [AUTHENTICATIONFAILED] no\n", fault.Auth, "status 400"},
		"OAUTHBEARER refused": {account.OAuth2, greets("AUTH=XOAUTH2 AUTH=OAUTHBEARER") + "C: H1 AUTHENTICATE OAUTHBEARER\nS: +\nANY\n" +
			"S: + eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\nS: H1 NO no\n", fault.Auth, "invalid_token"},
		"no OAUTH": {account.OAuth2, greets("SASL-IR AUTH=PLAIN"), fault.AuthWithdrawn, "its mechanisms: PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.NewScript(t, tt.dialogue)
			target := local(s.Port)
			target.TLS, target.Auth = account.Direct, tt.auth
			if tt.auth == account.OAuth2 {
				target.Token, target.Password = token, ""
			}
			session, err := imap.Dial(t.Context(), brief(dialer(s.CA.Pool)), target)
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
				if err != nil && strings.Contains(err.Error(), token) {
					t.Error("the token shows:", err)
				}
				wholly(t, s)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer session.Abort()
			if got := session.Info().Mechanism; got != tt.text {
				t.Errorf("signed in with %q, want %q", got, tt.text)
			}
		})
	}
}
