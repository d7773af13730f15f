package oauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Provider is where owners give consent. Of a custom one either Issuer is given, whose endpoints are asked
// for (OpenID Connect Discovery 1.0 §4), or the endpoints are.
type Provider struct {
	Name         string   `yaml:"name"`
	ClientID     string   `yaml:"client-id"`
	ClientSecret string   `yaml:"client-secret"`
	Issuer       string   `yaml:"issuer"`
	AuthURL      string   `yaml:"auth-url"`
	TokenURL     string   `yaml:"token-url"`
	DeviceURL    string   `yaml:"device-url"`
	Scopes       []string `yaml:"scopes"`
}

// presets are what is the same for everybody at a provider; a client of one's own is registered there.
var presets = map[string]Provider{
	"google": {
		AuthURL: "https://accounts.google.com/o/oauth2/v2/auth", TokenURL: "https://oauth2.googleapis.com/token",
		DeviceURL: "https://oauth2.googleapis.com/device/code", Scopes: []string{"https://mail.google.com/"},
	},
	"microsoft": {
		AuthURL:   "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
		TokenURL:  "https://login.microsoftonline.com/common/oauth2/v2.0/token",
		DeviceURL: "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode",
		Scopes: []string{
			"https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/POP.AccessAsUser.All", "offline_access",
		},
	},
}

// WithPreset returns p with what it leaves open filled in from the preset of its name.
func (p Provider) WithPreset() Provider {
	preset, ok := presets[p.Name]
	if !ok || p.Issuer != "" {
		return p
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&p.AuthURL, preset.AuthURL)
	def(&p.TokenURL, preset.TokenURL)
	def(&p.DeviceURL, preset.DeviceURL)
	if len(p.Scopes) == 0 {
		p.Scopes = preset.Scopes
	}
	return p
}

// Validate says what is missing.
func (p Provider) Validate() error {
	switch {
	case p.Name == "" || p.ClientID == "":
		return fmt.Errorf("a provider needs a name and a client-id")
	case p.Issuer == "" && (p.AuthURL == "" || p.TokenURL == ""):
		return fmt.Errorf("provider %s needs an issuer, or auth-url and token-url", p.Name)
	}
	return nil
}

// provider returns the provider of a name with its endpoints.
func (b *Broker) provider(ctx context.Context, name string) (Provider, error) {
	p, ok := b.cfg.Providers[name]
	if !ok {
		return p, fault.Errorf(fault.Policy, "oauth2", "this installation has no provider %q; see --oauth-file", name)
	}
	if p.TokenURL != "" {
		return p, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.discovered[name]; ok {
		return known, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.Issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return p, fault.Errorf(fault.Policy, "oauth2", "the issuer of %s is no URL", name)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return p, unreachable(name, err)
	}
	defer resp.Body.Close()
	var doc struct {
		Issuer        string `json:"issuer"`
		AuthURL       string `json:"authorization_endpoint"`
		TokenURL      string `json:"token_endpoint"`
		DeviceURL     string `json:"device_authorization_endpoint"`
		ErrorResponse string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&doc)
	if err != nil || resp.StatusCode != http.StatusOK || doc.Issuer != p.Issuer || doc.AuthURL == "" || doc.TokenURL == "" {
		return p, fault.Errorf(fault.Protocol, "oauth2", "the issuer of %s does not describe itself as %s", name, fault.Clean(p.Issuer))
	}
	p.AuthURL, p.TokenURL, p.DeviceURL = doc.AuthURL, doc.TokenURL, doc.DeviceURL
	b.discovered[name] = p
	return p, nil
}

// config is p for the library. How a client shows who it is, is said, not tried (RFC 6749 §2.3.1): a second try
// would be a second refresh.
func (b *Broker) config(p Provider) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	if p.ClientSecret == "" {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Scopes: p.Scopes, RedirectURL: b.cfg.RedirectURL,
		Endpoint: oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, DeviceAuthURL: p.DeviceURL, AuthStyle: style},
	}
}
