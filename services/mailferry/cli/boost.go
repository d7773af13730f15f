package cli

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// AccountBoostCmd has an account run often for a while.
type AccountBoostCmd struct {
	Client `embed:""`

	Ref Ref           `arg:"" name:"domain/name" help:"The account."`
	For time.Duration `default:"10m" placeholder:"DURATION" help:"How long, 1m to 1h."`
}

// Help says what follows.
func (*AccountBoostCmd) Help() string {
	return `The account is run now and every minute for a while, then by its schedule again; the least intervals of its domain and of
the installation hold (--min-interval), and so does the wait after a failure. Again: the boost that ends last holds. It counts
as one Connect Now of its domain.

Example:
  mailferry account boost example.com/gmail-alice --for 5m`
}

// Run boosts the account.
func (c *AccountBoostCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: c.Ref.proto(), Duration: durationpb.New(c.For)})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	_, _ = fmt.Fprintf(env.Stdout, "account %s is run every %s until %s, next at %s\n", c.Ref, interval(res.GetInterval()), instant(res.GetBoostedUntil()), instant(res.GetNextDueAt()))
	return nil
}
