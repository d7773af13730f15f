// Package providers knows the large mail providers: their servers, what they want of a user name, and what an
// owner has to do there first. It is a table (providers.json); nothing is looked up in the network.
package providers

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Provider is one entry of the table.
type Provider struct {
	// Name is a word for the command line, Title what people call it.
	Name, Title string
	// Domains of its addresses; none where each customer has one of his own.
	Domains []string
	// Hosts are names under which its servers are known beside those below.
	Hosts      []string
	IMAP, POP3 *Endpoint
	// Username is "local-part" where the server does not take the whole address.
	Username string
	// OAuth names its OAuth 2.0 provider; OAuthOnly says that it takes no password.
	OAuth     string
	OAuthOnly bool `json:"oauth_only"`
	// Notes are what an owner has to know.
	Notes []string
	// Closed says why nothing can be collected there.
	Closed string
}

// Endpoint is a server of a provider. Its port is the standard one of TLS, from the first byte.
type Endpoint struct {
	Host string
	// MinInterval is the shortest time between two sessions that the server bears.
	MinInterval Duration `json:"min_interval"`
	// Idle is how often IDLE is to be asked for again, where it is shorter than RFC 2177 says.
	Idle Duration
	// LenientDot is that of an account.
	LenientDot bool `json:"lenient_dot"`
	Notes      []string
}

// Duration is written like 15m.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

//go:embed providers.json
var table []byte

var load = sync.OnceValues(func() ([]Provider, error) {
	var all []Provider
	d := json.NewDecoder(bytes.NewReader(table))
	d.DisallowUnknownFields()
	err := d.Decode(&all)
	return all, err
})

// All returns the table. It is not to be changed.
func All() []Provider {
	all, err := load()
	if err != nil {
		panic(fmt.Sprintf("providers.json: %v", err)) // a test reads it
	}
	return all
}

// find returns the first provider that is is true for.
func find(is func(Provider) bool) (Provider, bool) {
	i := slices.IndexFunc(All(), is)
	if i < 0 {
		return Provider{}, false
	}
	return All()[i], true
}

// Named returns the provider of that name.
func Named(name string) (Provider, bool) {
	return find(func(p Provider) bool { return strings.EqualFold(p.Name, name) })
}

// ByAddress returns the provider of an address, or of its domain alone.
func ByAddress(address string) (Provider, bool) {
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	return find(func(p Provider) bool { return slices.Contains(p.Domains, domain) })
}

// ByHost returns the provider that has a server of that name.
func ByHost(host string) (Provider, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return find(func(p Provider) bool {
		return slices.Contains(p.Hosts, host) || p.IMAP != nil && p.IMAP.Host == host || p.POP3 != nil && p.POP3.Host == host
	})
}

// Of returns the server for a protocol, nil if there is none.
func (p Provider) Of(protocol account.Protocol) *Endpoint {
	if protocol == account.POP3 {
		return p.POP3
	}
	return p.IMAP
}

// NotesFor returns what an owner has to know who uses the protocol.
func (p Provider) NotesFor(protocol account.Protocol) []string {
	notes := slices.Clone(p.Notes)
	if e := p.Of(protocol); e != nil {
		notes = append(notes, e.Notes...)
	}
	return notes
}

// Fill writes what the provider knows into those of protocol, host, TLS mode, user name, way to sign in and interval
// that are not set: IMAP unless POP3 is asked for, or is all there is. An account with a host of its own stays as it is.
// Its error is an *account.Error.
func (p Provider) Fill(a *account.Account, address string) error {
	if a.Host != "" {
		return nil
	}
	if p.Closed != "" {
		return &account.Error{Field: "address", Reason: p.Title + ": " + p.Closed}
	}
	if a.Protocol == "" {
		a.Protocol = account.IMAP
		if p.IMAP == nil {
			a.Protocol = account.POP3
		}
	}
	e := p.Of(a.Protocol)
	if e == nil {
		return &account.Error{Field: "protocol", Reason: fmt.Sprintf("%s has no server for %s", p.Title, a.Protocol)}
	}
	a.Host = e.Host
	if a.TLS == "" {
		a.TLS = account.Direct
	} else if a.TLS != account.Direct {
		return &account.Error{Field: "tls", Reason: fmt.Sprintf("%s is reached with direct; name a host with another mode", e.Host)}
	}
	if a.Username == "" {
		a.Username = address
		if local, _, ok := strings.Cut(address, "@"); ok && p.Username == "local-part" {
			a.Username = local
		}
	}
	if p.OAuthOnly && (a.Auth == "" || a.Auth == account.OAuth2) && a.OAuthProvider == "" {
		a.Auth, a.OAuthProvider = account.OAuth2, p.OAuth
	}
	if a.Interval == 0 {
		a.Interval = time.Duration(e.MinInterval)
	}
	a.LenientDot = a.LenientDot || e.LenientDot
	return nil
}

// Proto returns the wire form.
func (p Provider) Proto() *mailferryv1.Provider {
	out := &mailferryv1.Provider{
		Name: p.Name, Title: p.Title, Domains: p.Domains, Imap: p.IMAP.proto(993), Pop3: p.POP3.proto(995), Username: "address",
		Oauth: p.OAuth, OauthOnly: p.OAuthOnly, Notes: p.Notes, Closed: p.Closed,
	}
	if p.Username != "" {
		out.Username = p.Username
	}
	return out
}

func (e *Endpoint) proto(port int32) *mailferryv1.Endpoint {
	if e == nil {
		return nil
	}
	out := &mailferryv1.Endpoint{
		Host: e.Host, Port: port, Tls: mailferryv1.TlsMode_TLS_MODE_DIRECT, Notes: e.Notes, LenientDot: e.LenientDot,
	}
	if e.MinInterval > 0 {
		out.MinInterval = durationpb.New(time.Duration(e.MinInterval))
	}
	if e.Idle > 0 {
		out.Idle = durationpb.New(time.Duration(e.Idle))
	}
	return out
}
