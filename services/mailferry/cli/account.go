package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// AccountCmd administers remote accounts.
type AccountCmd struct {
	Add     AccountAddCmd     `cmd:"" help:"Add a remote account."`
	Import  AccountImportCmd  `cmd:"" help:"Add many accounts from a file."`
	List    AccountListCmd    `cmd:"" help:"List accounts and how they are doing."`
	Show    AccountShowCmd    `cmd:"" help:"Show an account and its UID index."`
	Edit    AccountEditCmd    `cmd:"" help:"Change an account."`
	Test    AccountTestCmd    `cmd:"" help:"Sign in and look, without collecting or deleting anything; also with settings that are not saved."`
	Boost   AccountBoostCmd   `cmd:"" help:"Look for mail every minute for a while: the owner waits for a code."`
	Consent AccountConsentCmd `cmd:"" help:"Ask the owner for consent at the account's OAuth 2.0 provider."`
	Remove  AccountRemoveCmd  `cmd:"" help:"Remove an account and everything kept of it."`
}

// AccountAddCmd adds a remote account.
type AccountAddCmd struct {
	Client   `embed:""`
	Password `embed:""`

	Ref    Ref `arg:"" name:"domain/name" help:"The account's domain and its name in it."`
	Source `embed:""`

	ForwardTo   string `required:"" placeholder:"TARGET" help:"Who gets the mail: a local address, or a mailbox path such as alice@example.com/Imported, which goes there past filters."`
	OnIndexLoss string `enum:"recollect,baseline" default:"recollect" help:"If the record of what was collected is lost: collect again, or pass over what is there."`
	Inactive    bool   `help:"Do not fetch it yet."`

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
func (*AccountAddCmd) Help() string {
	return `Examples:
  mailferry account add example.com/gmail-alice --address alice@gmail.com --forward-to alice@example.com
  mailferry account add example.com/web-alice --address alice@web.de --protocol pop3 --forward-to alice@example.com
  pass show isp | mailferry account add example.com/isp --protocol pop3 --host pop.isp.net \
      --username alice --forward-to alice@example.com --after delete --interval 5m --password-stdin

Without --password-file or --password-stdin the password is asked for. 'mailferry account test' with the same flags
tries it first.`
}

// Run adds the account.
func (c *AccountAddCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	if err := c.Source.check(); err != nil {
		return err
	}
	a := account.Account{
		Domain: c.Ref.Domain, Name: c.Ref.Name, Active: !c.Inactive, ForwardTo: c.ForwardTo, OnIndexLoss: account.OnIndexLoss(c.OnIndexLoss),
	}
	c.Source.apply(&a)
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
	password, err := c.Source.password(env, &c.Password, a)
	if err != nil {
		return err
	}
	res, err := to.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{
		Account: a.Proto(), Password: password, Address: c.Address, Provider: c.Preset,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res.GetAccount())
	}
	if res.GetAccount().GetAuth() == mailferryv1.AuthMethod_AUTH_METHOD_OAUTH2 {
		_, _ = fmt.Fprintf(env.Stdout, "added account %s; ask its owner for consent with 'mailferry account consent %s'\n", c.Ref, c.Ref)
		return nil
	}
	_, _ = fmt.Fprintf(env.Stdout, "added account %s; fetch it now with 'mailferry fetch %s'\n", c.Ref, c.Ref)
	return nil
}

// AccountListCmd lists accounts.
type AccountListCmd struct {
	Client `embed:""`

	Domain string `arg:"" optional:"" help:"Only accounts of this domain."`
	Label  string `placeholder:"LABEL" help:"Only accounts with this label."`
}

// Run prints a page at a time.
func (c *AccountListCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	t := newTable(env, table.Row{"account", "remote", "forward to", "last run", "next", "collected", "state"}, 6)
	for page, n := "", 0; ; {
		res, err := to.accounts.ListAccounts(ctx, &mailferryv1.ListAccountsRequest{Domain: c.Domain, Label: c.Label, PageToken: page, PageSize: 500})
		if err != nil {
			return err
		}
		for i, a := range res.GetAccounts() {
			var s *mailferryv1.AccountState
			if i < len(res.GetStates()) {
				s = res.GetStates()[i]
			}
			n++
			if c.JSON {
				if err := printJSON(env.Stdout, &mailferryv1.GetAccountResponse{Account: a, State: s}); err != nil {
					return err
				}
				continue
			}
			t.AppendRow(accountRow(a, s, env.Now()))
		}
		page = res.GetNextPageToken()
		if page != "" {
			continue
		}
		if n == 0 && !c.JSON && c.Label != "" {
			_, _ = fmt.Fprintf(env.Stdout, "there are no accounts with the label %s\n", c.Label)
		} else if n == 0 && !c.JSON {
			_, _ = fmt.Fprintln(env.Stdout, "there are no accounts; add one with 'mailferry account add' (see its --help)")
		} else if !c.JSON {
			t.Render()
		}
		return nil
	}
}

func accountRow(a *mailferryv1.Account, s *mailferryv1.AccountState, now time.Time) table.Row {
	next := "off"
	if a.GetActive() {
		next = ago(s.GetNextDueAt(), now)
		if d := s.GetNextDueAt(); d != nil && d.AsTime().Before(now) {
			next = "now"
		}
	}
	return table.Row{
		a.GetDomain() + "/" + a.GetName(), remoteOf(a), a.GetForwardTo(), ago(s.GetLastRunAt(), now), next,
		strconv.FormatInt(s.GetCollected(), 10), stateOf(a, s),
	}
}

func remoteOf(a *mailferryv1.Account) string {
	return word(a.GetProtocol(), "PROTOCOL_") + "://" + a.GetUsername() + "@" + a.GetHost()
}

func stateOf(a *mailferryv1.Account, s *mailferryv1.AccountState) string {
	switch {
	case s.GetRunningJob() != "":
		return "running"
	case !a.GetActive():
		return "inactive"
	case s.GetLastFault() != nil:
		return result(s.GetLastFault())
	case s.GetLastRunAt() == nil:
		return "new"
	}
	return "ok"
}

// AccountShowCmd shows one account.
type AccountShowCmd struct {
	Client `embed:""`

	Ref Ref `arg:"" name:"domain/name" help:"The account."`
}

// Run prints the account.
func (c *AccountShowCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: c.Ref.proto()})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	showAccount(env, res.GetAccount(), res.GetState())
	return nil
}

// authOf is empty for auto, which is what all but a few have.
func authOf(a *mailferryv1.Account) string {
	return map[bool]string{true: string(account.FromProto(a).Auth)}[a.GetAuth() != mailferryv1.AuthMethod_AUTH_METHOD_AUTO]
}

func showAccount(env *Env, a *mailferryv1.Account, s *mailferryv1.AccountState) {
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	schedule := cmp.Or(interval(a.GetInterval()), calendarOf(a.GetSchedule()), "global")
	index := "empty"
	if s.GetEpoch() != "" {
		index = fmt.Sprintf("%s collected, %s in flight, %s skipped, %s parked, %s deferred, %s deleting",
			num(s.GetCollected()), num(s.GetInFlight()), num(s.GetSkipped()), num(s.GetParked()), num(s.GetDeferred()), num(s.GetDeleting()))
	}
	failing := ""
	if f := s.GetLastFault(); f != nil {
		failing = f.GetMessage()
		if f.GetAdvice() != "" {
			failing += "; " + f.GetAdvice()
		}
		failing += " [" + result(f) + "]"
		if s.GetFailures() > 0 {
			failing += fmt.Sprintf(", %s in a row, since %s", count(s.GetFailures(), "failure"), instant(s.GetFailingSince()))
		}
	}
	seen := "not yet seen"
	if s.GetTlsVersion() != "" {
		seen = fmt.Sprintf("%s, since %s; never without any more (--forget-tls)", s.GetTlsVersion(), instant(s.GetTlsSince()))
	}
	certificate := strings.Join(a.GetTlsPins(), ", ")
	switch {
	case a.GetTlsAllowInvalid():
		certificate = "any is taken"
	case certificate != "":
		certificate = "pinned: " + certificate
	case a.GetTlsCa() != "":
		certificate = "of the account's own CA"
	}
	properties(env,
		"account", a.GetDomain()+"/"+a.GetName(), "uid", a.GetUid(), "active", yes(a.GetActive()),
		"remote", remoteOf(a), "tls", word(a.GetTls(), "TLS_MODE_"), "tls seen", seen, "certificate", certificate, "auth", authOf(a), "apop", map[bool]string{true: "yes"}[a.GetApop()],
		"lenient dot", map[bool]string{true: "yes"}[a.GetLenientDot()],
		"forward to", forwardOf(a), "recipients", recipientsOf(a), "rules", rulesOf(a.GetRules()), "interval", schedule, "push", pushOf(a, s), "after collection", afterOf(a), "collects", limitsOf(a), "notices", notifyOf(a), "labels", strings.Join(a.GetLabels(), ", "), "mailboxes", mailboxesOf(a),
		"on index loss", word(a.GetOnIndexLoss(), "ON_INDEX_LOSS_"), "created", instant(a.GetCreatedAt()),
		"changed", instant(a.GetUpdatedAt()), "revision", strconv.FormatUint(a.GetRevision(), 10),
		"state", stateOf(a, s), "last run", instant(s.GetLastRunAt()), "next run", instant(s.GetNextDueAt()), "boosted until", instant(s.GetBoostedUntil()),
		"running job", s.GetRunningJob(), "failing", failing, "index", index, "index epoch", s.GetEpoch())
}

// proto returns the reference as the API wants it.
func (r Ref) proto() *mailferryv1.AccountRef {
	return &mailferryv1.AccountRef{Domain: r.Domain, Name: r.Name}
}
