package providers_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/account/providers"
)

// TestTable makes an account of each entry and each protocol from an address alone.
func TestTable(t *testing.T) {
	t.Parallel()
	names, domains := map[string]bool{}, map[string]string{}
	for _, p := range providers.All() {
		if p.Name == "" || names[p.Name] || p.Title == "" || p.Name != strings.ToLower(p.Name) || strings.ContainsAny(p.Name, " /@") {
			t.Errorf("%q: an entry needs a name of its own, in small letters, and a title", p.Name)
		}
		names[p.Name] = true
		for _, d := range p.Domains {
			if was := domains[d]; was != "" || account.ValidateDomain(d) != nil || d != strings.ToLower(d) {
				t.Errorf("%s: the domain %q is also %s's, or is none", p.Name, d, was)
			}
			domains[d] = p.Name
		}
		if p.Closed == "" && p.IMAP == nil && p.POP3 == nil {
			t.Errorf("%s: no server, and no reason", p.Name)
		}
		if p.Username != "" && p.Username != "local-part" {
			t.Errorf("%s: user name %q", p.Name, p.Username)
		}
		for _, protocol := range []account.Protocol{account.IMAP, account.POP3} {
			if e := p.Of(protocol); e != nil {
				fills(t, p, protocol, e)
			}
		}
	}
}

// fills makes an account of an address.
func fills(t *testing.T, p providers.Provider, protocol account.Protocol, e *providers.Endpoint) {
	t.Helper()
	a := account.Account{Domain: "example.com", Name: p.Name, Protocol: protocol, ForwardTo: "alice@example.com"}
	err := p.Fill(&a, "alice@"+append(p.Domains, "own.example")[0])
	if a = a.WithDefaults(); err == nil {
		err = a.Validate()
	}
	if err != nil || a.Host == "" || a.TLS != account.Direct || a.Interval != time.Duration(e.MinInterval) {
		t.Errorf("%s, %s: %v, %+v", p.Name, protocol, err, a)
	}
	if by, ok := providers.ByHost(strings.ToUpper(e.Host) + "."); !ok || by.Name != p.Name {
		t.Errorf("%s, %s: the host leads to %q", p.Name, protocol, by.Name)
	}
	if e.Idle != 0 && (protocol != account.IMAP || time.Duration(e.Idle) < 30*time.Second || time.Duration(e.Idle) > 29*time.Minute) {
		t.Errorf("%s: idle %v", p.Name, time.Duration(e.Idle)) // RFC 2177: at least every 29 minutes
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, address string
		given, want   account.Account
		refused       string // the field
	}{
		{name: "IMAP by default", address: "Alice@Gmail.com", want: account.Account{Protocol: "imap", Host: "imap.gmail.com", TLS: "direct", Username: "Alice@Gmail.com"}},
		{
			name: "POP3 on request", address: "alice@gmail.com", given: account.Account{Protocol: "pop3"},
			want: account.Account{Protocol: "pop3", Host: "pop.gmail.com", TLS: "direct", Username: "alice@gmail.com", Interval: 10 * time.Minute},
		},
		{
			name: "what is given wins", address: "alice@gmail.com", given: account.Account{Protocol: "pop3", Username: "recent:alice@gmail.com", Interval: time.Minute, Auth: "plain"},
			want: account.Account{Protocol: "pop3", Host: "pop.gmail.com", TLS: "direct", Username: "recent:alice@gmail.com", Interval: time.Minute, Auth: "plain"},
		},
		{name: "a host of its own", address: "alice@gmail.com", given: account.Account{Host: "mail.example.net"}, want: account.Account{Host: "mail.example.net"}},
		{name: "the local part", address: "alice@web.de", want: account.Account{Protocol: "imap", Host: "imap.web.de", TLS: "direct", Username: "alice"}},
		{name: "POP3 is all there is", address: "a@yahoo.co.jp", want: account.Account{Protocol: "pop3", Host: "pop.mail.yahoo.co.jp", TLS: "direct", Username: "a"}},
		{
			name: "no password is taken", address: "a@hotmail.fr",
			want: account.Account{Protocol: "imap", Host: "outlook.office365.com", TLS: "direct", Username: "a@hotmail.fr", Auth: "oauth2", OAuthProvider: "microsoft"},
		},
		{name: "no such server", address: "a@icloud.com", given: account.Account{Protocol: "pop3"}, refused: "protocol"},
		{name: "not without TLS", address: "a@icloud.com", given: account.Account{TLS: "disable"}, refused: "tls"},
		{name: "closed", address: "a@proton.me", refused: "address"},
	}
	for _, tt := range tests {
		p, ok := providers.ByAddress(tt.address)
		if !ok {
			t.Errorf("%s: nobody has %s", tt.name, tt.address)
			continue
		}
		a := tt.given
		err := p.Fill(&a, tt.address)
		var refused *account.Error
		if errors.As(err, &refused) != (tt.refused != "") || refused != nil && refused.Field != tt.refused {
			t.Errorf("%s: %v, want a refusal of %q", tt.name, err, tt.refused)
		}
		if tt.refused == "" && a.Proto().String() != tt.want.Proto().String() {
			t.Errorf("%s: %v, want %v", tt.name, a.Proto(), tt.want.Proto())
		}
	}
	if p, ok := providers.ByAddress("alice@example.com"); ok {
		t.Errorf("%s has example.com", p.Name)
	}
}
