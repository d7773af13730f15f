package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// RouteCmd shows where messages go.
type RouteCmd struct {
	Explain RouteExplainCmd `cmd:"" help:"Show step by step who would get a message, and why; nothing is handed over."`
}

// RouteExplainCmd explains the route of one message.
type RouteExplainCmd struct {
	Client `embed:""`

	Ref     string `arg:"" optional:"" name:"domain/name" help:"The account that collects the message."`
	File    string `arg:"" optional:"" help:"The message, or its header; - for standard input. Only the header leaves this machine."`
	Dead    string `placeholder:"ID" help:"In place of both: a message of 'mailferry dead list'."`
	Mailbox string `placeholder:"NAME" help:"The remote mailbox it is in, for rules that ask for it."`
	Rules   string `placeholder:"FILE" help:"Try these rules in place of the account's; see 'mailferry rules set --help'."`
}

// Help shows examples.
func (*RouteExplainCmd) Help() string {
	return `Examples:
  mailferry route explain example.com/office message.eml
  mailferry route explain --dead abcdefghij/p00112233445566
  mailferry route explain example.com/office - --rules rules.yaml < message.eml`
}

// Run prints the steps and what follows from them.
func (c *RouteExplainCmd) Run(ctx context.Context, env *Env) error {
	req, err := c.request(env)
	if err != nil {
		return err
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.routes.ExplainRoute(ctx, req)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	t := newTable(env, table.Row{"tier", "field", "found", "verdict"})
	for _, s := range res.GetSteps() {
		t.AppendRow(table.Row{s.GetTier(), oneLine(s.GetField()), oneLine(s.GetValue()), oneLine(s.GetVerdict())})
	}
	if len(res.GetSteps()) > 0 {
		t.Render()
		_, _ = fmt.Fprintln(env.Stdout)
	}
	properties(env, routeOf(res)...)
	return nil
}

func (c *RouteExplainCmd) request(env *Env) (*mailferryv1.ExplainRouteRequest, error) {
	req := &mailferryv1.ExplainRouteRequest{DeadId: c.Dead, Mailbox: c.Mailbox}
	if c.Rules != "" {
		rules, err := readRules(env, c.Rules)
		if err != nil {
			return nil, err
		}
		req.Rules, req.TryRules = account.RulesProto(rules), true
	}
	if c.Dead != "" {
		if c.Ref != "" || c.File != "" || c.Mailbox != "" {
			return nil, usage("--dead names a message: give no account, file or mailbox with it")
		}
		return req, nil
	}
	if c.Ref == "" || c.File == "" {
		return nil, usage("which message? Give an account and a file, or --dead ID")
	}
	var ref Ref
	if err := ref.UnmarshalText([]byte(c.Ref)); err != nil {
		return nil, usage("%s", err)
	}
	req.Ref = ref.proto()
	var err error
	req.Header, req.Size, err = readMessage(env, c.File)
	return req, err
}

// maxMessageHeader bounds what is sent of a message, in octets; no more is looked at.
const maxMessageHeader = 64 << 10

// readMessage returns the header of a message and the size of the whole.
func readMessage(env *Env, file string) ([]byte, int64, error) {
	in := env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, 0, usage("%s", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	head, err := io.ReadAll(io.LimitReader(in, maxMessageHeader))
	rest := int64(0)
	if err == nil {
		rest, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return nil, 0, usage("%s: %s", file, err)
	}
	whole := int64(len(head)) + rest
	for _, end := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(head, []byte(end)); i >= 0 {
			head = head[:i+len(end)]
		}
	}
	return head, whole, nil
}

// routeOf returns what would become of a message, as properties.
func routeOf(r *mailferryv1.ExplainRouteResponse) []string {
	decided := r.GetTier()
	if r.GetField() != "" {
		decided += " (" + r.GetField() + ")"
	}
	from := r.GetFrom()
	if from == "" {
		from = "<>"
	}
	out := []string{"account", r.GetRef().GetDomain() + "/" + r.GetRef().GetName()}
	switch {
	case r.GetFault() != nil:
		return append(out, "not now", oneLine(r.GetFault().GetMessage())+" ["+result(r.GetFault())+"]", "what to do", r.GetFault().GetAdvice())
	case r.GetDiscarded() != "":
		return append(out, "decided by", decided, "discarded", "by rule "+oneLine(r.GetDiscarded()))
	}
	out = append(out, "decided by", decided, "reverse-path", from)
	for _, l := range r.GetLegs() {
		out = append(out, "goes to", strings.Join(l.GetRecipients(), ", ")+" at "+l.GetDestination())
	}
	return append(out, "if refused", strings.Join(r.GetFallback(), ", then "))
}

// rulesOf counts rules.
func rulesOf(rules []*mailferryv1.Rule) string {
	if len(rules) == 0 {
		return ""
	}
	return fmt.Sprintf("%d, see 'mailferry rules show'", len(rules))
}
