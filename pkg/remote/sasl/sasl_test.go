package sasl_test

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// The order of auto, and that a named mechanism stands alone.
func TestChoices(t *testing.T) {
	t.Parallel()
	all := sasl.Offer{Command: true, Mechanisms: []string{
		"LOGIN", "plain", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "XOAUTH2", "OAUTHBEARER", "GSSAPI",
	}}
	client, _ := connected(t, tls.VersionTLS13)
	within := sasl.Credentials{TLS: &client}
	for name, tt := range map[string]struct {
		offer sasl.Offer
		auth  account.Auth
		c     sasl.Credentials
		want  []sasl.Mechanism
	}{
		"within TLS": {all, account.AuthAuto, within, []sasl.Mechanism{
			sasl.ScramSHA256Plus, sasl.ScramSHA1Plus, sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain, sasl.Login, sasl.Command, sasl.CramMD5,
		}},
		"in clear": {all, account.AuthAuto, sasl.Credentials{}, []sasl.Mechanism{
			sasl.ScramSHA256, sasl.ScramSHA1, sasl.CramMD5, sasl.Plain, sasl.Login, sasl.Command,
		}},
		"of an old record":        {sasl.Offer{Command: true}, "", within, []sasl.Mechanism{sasl.Command}},
		"a named one":             {all, account.AuthCramMD5, within, []sasl.Mechanism{sasl.CramMD5}},
		"a named one, missing":    {sasl.Offer{Command: true}, account.AuthScramSHA256, within, nil},
		"the command":             {all, account.AuthUserPass, within, []sasl.Mechanism{sasl.Command}},
		"the command, forbidden":  {sasl.Offer{Mechanisms: []string{"PLAIN"}}, account.AuthUserPass, within, nil},
		"-PLUS in clear":          {all, account.AuthScramSHA256Plus, sasl.Credentials{}, nil},
		"-PLUS without a binding": {all, account.AuthScramSHA256Plus, sasl.Credentials{TLS: &tls.ConnectionState{Version: tls.VersionTLS12}}, nil},
		"oauth2":                  {all, account.OAuth2, within, []sasl.Mechanism{sasl.OAuthBearer, sasl.XOAuth2}},
		"oauth2 of Microsoft":     {sasl.Offer{Command: true, Mechanisms: []string{"PLAIN", "XOAUTH2"}}, account.OAuth2, within, []sasl.Mechanism{sasl.XOAuth2}},
		"no oauth2":               {sasl.Offer{Command: true, Mechanisms: []string{"PLAIN"}}, account.OAuth2, within, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.offer.Choices(tt.auth, tt.c); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// connected returns both ends of a TLS connection of a version.
func connected(t *testing.T, version uint16) (client, server tls.ConnectionState) {
	t.Helper()
	ca := testenv.NewCA(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{ca.Issue("localhost")}, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	c := tls.Client(a, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", MaxVersion: version})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if version == tls.VersionTLS13 { // tickets come behind the handshake
		go func() { _, _ = c.Read(make([]byte, 1)) }()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

// scramServer knows one user.
func scramServer(t *testing.T) *scram.Server {
	t.Helper()
	client, err := scram.SHA256.NewClient("user", "pencil", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "0123456789abcdef", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// play runs an attempt against a conversation and returns the server's error, and the client's.
func play(t *testing.T, a *sasl.Attempt, server *scram.ServerConversation) (serverErr, clientErr error) {
	t.Helper()
	_, message, err := a.Start()
	if err != nil {
		t.Fatal(err)
	}
	for !server.Done() {
		reply, err := server.Step(string(message))
		if message, clientErr = a.Next([]byte(reply)); clientErr != nil || err != nil {
			return err, clientErr
		}
	}
	return nil, nil
}

// -PLUS binds the exchange to the TLS connection, with tls-exporter or tls-unique: one that somebody in
// between has taken over to another connection fails.
func TestScramPlusBindsToTheConnection(t *testing.T) {
	t.Parallel()
	offer := sasl.Offer{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}}
	for name, version := range map[string]uint16{"tls-exporter": tls.VersionTLS13, "tls-unique": tls.VersionTLS12} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binding := func(s *tls.ConnectionState) scram.ChannelBinding {
				if version == tls.VersionTLS12 {
					return scram.NewTLSUniqueBinding(s.TLSUnique)
				}
				b, err := scram.NewTLSExporterBinding(s)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			client, server := connected(t, version)
			c := sasl.Credentials{Username: "user", Password: "pencil", TLS: &client}
			if got := offer.Choices(account.AuthAuto, c); len(got) == 0 || got[0] != sasl.ScramSHA256Plus {
				t.Fatal(got)
			}
			a, err := sasl.New(sasl.ScramSHA256Plus, c, offer)
			if err != nil {
				t.Fatal(err)
			}
			conv := scramServer(t).NewConversationWithChannelBindingRequired(binding(&server))
			if serr, cerr := play(t, a, conv); serr != nil || cerr != nil || a.Accepted() != nil || !conv.Valid() {
				t.Fatal(serr, cerr, a.Accepted())
			}

			_, other := connected(t, version)
			a, err = sasl.New(sasl.ScramSHA256Plus, c, offer)
			if err != nil {
				t.Fatal(err)
			}
			conv = scramServer(t).NewConversationWithChannelBindingRequired(binding(&other))
			if serr, _ := play(t, a, conv); serr == nil || a.Accepted() == nil || conv.Valid() {
				t.Error("another connection is taken for ours", serr)
			}
		})
	}
}

// A server that offers -PLUS and hears from a client that saw no such offer knows that it was hidden.
func TestScramTellsThatPlusWasHidden(t *testing.T) {
	t.Parallel()
	client, server := connected(t, tls.VersionTLS13)
	a, err := sasl.New(sasl.ScramSHA256, sasl.Credentials{Username: "user", Password: "pencil", TLS: &client},
		sasl.Offer{Mechanisms: []string{"SCRAM-SHA-256"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := scram.NewTLSExporterBinding(&server)
	if err != nil {
		t.Fatal(err)
	}
	if serr, _ := play(t, a, scramServer(t).NewConversationWithChannelBinding(b)); serr == nil {
		t.Error("the server saw nothing")
	}
}

// RFC 7628 §4.1, and the answers to a server's refusal.
func TestBearer(t *testing.T) {
	t.Parallel()
	const token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
	c := sasl.Credentials{Username: "user@example.com", Token: token, Host: "server.example.com", Port: 143, TLS: &tls.ConnectionState{}}
	for m, want := range map[sasl.Mechanism]struct{ first, answer string }{
		sasl.OAuthBearer: {"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + token + "\x01\x01", "\x01"},
		sasl.XOAuth2:     {"user=user@example.com\x01auth=Bearer " + token + "\x01\x01", ""},
	} {
		a, err := sasl.New(m, c, sasl.Offer{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ir, err := a.Start(); string(ir) != want.first || err != nil {
			t.Errorf("%s: %q %v", m, ir, err)
		}
		r, err := a.Next([]byte(`{"status":"invalid_token","schemes":"bearer","scope":"https://example.com/ ` + token + `"}`))
		if r == nil || string(r) != want.answer || err != nil {
			t.Errorf("%s: %q %v", m, r, err)
		}
		refused := a.Refused(fault.Errorf(fault.Auth, "x", "no"))
		if s := refused.Error(); fault.KindOf(refused) != fault.Auth || s != "sasl "+map[sasl.Mechanism]string{
			sasl.OAuthBearer: "oauthbearer", sasl.XOAuth2: "xoauth2"}[m]+": the server does not accept the token, status invalid_token, it wants the scope (withheld)" {
			t.Error(refused)
		}
	}
	c.TLS = nil
	if _, err := sasl.New(sasl.XOAuth2, c, sasl.Offer{}); fault.KindOf(err) != fault.TLS {
		t.Errorf("a token in plain text: %v", err)
	}
}

// Only a mechanism that the server does not know, and before anything secret went out, gives way.
func TestUnknown(t *testing.T) {
	t.Parallel()
	c := sasl.Credentials{Username: "user", Password: "pencil"}
	attempt := func(m sasl.Mechanism) *sasl.Attempt {
		a, err := sasl.New(m, c, sasl.Offer{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = a.Start()
		return a
	}
	if !attempt(sasl.ScramSHA256).Unknown("Unsupported authentication mechanism.") {
		t.Error("SCRAM that the server does not know")
	}
	if attempt(sasl.ScramSHA256).Unknown("Authentication failed.") {
		t.Error("a wrong password")
	}
	plain := attempt(sasl.Plain)
	if !plain.Unknown("unknown mechanism") {
		t.Error("PLAIN that was not sent yet")
	}
	plain.InitialSent()
	if plain.Unknown("unknown mechanism") {
		t.Error("PLAIN that was sent")
	}
	cram := attempt(sasl.CramMD5)
	_, _ = cram.Next([]byte("<a@b>"))
	if cram.Unknown("unknown mechanism") {
		t.Error("CRAM-MD5 that was answered")
	}
	unbound := attempt(sasl.ScramSHA256)
	if r, err := unbound.Next([]byte("e=unsupported-channel-binding-type")); len(r) != 0 || err != nil || !unbound.Unknown("Authentication failed") {
		t.Error("a channel binding that the server does not know", err)
	}
}

func TestSecretsAreInTheFormsOfTheWire(t *testing.T) {
	t.Parallel()
	got := sasl.Credentials{Username: "u", Password: "p"}.Secrets()
	if !slices.Contains(got, "p") || !slices.Contains(got, base64.StdEncoding.EncodeToString([]byte("\x00u\x00p"))) || slices.Contains(got, "") {
		t.Error(got)
	}
}
