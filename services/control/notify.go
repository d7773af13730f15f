package control

import (
	"cmp"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/notice"
)

// notifyOf returns whom notices of a domain, or with "" of all, go to: n as it is to be, and its secret anew where one is given.
func (s *Service) notifyOf(n directory.Notify, secret *string, domain string) (directory.Notify, error) {
	n.WebhookURL, n.NotifyAdmin = strings.TrimSpace(n.WebhookURL), strings.TrimSpace(n.NotifyAdmin)
	if n.NotifyAdmin != "" {
		if err := account.ValidateAddress("notify_admin", n.NotifyAdmin); err != nil {
			return n, asField(err)
		}
	}
	if n.WebhookURL == "" {
		if secret != nil {
			return n, errField("webhook_secret", "goes with webhook_url")
		}
		n.SealedWebhookSecret = ""
		return n, nil
	}
	if err := notice.ValidateWebhook(n.WebhookURL); err != nil {
		return n, asField(err)
	}
	if domain != "" && s.webhookDenied(n.WebhookURL) {
		return n, errField("webhook_url", "webhooks of domains may not go to this address")
	}
	if secret != nil {
		if err := notice.ValidateSecret(*secret); err != nil {
			return n, asField(err)
		}
		sealed, err := s.Vault.Seal(*secret, n.SealContext(domain))
		if err != nil {
			return n, asError("webhook", err)
		}
		n.SealedWebhookSecret = string(sealed)
	}
	if n.SealedWebhookSecret == "" {
		return n, errField("webhook_secret", "is missing: a webhook is signed with one")
	}
	return n, nil
}

// webhookDenied says at once of an address or a port what deliveries would say of it; a name may be anywhere.
func (s *Service) webhookDenied(to string) bool {
	u, err := url.Parse(to)
	if err != nil || s.WebhookAllowed == nil {
		return err != nil
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]), 10, 16)
	if err != nil {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && s.WebhookAllowed(netip.AddrPortFrom(addr, uint16(port))) != nil
}
