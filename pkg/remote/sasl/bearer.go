package sasl

import (
	"encoding/json"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/mailferry/mailferry/pkg/fault"
)

// bearer signs in with an OAuth 2.0 access token: OAUTHBEARER (RFC 7628), or XOAUTH2, which Google and
// Microsoft describe. A server that refuses says why in a challenge first, and wants an answer to it: 0x01
// (RFC 7628 §3.2.3), or nothing.
type bearer struct {
	Credentials
	a *Attempt
}

// saslname is how a name stands in a GS2 header (RFC 5801 §4).
var saslname = strings.NewReplacer("=", "=3D", ",", "=2C")

func (b *bearer) Start() (string, []byte, error) {
	if b.a.Mechanism == XOAuth2 {
		return string(XOAuth2), xoauth2Message(b.Credentials), nil
	}
	return gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{
		Username: saslname.Replace(b.Username), Token: b.Token, Host: b.Host, Port: b.Port,
	}).Start()
}

func xoauth2Message(c Credentials) []byte {
	return []byte("user=" + c.Username + "\x01auth=Bearer " + c.Token + "\x01\x01")
}

func (b *bearer) Next(challenge []byte) ([]byte, error) {
	if b.a.refused != nil {
		return nil, gosasl.ErrUnexpectedServerChallenge
	}
	var said struct {
		Status string `json:"status"`
		Scope  string `json:"scope"`
	}
	_ = json.Unmarshal(challenge, &said) // in words or not, it is a refusal
	text := "the server does not accept the token"
	if said.Status != "" {
		text += ", status " + fault.Clean(withhold(said.Status, b.Credentials))
	}
	if said.Scope != "" {
		text += ", it wants the scope " + fault.Clean(withhold(said.Scope, b.Credentials))
	}
	b.a.refused = fault.Errorf(fault.Auth, b.a.op(), "%s", text)
	if b.a.Mechanism == OAuthBearer {
		return []byte{1}, nil
	}
	return []byte{}, nil
}

// withhold keeps text that repeats the token out of errors.
func withhold(text string, c Credentials) string {
	for _, s := range c.Secrets() {
		if strings.Contains(text, s) {
			return "(withheld)"
		}
	}
	return text
}
