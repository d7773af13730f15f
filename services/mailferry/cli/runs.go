package cli

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// RunsCmd shows the last runs of an account.
type RunsCmd struct {
	Client `embed:""`

	Ref   Ref   `arg:"" name:"domain/name" help:"The account."`
	Limit int32 `short:"n" default:"20" help:"How many at most (${default})."`
}

// Help shows an example.
func (*RunsCmd) Help() string {
	return `Example:
  mailferry runs example.com/gmail-alice -n 5`
}

// Run prints the runs, newest first.
func (c *RunsCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.runs.ListRuns(ctx, &mailferryv1.ListRunsRequest{Ref: c.Ref.proto(), Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.JSON {
		for _, r := range res.GetRuns() {
			if err := printJSON(env.Stdout, r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(res.GetRuns()) == 0 {
		_, _ = fmt.Fprintf(env.Stdout, "account %s has no runs yet; fetch it with 'mailferry fetch %s'\n", c.Ref, c.Ref)
		return nil
	}
	t := newTable(env, table.Row{"started", "trigger", "took", "listed", "new", "fetched", "delivered", "deleted", "failed", "size", "result"}, 3, 4, 5, 6, 7, 8, 9, 10)
	for _, r := range res.GetRuns() {
		outcome := result(r.GetFault())
		if r.GetFault() != nil {
			outcome += ": " + oneLine(r.GetFault().GetMessage())
		}
		if by := tiersOf(r); by != "" {
			outcome += "; " + by
		}
		started := r.GetStartedAt()
		if started == nil {
			started = r.GetFinishedAt()
		}
		t.AppendRow(table.Row{
			instant(started), word(r.GetTrigger(), "TRIGGER_"), took(r), r.GetListed(), r.GetNew(), r.GetFetched(),
			r.GetDelivered(), r.GetDeleted(), r.GetFailed(), size(r.GetBytes()), outcome,
		})
	}
	t.Render()
	return nil
}
