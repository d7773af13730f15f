package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// StatusCmd shows the fleet.
type StatusCmd struct {
	Client `embed:""`
}

// Help says when it fails.
func (*StatusCmd) Help() string {
	return `Ends with exit code 1 if a part does not answer.`
}

// Run prints the status; a part that does not answer makes it fail.
func (c *StatusCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	s, err := to.fleet.GetStatus(ctx, &mailferryv1.GetStatusRequest{})
	if err != nil {
		return err
	}
	var down []string
	for _, p := range s.GetComponents() {
		if !p.GetOk() {
			down = append(down, p.GetName())
		}
	}
	if c.JSON {
		if err := printJSON(env.Stdout, s); err != nil {
			return err
		}
	} else {
		printStatus(env, s)
	}
	if len(down) > 0 {
		return &failure{"unavailable", strings.Join(down, ", ") + " not in order", "see the line above and the logs"}
	}
	return nil
}

func printStatus(env *Env, s *mailferryv1.GetStatusResponse) {
	pairs := []string{
		"accounts", fmt.Sprintf("%d, %d active", s.GetAccounts(), s.GetAccountsActive()),
		"jobs queued", strconv.FormatInt(s.GetJobsQueued(), 10),
		"in transit", fmt.Sprintf("%s, %s", count(s.GetMessagesInTransit(), "message"), size(s.GetBytesInTransit())),
		"dead letters", strconv.FormatInt(s.GetDead(), 10),
	}
	for _, p := range s.GetComponents() {
		state := "ok"
		if !p.GetOk() {
			state = "NOT OK"
		}
		if p.GetDetail() != "" {
			state += ": " + oneLine(p.GetDetail())
		}
		pairs = append(pairs, p.GetName(), state)
	}
	properties(env, pairs...)
}
