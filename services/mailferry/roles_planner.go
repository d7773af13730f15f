package main

import (
	"context"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/services/planner"
)

type plannerFlags struct {
	PlannerRate int `name:"planner-rate" env:"MAILFERRY_PLANNER_RATE" default:"5000" placeholder:"N" group:"planner" help:"Jobs that all planners together emit in a second at most."`
}

type plannerCmd struct {
	roleFlags    `embed:""`
	plannerFlags `embed:""`
}

// Run runs a planner until a signal.
func (c *plannerCmd) Run(t *terminal) error {
	return c.run(t, "planner", func(_ context.Context, d *deps) (daemon.Part, error) { return plannerPart(c.plannerFlags, d), nil })
}

func plannerPart(f plannerFlags, d *deps) daemon.Part {
	p := planner.New(d.directory, d.due, d.ledger, d.queue, d.log.Named("planner"), d.p.health.Registry(), planner.Config{
		Name: d.name, Lease: d.lease, Rate: f.PlannerRate,
	})
	return daemon.Named("planner", p)
}
