package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/due"
)

// countEvery is how often accounts are counted by what they are.
const countEvery = 10 * time.Second

// countLoop counts the accounts in the shards of this planner.
func (p *Planner) countLoop(ctx context.Context) error {
	tick := time.NewTicker(min(countEvery, 40*p.cfg.Tick))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		held := p.shards.Load()
		if held == nil {
			continue
		}
		n, err := p.due.Count(ctx, *held)
		if err != nil {
			p.log.Debug("accounts are not counted", zap.Error(err))
			continue
		}
		for _, s := range due.Statuses() {
			p.accounts.WithLabelValues(string(s)).Set(float64(n[s]))
		}
	}
}
