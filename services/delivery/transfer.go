package delivery

import (
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/route"
)

// transfer returns the client of a destination that is handed mail by LMTP or SMTP.
func (d *destinations) transfer(p route.Destination, username, password string) *lmtp.Client {
	cfg := lmtp.Config{Username: username, Password: password, TLSConfig: d.cfg.TLS, MaxConns: d.cfg.MaxConns}
	switch p.Kind {
	case route.LMTPTLS:
		cfg.TLS = lmtp.RequiredTLS
	case route.SMTP:
		cfg.Protocol, cfg.TLS = lmtp.SMTP, lmtp.OfferedTLS
	case route.SMTPTLS:
		cfg.Protocol, cfg.TLS = lmtp.SMTP, lmtp.RequiredTLS
	case route.SMTPS:
		cfg.Protocol, cfg.TLS = lmtp.SMTP, lmtp.ImplicitTLS
	default:
	}
	for _, address := range p.Endpoints() {
		cfg.Endpoints = append(cfg.Endpoints, lmtp.Endpoint{Network: p.Network, Address: address})
	}
	return lmtp.New(cfg)
}
