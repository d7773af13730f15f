package cli

import (
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/account/providers"
)

// Source says where an account's mail comes from. What is not named is filled in by the provider of the address, or
// stays as it is.
type Source struct {
	Address       string         `placeholder:"ADDRESS" help:"The address whose mail is collected: where its provider is known, that fills in what is not said here (mailferry providers list)."`
	Preset        string         `placeholder:"NAME" help:"The provider of an address in a domain of its owner's, by name."`
	Protocol      *string        `enum:"pop3,imap" help:"Protocol of the remote server: ${enum}."`
	Host          *string        `placeholder:"HOST[:PORT]" help:"The remote server."`
	Username      *string        `help:"User name at the remote server."`
	TLS           *string        `name:"tls" enum:"detect,direct,disable" help:"How the session is secured: detect (upgrade when offered; the default), direct (from the first byte) or disable."`
	Interval      *time.Duration `placeholder:"DURATION" help:"Fetch at this interval instead of the global one."`
	Auth          *string        `enum:"auto,user-pass,plain,login,cram-md5,scram-sha-1,scram-sha-256,scram-sha-1-plus,scram-sha-256-plus,oauth2" placeholder:"auto" help:"How to sign in: auto (the strongest way the server offers), user-pass (the protocol's own command), oauth2, or a SASL mechanism, which never gives way to another: plain, login, cram-md5, scram-sha-1, scram-sha-256, the last two also with -plus."`
	OAuthProvider *string        `name:"oauth-provider" placeholder:"NAME" help:"With --auth oauth2: google, microsoft or another provider of this installation."`
	APOP          *bool          `name:"apop" negatable:"" help:"POP3: sign in with APOP only."`
	LenientDot    *bool          `negatable:"" help:"POP3: also take a dot at the end of the last line as the end of a message, once the server falls silent (Exchange 2000)."`
	After         *string        `enum:"leave,delete,move" help:"What happens to a message at the remote server once its destination accepted it: leave (the default), delete or move."`
}

// connects says whether the command line says where the mail comes from, or who signs in there.
func (s *Source) connects() bool {
	rest := *s
	rest.Interval, rest.After = nil, nil
	return rest != Source{}
}

// check refuses what is too little for a new account.
func (s *Source) check() error {
	if s.Address == "" && s.Preset == "" && (s.Protocol == nil || s.Host == nil || s.Username == nil) {
		return usage("where does the mail come from? Give --address, whose provider fills in the rest, or --protocol, --host and --username")
	}
	return nil
}

// apply writes what was named into the account.
func (s *Source) apply(a *account.Account) {
	set(&a.Protocol, s.Protocol)
	set(&a.Host, s.Host)
	set(&a.Username, s.Username)
	set(&a.TLS, s.TLS)
	set(&a.Auth, s.Auth)
	set(&a.OAuthProvider, s.OAuthProvider)
	set(&a.After, s.After)
	change(&a.Interval, s.Interval)
	change(&a.APOP, s.APOP)
	change(&a.LenientDot, s.LenientDot)
}

// provider returns the one that fills in the account.
func (s *Source) provider(a account.Account) (providers.Provider, bool) {
	switch {
	case a.Host != "":
		return providers.Provider{}, false
	case s.Preset != "":
		return providers.Named(s.Preset)
	}
	return providers.ByAddress(s.Address)
}

// password says what the owner has to know of the provider before it reads the password, "" where none is needed.
func (s *Source) password(env *Env, from *Password, a account.Account) (string, error) {
	p, ok := s.provider(a)
	if ok && !env.json {
		if a.Protocol == "" && p.IMAP == nil {
			a.Protocol = account.POP3
		}
		for _, note := range p.NotesFor(a.Protocol) {
			_, _ = fmt.Fprintf(env.Stderr, "note: %s\n", note)
		}
	}
	if a.Auth == account.OAuth2 || ok && a.Auth == "" && p.OAuthOnly || ok && p.Closed != "" {
		return "", nil
	}
	return from.read(env, a.Ref())
}
