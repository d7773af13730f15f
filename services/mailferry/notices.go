package main

import (
	"net"
	"net/netip"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/remote"
)

type noticeFlags struct {
	WebhookEgressAllow []netip.Prefix `name:"webhook-egress-allow" env:"MAILFERRY_WEBHOOK_EGRESS_ALLOW" placeholder:"CIDR" group:"notices" help:"Networks that webhooks of domains may go to although they are not public; the same in control and deliveries. The webhook of the settings goes anywhere."`
}

// webhookPorts keeps webhooks of domains away from services that speak something else.
const webhookPorts account.Ports = "80,443,1024-65535"

// guard is where webhooks of domains may go.
func (f noticeFlags) guard() remote.Guard {
	return remote.Guard{Allow: f.WebhookEgressAllow, Ports: []account.Ports{webhookPorts}}
}

// posters return those of webhooks of domains and of the one of the settings.
func (f noticeFlags) posters() (domain, fleet *notice.Poster) {
	return notice.NewPoster(f.guard().DialContext, nil), notice.NewPoster((&net.Dialer{}).DialContext, nil)
}
