package cli

import (
	"context"
	"fmt"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// AccountConsentCmd asks the owner of an account for consent.
type AccountConsentCmd struct {
	Client `embed:""`

	Ref    Ref  `arg:"" name:"domain/name" help:"The account."`
	Device bool `help:"Print a code for another device (RFC 8628), in place of a link that comes back to control."`
}

// Help says who has to do what.
func (*AccountConsentCmd) Help() string {
	return `Prints a link that the owner of the mailbox opens, and waits until consent is given there; the account is
fetched at once then. The link is good once, for 15 minutes.

Examples:
  mailferry account consent example.com/gmail-alice
  mailferry account consent example.com/gmail-alice --device`
}

// Run prints where the owner goes, and waits.
func (c *AccountConsentCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	given := false
	stream, err := to.accounts.StartConsent(ctx, &mailferryv1.StartConsentRequest{Ref: c.Ref.proto(), Device: c.Device})
	err = each(to, stream, err, func(r *mailferryv1.StartConsentResponse) error {
		given = r.GetGiven()
		switch {
		case c.JSON:
			return printJSON(env.Stdout, r)
		case given:
			_, _ = fmt.Fprintf(env.Stdout, "consent is given: account %s is fetched now\n", c.Ref)
		case r.GetCode() != "":
			_, _ = fmt.Fprintf(env.Stdout, "open   %s\nenter  %s\nuntil  %s\n", r.GetLink(), r.GetCode(), instant(r.GetExpiresAt()))
		default:
			_, _ = fmt.Fprintf(env.Stdout, "open   %s\nuntil  %s\n", r.GetLink(), instant(r.GetExpiresAt()))
		}
		return nil
	})
	if err == nil && !given {
		return &failure{"network", "account " + c.Ref.String() + ": the answer ended before consent was given", "ask again"}
	}
	return err
}
