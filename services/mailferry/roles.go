package main

import (
	"context"

	"github.com/mailferry/mailferry/pkg/daemon"
)

// healthOfRole is where a role serves health and metrics unless told otherwise.
const healthOfRole = ":8026"

// roleFlags is what every role takes.
type roleFlags struct {
	daemon.Common `embed:""`
	roomFlags     `embed:""`
}

// run is the life of a role that runs alone.
func (r roleFlags) run(t *terminal, role string, part func(context.Context, *deps) (daemon.Part, error)) error {
	return runProcess(t, r.Process, role, healthOfRole, func(ctx context.Context, p *process) ([]daemon.Part, error) {
		d, err := openDeps(ctx, p, backends{Backends: r.Backends}, r.roomFlags)
		if err != nil {
			return nil, err
		}
		one, err := part(ctx, d)
		if err != nil {
			return nil, err
		}
		return []daemon.Part{one}, nil
	})
}
