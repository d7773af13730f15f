// Package sasl holds the mechanisms by which a session signs in: SCRAM with and without channel binding
// (RFC 5802, RFC 7677, RFC 9266), CRAM-MD5 (RFC 2195), PLAIN (RFC 4616), LOGIN, OAUTHBEARER (RFC 7628) and
// XOAUTH2, each as a client of go-sasl, and the order in which they are chosen.
//
// One attempt is made: another one would count as another wrong password. Only a mechanism that the server
// refuses as unknown before anything secret went out gives way to the next one. A mechanism that was named
// never gives way to another.
package sasl

import (
	"slices"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// Mechanism is the name of a SASL mechanism as it goes over the wire, or [Command].
type Mechanism string

// The mechanisms.
const (
	ScramSHA256Plus Mechanism = "SCRAM-SHA-256-PLUS"
	ScramSHA1Plus   Mechanism = "SCRAM-SHA-1-PLUS"
	ScramSHA256     Mechanism = "SCRAM-SHA-256"
	ScramSHA1       Mechanism = "SCRAM-SHA-1"
	CramMD5         Mechanism = "CRAM-MD5"
	Plain           Mechanism = "PLAIN"
	Login           Mechanism = "LOGIN"
	OAuthBearer     Mechanism = "OAUTHBEARER"
	XOAuth2         Mechanism = "XOAUTH2"
	// Command stands for the protocol's own way to say a password: USER and PASS, or the command LOGIN.
	Command Mechanism = "password command"
)

// Within TLS what protects a password at rest comes first, then what servers have in working order:
// CRAM-MD5 makes a server keep the password itself, is often broken, and protects nothing that TLS does not.
// In plain text what keeps the password off the wire comes before what does not.
var (
	withinTLS = []Mechanism{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain, Login, Command, CramMD5}
	inClear   = []Mechanism{ScramSHA256, ScramSHA1, CramMD5, Plain, Login, Command}
	tokens    = []Mechanism{OAuthBearer, XOAuth2}
)

var named = map[account.Auth]Mechanism{
	account.AuthUserPass: Command, account.AuthPlain: Plain, account.AuthLogin: Login, account.AuthCramMD5: CramMD5,
	account.AuthScramSHA1: ScramSHA1, account.AuthScramSHA256: ScramSHA256,
	account.AuthScramSHA1Plus: ScramSHA1Plus, account.AuthScramSHA256Plus: ScramSHA256Plus,
}

// Offer is what a server says about signing in.
type Offer struct {
	// Mechanisms are the names of its SASL mechanisms, in any case.
	Mechanisms []string
	// Command says that the protocol's own command may be used.
	Command bool
}

// Has says whether the server offers m.
func (o Offer) Has(m Mechanism) bool {
	if m == Command {
		return o.Command
	}
	return slices.ContainsFunc(o.Mechanisms, func(s string) bool { return strings.EqualFold(s, string(m)) })
}

// Choices returns what may be tried, in this order; none if the server offers nothing that auth allows.
// -PLUS needs a channel binding.
func (o Offer) Choices(auth account.Auth, c Credentials) []Mechanism {
	order := inClear
	if c.TLS != nil {
		order = withinTLS
	}
	if auth == account.OAuth2 {
		order = tokens
	} else if m, ok := named[auth]; ok {
		order = []Mechanism{m}
	}
	bound := c.binding().IsSupported()
	var out []Mechanism
	for _, m := range order {
		if o.Has(m) && (bound || !m.plus()) {
			out = append(out, m)
		}
	}
	return out
}

func (m Mechanism) plus() bool { return strings.HasSuffix(string(m), "-PLUS") }
