package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// DeadCmd works on dead letters.
type DeadCmd struct {
	List   DeadListCmd   `cmd:"" help:"List what could not be delivered."`
	Show   DeadShowCmd   `cmd:"" help:"Show why, and the header of the message."`
	Export DeadExportCmd `cmd:"" help:"Write the messages into files, as they were received."`
	Retry  DeadRetryCmd  `cmd:"" help:"Deliver it again."`
	Drop   DeadDropCmd   `cmd:"" help:"Remove it; the message stays at the remote server and is not fetched again."`
}

// DeadListCmd lists dead letters.
type DeadListCmd struct {
	Client `embed:""`

	What  string `arg:"" optional:"" name:"domain[/name]" help:"Only of this domain or account."`
	Limit int32  `short:"n" default:"100" help:"How many at most (${default})."`
}

// Help shows examples.
func (*DeadListCmd) Help() string {
	return `Examples:
  mailferry dead list
  mailferry dead list example.com/gmail-alice`
}

// Run prints the dead letters.
func (c *DeadListCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	domain, name, _ := strings.Cut(c.What, "/")
	res, err := to.dead.ListDead(ctx, &mailferryv1.ListDeadRequest{Domain: domain, Name: name, Limit: c.Limit})
	if err != nil {
		return err
	}
	t := newTable(env, table.Row{"id", "account", "buried", "size", "recipients", "reason"}, 4)
	for _, e := range res.GetEntries() {
		if c.JSON {
			if err := printJSON(env.Stdout, e); err != nil {
				return err
			}
			continue
		}
		l := e.GetLetter()
		what := "job"
		if l.GetMessage() != nil {
			what = size(l.GetMessage().GetSize())
		}
		t.AppendRow(table.Row{
			e.GetId(), deadAccount(e), ago(l.GetBuriedAt(), env.Now()), what, strings.Join(l.GetRecipients(), ", "),
			oneLine(l.GetFault().GetMessage()) + " [" + result(l.GetFault()) + "]",
		})
	}
	switch {
	case c.JSON:
	case len(res.GetEntries()) == 0:
		_, _ = fmt.Fprintln(env.Stdout, "there are no dead letters")
	default:
		t.Render()
	}
	return nil
}

func deadAccount(e *mailferryv1.DeadEntry) string {
	ref := e.GetLetter().GetDomain() + "/" + e.GetLetter().GetName()
	if e.GetAccountGone() {
		ref += " (removed)"
	}
	return ref
}

// DeadShowCmd shows a dead letter.
type DeadShowCmd struct {
	Client `embed:""`

	ID string `arg:"" name:"id" help:"As 'mailferry dead list' shows it."`
}

// Run prints the letter and the header of its message.
func (c *DeadShowCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.dead.GetDead(ctx, &mailferryv1.GetDeadRequest{Id: c.ID})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	e, l := res.GetEntry(), res.GetEntry().GetLetter()
	pairs := []string{
		"id", e.GetId(), "account", deadAccount(e), "buried", instant(l.GetBuriedAt()),
		"reason", fmt.Sprintf("%s [%s]", oneLine(l.GetFault().GetMessage()), result(l.GetFault())),
		"what to do", l.GetFault().GetAdvice(), "recipients", strings.Join(l.GetRecipients(), ", "), "job", l.GetJobId(),
	}
	if m := l.GetMessage(); m != nil {
		pairs = append(pairs, "message key", m.GetKey(), "size", size(m.GetSize()), "fetched", instant(m.GetFetchedAt()),
			"from", m.GetRemoteHost(), "mailbox", m.GetMailbox())
	}
	properties(env, pairs...)
	if n := l.GetAttempts(); n > 0 {
		_, _ = fmt.Fprintf(env.Stdout, "\n%s that failed:\n", count(n, "attempt"))
		for _, at := range l.GetHistory() {
			_, _ = fmt.Fprintf(env.Stdout, "  %s  %s [%s]\n", instant(at.GetAt()), oneLine(at.GetMessage()), at.GetKind())
		}
	}
	if len(res.GetHeader()) > 0 {
		_, _ = fmt.Fprintf(env.Stdout, "\n%s\n", strings.TrimRight(printable(strings.ReplaceAll(string(res.GetHeader()), "\r\n", "\n")), "\n"))
	}
	return nil
}

// DeadRetryCmd delivers dead letters again.
type DeadRetryCmd struct {
	Client `embed:""`

	IDs []string `arg:"" name:"id" help:"As 'mailferry dead list' shows them."`
}

// Help shows an example.
func (*DeadRetryCmd) Help() string {
	return `Example, all of an account:
  mailferry dead list example.com/isp --json | jq -r .id | xargs mailferry dead retry`
}

// Run retries each.
func (c *DeadRetryCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	return c.each(env, c.IDs, func(id string) error {
		res, err := to.dead.RetryDead(ctx, &mailferryv1.RetryDeadRequest{Id: id})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.Stdout, res)
		}
		_, err = fmt.Fprintf(env.Stdout, "%s: %s\n", id, oneLine(res.GetOutcome()))
		return err
	})
}

// DeadDropCmd removes dead letters.
type DeadDropCmd struct {
	Client `embed:""`

	IDs []string `arg:"" name:"id" help:"As 'mailferry dead list' shows them."`
	Yes bool     `short:"y" help:"Do not ask."`
}

// Run asks on a terminal and drops each.
func (c *DeadDropCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	ok, err := confirm(env, c.Yes, "Drop "+count(int64(len(c.IDs)), "dead letter")+"?")
	if err != nil || !ok {
		return err
	}
	return c.each(env, c.IDs, func(id string) error {
		res, err := to.dead.DropDead(ctx, &mailferryv1.DropDeadRequest{Id: id})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.Stdout, res)
		}
		_, err = fmt.Fprintf(env.Stdout, "%s: dropped\n", id)
		return err
	})
}

// each goes on after an error of one and fails in the end.
func (c *Client) each(env *Env, ids []string, do func(string) error) error {
	var failed error
	for _, id := range ids {
		if err := do(id); err != nil {
			if len(ids) == 1 {
				return err
			}
			printError(env, err)
			failed = errReported
		}
	}
	return failed
}
