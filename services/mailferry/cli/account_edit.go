package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// AccountEditCmd changes an account.
type AccountEditCmd struct {
	Client   `embed:""`
	Password `embed:""`

	Ref         Ref            `arg:"" name:"domain/name" help:"The account."`
	Protocol    *string        `enum:"pop3,imap" help:"Protocol of the remote server: ${enum}."`
	Host        *string        `placeholder:"HOST[:PORT]" help:"The remote server."`
	Username    *string        `help:"User name at the remote server."`
	ForwardTo   *string        `placeholder:"TARGET" help:"Who gets the mail: a local address, or a mailbox path."`
	TLS         *string        `name:"tls" enum:"detect,direct,disable" help:"How the session is secured: ${enum}."`
	Interval    *time.Duration `placeholder:"DURATION" help:"Fetch at this interval; 0 for the global one."`
	Auth        *string        `enum:"auto,user-pass,plain,login,cram-md5,scram-sha-1,scram-sha-256,scram-sha-1-plus,scram-sha-256-plus,oauth2" placeholder:"auto" help:"How to sign in: auto, user-pass, a SASL mechanism by name, or oauth2."`
	After       *string        `enum:"leave,delete,move" help:"What happens to a collected message at the remote server: ${enum}."`
	Provider    *string        `name:"oauth-provider" placeholder:"NAME" help:"With --auth oauth2: the provider; empty with any other."`
	APOP        *bool          `name:"apop" negatable:"" help:"POP3: sign in with APOP only."`
	LenientDot  *bool          `negatable:"" help:"POP3: also take a dot at the end of the last line as the end of a message."`
	OnIndexLoss *string        `enum:"recollect,baseline" help:"If the record of what was collected is lost: ${enum}."`
	Active      *bool          `negatable:"" help:"Fetch it, or not."`
	AskPassword bool           `xor:"password" group:"password" help:"Ask for a new password."`
	ForgetTLS   bool           `name:"forget-tls" help:"The account was seen with TLS at its server: let it sign in without again. Only if the server gave up TLS for good."`
	NewMailbox  bool           `help:"The changed host or user is another mailbox: start with an empty record of what was collected."`

	Copies      `embed:""`
	Calendar    `embed:""`
	Recipients  `embed:""`
	Policy      `embed:""`
	OwnerNotify `embed:""`
	Labels      `embed:""`
	Mailboxes   `embed:""`
	Certificate `embed:""`
}

// Help shows examples.
func (*AccountEditCmd) Help() string {
	return `Examples:
  mailferry account edit example.com/isp --ask-password
  mailferry account edit example.com/isp --host pop2.isp.net       (the same mailbox on a new host)
  mailferry account edit example.com/isp --username bob --new-mailbox  (another mailbox)
  mailferry account edit example.com/isp --no-active

Where protocol, host, port or user change, the record of what was collected is taken along, so that
nothing is fetched twice; say --new-mailbox if it is another mailbox.`
}

// maxEdits bounds how often an edit is repeated because somebody else changed the account meanwhile.
const maxEdits = 5

// Run reads the account, changes what was named and writes it back, unless it was changed meanwhile; then
// again.
func (c *AccountEditCmd) Run(ctx context.Context, env *Env) error {
	if !c.changes() {
		return usage("account %s: nothing to change is named; see 'mailferry account edit --help'", c.Ref)
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	req := &mailferryv1.UpdateAccountRequest{NewMailbox: c.NewMailbox, ForgetTls: c.ForgetTLS}
	if c.AskPassword || c.given() {
		password, err := c.Password.read(env, c.Ref.String())
		if err != nil {
			return err
		}
		req.Password = &password
	}
	var res *mailferryv1.UpdateAccountResponse
	for range maxEdits {
		got, err := to.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: c.Ref.proto()})
		if err != nil {
			return err
		}
		a := account.FromProto(got.GetAccount())
		c.apply(&a)
		c.Copies.apply(&a)
		c.Calendar.applyTo(&a)
		c.Policy.apply(&a)
		c.OwnerNotify.apply(&a)
		c.Labels.apply(&a)
		c.Mailboxes.apply(&a)
		if err := c.Recipients.apply(&a); err != nil {
			return err
		}
		if err := c.Certificate.apply(&a); err != nil {
			return err
		}
		req.Account = a.Proto()
		if res, err = to.accounts.UpdateAccount(ctx, req); connect.CodeOf(err) != connect.CodeAborted {
			if err != nil {
				return err
			}
			break
		}
	}
	if res == nil {
		return &failure{"policy", fmt.Sprintf("account %s is being changed by somebody else", c.Ref), "try again"}
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	note := ""
	switch {
	case res.GetIndexCopied():
		note = "; taken as the same mailbox: what was collected is not fetched again (--new-mailbox if it is another one)"
	case res.GetIndexNew():
		note = "; it is another mailbox: everything in it is fetched"
	}
	_, _ = fmt.Fprintf(env.Stdout, "changed account %s%s\n", c.Ref, note)
	return nil
}

func (c *AccountEditCmd) changes() bool {
	for _, p := range []*string{c.Protocol, c.Host, c.Username, c.ForwardTo, c.TLS, c.Auth, c.Provider, c.After, c.OnIndexLoss} {
		if p != nil {
			return true
		}
	}
	return c.ForgetTLS || c.Certificate.named() || c.Policy.named() || c.OwnerNotify.named() || c.Labels.named() || c.Mailboxes.named() || c.Copies.named() || c.Calendar.named() || c.Recipients.named() ||
		c.Interval != nil || c.APOP != nil || c.LenientDot != nil || c.Active != nil || c.AskPassword || c.given()
}

func (c *AccountEditCmd) apply(a *account.Account) {
	set(&a.Protocol, c.Protocol)
	set(&a.Host, c.Host)
	set(&a.Username, c.Username)
	set(&a.ForwardTo, c.ForwardTo)
	set(&a.TLS, c.TLS)
	set(&a.Auth, c.Auth)
	set(&a.OAuthProvider, c.Provider)
	set(&a.After, c.After)
	set(&a.OnIndexLoss, c.OnIndexLoss)
	if c.Interval != nil {
		a.Interval = *c.Interval
		if a.Interval > 0 {
			a.Schedule.Entries = nil
		}
	}
	if c.APOP != nil {
		a.APOP = *c.APOP
	}
	if c.LenientDot != nil {
		a.LenientDot = *c.LenientDot
	}
	if c.Active != nil {
		a.Active = *c.Active
	}
}

func set[T ~string](field *T, value *string) {
	if value != nil {
		*field = T(*value)
	}
}

// AccountRemoveCmd removes an account.
type AccountRemoveCmd struct {
	Client `embed:""`

	Ref Ref  `arg:"" name:"domain/name" help:"The account."`
	Yes bool `short:"y" help:"Do not ask."`
}

// Help says what is lost.
func (*AccountRemoveCmd) Help() string {
	return `Removes the account, the record of what it collected, its runs, its dead letters and what is in transit of
it. Nothing changes at the remote server: what was not delivered yet is still there.

Example:
  mailferry account remove example.com/isp --yes`
}

// Run asks on a terminal and removes the account.
func (c *AccountRemoveCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	ok, err := confirm(env, c.Yes, fmt.Sprintf("Remove account %s with its record of what was collected?", c.Ref))
	if err != nil || !ok {
		return err
	}
	if _, err := to.accounts.DeleteAccount(ctx, &mailferryv1.DeleteAccountRequest{Ref: c.Ref.proto()}); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, &mailferryv1.DeleteAccountResponse{})
	}
	_, _ = fmt.Fprintf(env.Stdout, "removed account %s\n", c.Ref)
	return nil
}

// confirm asks a question on a terminal; without one, the answer has to be on the command line.
func confirm(env *Env, yes bool, question string) (bool, error) {
	if yes {
		return true, nil
	}
	if !env.AskTerminal {
		return false, usage("there is no terminal to ask '%s': say --yes", question)
	}
	_, _ = fmt.Fprintf(env.Stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(env.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, &failure{"canceled", "nothing was changed", ""}
}
