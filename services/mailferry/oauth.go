package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
	"gopkg.in/yaml.v3"

	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/services/control"
)

type oauthFlags struct {
	OAuthFile        string         `name:"oauth-file" env:"MAILFERRY_OAUTH_FILE" placeholder:"FILE" group:"oauth" help:"OAuth 2.0 providers (YAML); the same in workers and control. It holds client secrets: mode 0600."`
	OAuthPublicURL   string         `name:"oauth-public-url" env:"MAILFERRY_OAUTH_PUBLIC_URL" default:"http://127.0.0.1:8025" placeholder:"URL" group:"oauth" help:"Where browsers of owners reach control; its /oauth/callback is registered at the providers."`
	OAuthEgressAllow []netip.Prefix `name:"oauth-egress-allow" env:"MAILFERRY_OAUTH_EGRESS_ALLOW" placeholder:"CIDR" group:"oauth" help:"Networks of providers that are not public."`
}

// broker opens the room of OAuth consents.
func (f oauthFlags) broker(d *deps, rdb redis.UniversalClient) (*oauth.Broker, error) {
	cfg := oauth.Config{
		Providers:   map[string]oauth.Provider{},
		RedirectURL: strings.TrimSuffix(f.OAuthPublicURL, "/") + control.CallbackPath,
		DialContext: remote.Guard{Allow: f.OAuthEgressAllow}.DialContext,
	}
	if f.OAuthFile != "" {
		content, err := os.ReadFile(f.OAuthFile)
		if err != nil {
			return nil, fmt.Errorf("--oauth-file: %w", err)
		}
		var file struct {
			Providers []oauth.Provider `yaml:"providers"`
		}
		if err := yaml.Unmarshal(content, &file); err != nil {
			return nil, fmt.Errorf("--oauth-file: it is not YAML of providers") // the parser would quote secrets
		}
		for _, p := range file.Providers {
			p = p.WithPreset()
			if err := p.Validate(); err != nil {
				return nil, fmt.Errorf("--oauth-file: %w", err)
			}
			cfg.Providers[p.Name] = p
		}
	}
	return oauth.New(d.directory, d.vault, rdb, cfg), nil
}
