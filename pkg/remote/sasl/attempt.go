package sasl

import (
	"crypto/tls"
	"encoding/base64"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Credentials are what a mechanism signs in with.
type Credentials struct {
	Username, Password string
	// Token is an OAuth 2.0 access token; with one there is no Password.
	Token string
	// Host and Port of the server, as the account names them (RFC 7628 §3.1).
	Host string
	Port int
	// TLS is the state of the connection, nil in plain text.
	TLS *tls.ConnectionState
}

// Secrets are the forms in which the credentials go over the wire; a server that repeats one is not quoted.
func (c Credentials) Secrets() []string {
	var all []string
	add := func(secret, message string) {
		if secret != "" {
			all = append(all, secret, base64.StdEncoding.EncodeToString([]byte(secret)),
				base64.StdEncoding.EncodeToString([]byte(message)))
		}
	}
	add(c.Password, "\x00"+c.Username+"\x00"+c.Password)
	add(c.Token, string(xoauth2Message(c)))
	return all
}

// maxSteps bounds the challenges of one attempt.
const maxSteps = 8

// Attempt is one attempt to sign in with one mechanism. It is a go-sasl client.
type Attempt struct {
	Mechanism Mechanism

	client gosasl.Client
	// secretFirst says that the initial response holds a secret.
	secretFirst bool
	steps       int
	sent        bool  // something secret went out
	refused     error // what the server said of itself in a challenge
}

var _ gosasl.Client = (*Attempt)(nil)

// New returns an attempt with m, which [Offer.Choices] has chosen of the offer.
func New(m Mechanism, c Credentials, o Offer) (*Attempt, error) {
	a := &Attempt{Mechanism: m}
	switch m {
	case Plain:
		a.client, a.secretFirst = gosasl.NewPlainClient("", c.Username, c.Password), true
	case Login:
		a.client = &login{username: c.Username, password: c.Password}
	case CramMD5:
		a.client = &cramMD5{username: c.Username, password: c.Password}
	case OAuthBearer, XOAuth2:
		if c.TLS == nil {
			return nil, fault.Errorf(fault.TLS, "oauth2", "a token goes over TLS only, and the session with this server has none")
		}
		a.client, a.secretFirst = &bearer{a: a, Credentials: c}, true
	case ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1:
		var err error
		a.client, err = newScram(a, c, o, nil)
		return a, err
	default:
		return nil, fault.Errorf(fault.Internal, "sasl", "%s is no SASL mechanism", m)
	}
	return a, nil
}

// Start returns the mechanism's name and its initial response, nil where the server speaks first.
func (a *Attempt) Start() (mech string, ir []byte, err error) {
	_, ir, err = a.client.Start()
	return string(a.Mechanism), ir, err
}

// Next answers a challenge. After an error the exchange has to be cancelled.
func (a *Attempt) Next(challenge []byte) ([]byte, error) {
	if a.steps++; a.steps > maxSteps {
		return nil, fault.Errorf(fault.Protocol, a.op(), "the server asks for more than %d answers", maxSteps)
	}
	response, err := a.client.Next(challenge)
	if _, ok := a.client.(*scramClient); !ok {
		a.sent = true
	}
	return response, fault.Wrap(fault.Protocol, a.op(), err)
}

// InitialSent says that the initial response went out.
func (a *Attempt) InitialSent() { a.sent = a.sent || a.secretFirst }

// Accepted is asked when the server said yes: it returns an error if that is not enough, since a server
// that speaks SCRAM has to prove that it knows the password too (RFC 5802 §5.1).
func (a *Attempt) Accepted() error {
	if s, ok := a.client.(*scramClient); ok && !s.conv.Valid() {
		return fault.Errorf(fault.Protocol, a.op(), "the server signs us in without a proof that it knows the password")
	}
	return nil
}

// Refused makes an error of the server's no: what it said in a challenge before, if anything, says more
// than err does.
func (a *Attempt) Refused(err error) error {
	if a.refused != nil && fault.KindOf(err) == fault.Auth {
		return a.refused
	}
	return err
}

// Unknown says whether the server's no, with this text, means that it does not know the mechanism or its
// channel binding, and nothing secret went out: the next one may be tried.
func (a *Attempt) Unknown(text string) bool {
	if a.sent {
		return false
	}
	if a.refused != nil {
		text = a.refused.Error()
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(unknownWords, func(w string) bool { return strings.Contains(text, w) })
}

// unknownWords are those of servers that do not know a mechanism.
var unknownWords = []string{
	"mechanism", "authentication type", "authentication method", "unsupported", "not supported", "not implemented",
	"unknown command", "unrecognized", "channel-binding",
}

func (a *Attempt) op() string { return "sasl " + strings.ToLower(string(a.Mechanism)) }
