package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/daemon"
)

// process is what a role has before it does anything.
type process struct {
	role    string
	log     *zap.Logger
	health  *daemon.Health
	signals *daemon.Signals
	// healthAddr is where health is served, or empty.
	healthAddr string
	// cleanup is called in reverse order once all parts have ended.
	cleanup []func()
}

// atEnd has fn called after all parts have ended, before what was opened earlier is closed.
func (p *process) atEnd(fn func()) { p.cleanup = append(p.cleanup, fn) }

// runProcess is the life of every process: log, signals, health, then what assemble makes, until the end.
func runProcess(t *terminal, cfg daemon.Process, role, healthDefault string, assemble func(context.Context, *process) ([]daemon.Part, error)) error {
	log, err := daemon.Logger(cfg.LogLevel, cfg.LogFormat, t.err, t.errTTY)
	if err != nil {
		return err
	}
	daemon.LogRedis(log)
	p := &process{role: role, log: log.With(zap.String("role", role)), health: daemon.NewHealth(daemon.BuildOf(version)),
		signals: daemon.NotifySignals(context.Background())}
	defer p.signals.Close()
	err = p.run(cfg, healthDefault, assemble)
	if err != nil && (cfg.LogFormat == "json" || cfg.LogFormat == "auto" && !t.errTTY) {
		p.log.Error("ended with an error", zap.Error(err))
		return logged{err}
	}
	return err
}

func (p *process) run(cfg daemon.Process, healthDefault string, assemble func(context.Context, *process) ([]daemon.Part, error)) error {
	ctx := p.signals.Context()
	defer func() {
		for i := len(p.cleanup) - 1; i >= 0; i-- {
			p.cleanup[i]()
		}
	}()
	var last []daemon.Part
	addr := cfg.HealthListen
	if addr == "" {
		addr = healthDefault
	}
	if addr != "off" {
		srv, err := daemon.NewHTTP(ctx, p.log, addr, p.health.Handler())
		if err != nil {
			return fmt.Errorf("%w (health and metrics: --health-listen ADDR, or off)", err)
		}
		p.healthAddr = reachable(srv.Addr())
		p.log.Info("health and metrics", zap.String("address", p.healthAddr))
		p.atEnd(func() { _ = srv.Close() })
		last = append(last, daemon.Named("health", srv))
	}
	stop := context.AfterFunc(ctx, p.health.Draining)
	defer stop()
	parts, err := assemble(ctx, p)
	if err != nil {
		if ctx.Err() != nil { // told to stop while starting
			return nil
		}
		return err
	}
	return p.signals.Run(p.log, cfg.DrainGrace, append(parts, last...)...)
}
