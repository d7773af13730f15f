package cli

import (
	"context"
	"fmt"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// IndexCmd works on the record of what was collected.
type IndexCmd struct {
	Reset IndexResetCmd `cmd:"" help:"Forget what was collected: the next run fetches everything again."`
}

// IndexResetCmd resets the UID index of an account.
type IndexResetCmd struct {
	Client `embed:""`

	Ref Ref  `arg:"" name:"domain/name" help:"The account."`
	Yes bool `short:"y" help:"Do not ask."`
}

// Help says what follows.
func (*IndexResetCmd) Help() string {
	return `Every message that is still at the remote server is fetched and delivered again by the next run.

Example:
  mailferry index reset example.com/gmail-alice --yes`
}

// Run asks on a terminal and resets the index.
func (c *IndexResetCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	ok, err := confirm(env, c.Yes, fmt.Sprintf("Forget what account %s collected and fetch it all again?", c.Ref))
	if err != nil || !ok {
		return err
	}
	res, err := to.accounts.ResetIndex(ctx, &mailferryv1.ResetIndexRequest{Ref: c.Ref.proto()})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	_, _ = fmt.Fprintf(env.Stdout, "account %s: forgot %s; the next run fetches everything again\n", c.Ref, count(res.GetForgotten(), "message key"))
	return nil
}
