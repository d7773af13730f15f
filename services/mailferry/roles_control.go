package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/services/control"
)

type controlFlags struct {
	Listen   string `name:"listen" env:"MAILFERRY_LISTEN" default:"127.0.0.1:8025" placeholder:"ADDR" group:"control" help:"Address of the API (${default}); port 0 takes a free one."`
	Triggers int    `name:"triggers-per-minute" env:"MAILFERRY_TRIGGERS_PER_MINUTE" default:"1200" placeholder:"N" group:"control" help:"How many accounts of a domain may be fetched by hand in a minute, over all controls (${default})."`
}

type controlCmd struct {
	roleFlags    `embed:""`
	controlFlags `embed:""`
	APITokenFile string `name:"api-token-file" env:"MAILFERRY_API_TOKEN_FILE" required:"" placeholder:"FILE" group:"control" help:"File with the tokens that callers may bear, one a line."`
}

// Run runs a control until a signal.
func (c *controlCmd) Run(t *terminal) error {
	return c.run(t, "control", func(ctx context.Context, d *deps) (daemon.Part, error) {
		content, err := os.ReadFile(c.APITokenFile)
		if err != nil {
			return nil, fmt.Errorf("--api-token-file: %w", err)
		}
		tokens := strings.Fields(string(content))
		if len(tokens) == 0 {
			return nil, errors.New("--api-token-file: the file is empty")
		}
		return newAPI(ctx, c.controlFlags, tokens, d)
	})
}

// api is control with its server.
type api struct {
	*daemon.HTTP
	service *control.Service
}

// Run serves the API, and answers triggers that come over NATS.
func (a *api) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.HTTP.Run(ctx) })
	g.Go(func() error { return a.service.Run(ctx) })
	return g.Wait()
}

// Drain ends the streams of callers first, since they would hold the server up; their runs go on.
func (a *api) Drain(ctx context.Context) error {
	a.service.Drain()
	return a.HTTP.Drain(ctx)
}

func newAPI(ctx context.Context, f controlFlags, tokens []string, d *deps) (*api, error) {
	s, err := control.New(control.Deps{
		Directory: d.directory, Ledger: d.ledger, Queue: d.queue, Transit: d.transit, Due: d.due, Budget: d.budget, Vault: d.vault, Notices: d.notices, Consents: d.oauth,
		WebhookAllowed: d.rooms.guard().Check,
		Log:            d.log.Named("control"), Tokens: tokens, Checks: d.checks,
	}, control.Config{Triggers: f.Triggers})
	if err != nil {
		return nil, err
	}
	srv, err := daemon.NewHTTP(ctx, d.log, f.Listen, s)
	if err != nil {
		return nil, fmt.Errorf("%w (the API: --listen ADDR)", err)
	}
	d.p.atEnd(func() { _ = srv.Close() })
	d.log.Info("the API listens", zap.String("address", srv.Addr()))
	return &api{srv, s}, nil
}
