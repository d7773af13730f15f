package main

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/services/delivery"
)

type deliveryFlags struct {
	Handlers    int           `name:"handlers" env:"MAILFERRY_HANDLERS" default:"256" placeholder:"N" group:"delivery" help:"Messages handed over at once by one delivery."`
	LMTPConns   int           `name:"lmtp-connections" env:"MAILFERRY_LMTP_CONNECTIONS" default:"16" placeholder:"N" group:"delivery" help:"Connections to one LMTP or SMTP server at most."`
	DeferAfter  time.Duration `name:"defer-after" env:"MAILFERRY_DEFER_AFTER" default:"1h" group:"delivery" help:"How long a message that its destination refuses for now is tried again before it is left at the remote server for a while."`
	DeferFor    time.Duration `name:"defer-for" env:"MAILFERRY_DEFER_FOR" default:"1h" group:"delivery" help:"How long it is left there."`
	GiveUpAfter time.Duration `name:"give-up-after" env:"MAILFERRY_GIVE_UP_AFTER" default:"120h" group:"delivery" help:"How long after its first attempt a message is tried that its destination refuses for now. Then it goes to its fallback, or becomes a dead letter."`
	RetryMin    time.Duration `name:"retry-min" env:"MAILFERRY_RETRY_MIN" default:"2s" group:"delivery" help:"First pause before a destination that refuses for now is tried again; it doubles up to two minutes."`

	DestinationCA string `name:"destination-ca" env:"MAILFERRY_DESTINATION_CA" placeholder:"FILE" group:"delivery" help:"Certificate authorities (PEM) trusted for destinations besides the system's."`
}

type deliveryCmd struct {
	roleFlags     `embed:""`
	deliveryFlags `embed:""`
}

// Run runs a delivery until a signal.
func (c *deliveryCmd) Run(t *terminal) error {
	return c.run(t, "delivery", func(ctx context.Context, d *deps) (daemon.Part, error) { return deliveryPart(ctx, c.deliveryFlags, d) })
}

func deliveryPart(ctx context.Context, f deliveryFlags, d *deps) (daemon.Part, error) {
	domainHooks, fleetHooks := d.rooms.posters()
	roots, err := rootsWith("--destination-ca", f.DestinationCA)
	if err != nil {
		return nil, err
	}
	one, err := delivery.New(ctx, delivery.Deps{
		Directory: d.directory, Transit: d.transit, Ledger: d.ledger, Notices: d.notices, Vault: d.vault, DomainHooks: domainHooks, FleetHooks: fleetHooks,
		Log: d.log.Named("delivery"), Metrics: d.p.health.Registry(),
	}, delivery.Config{
		Name: d.name, Handlers: f.Handlers, Lease: d.lease, MaxConns: f.LMTPConns,
		DeferAfter: f.DeferAfter, DeferFor: f.DeferFor, RetryMin: f.RetryMin, GiveUpAfter: f.GiveUpAfter,
		TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		return nil, err
	}
	return daemon.Named("delivery", one), nil
}
