package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// AccountTestCmd tests an account.
type AccountTestCmd struct {
	Client   `embed:""`
	Password `embed:""`

	Ref      Ref `arg:"" name:"domain/name" help:"The account; or, with settings, any name in its domain."`
	Examples int `default:"10" placeholder:"N" help:"How many messages that would be fetched or deleted are named (${default})."`
	Source   `embed:""`

	Mailboxes   `embed:""`
	Policy      `embed:""`
	Certificate `embed:""`
}

// Help shows examples.
func (*AccountTestCmd) Help() string {
	return `A worker connects, signs in and lists, and says what the next run would fetch, and what would be deleted or moved
once that is accepted. Nothing is fetched, deleted, marked or recorded; a refused password counts as one.

Examples:
  mailferry account test example.com/gmail-alice                             as it is saved
  mailferry account test example.com/gmail-alice --after delete --after-days 30    as it would be with these rules
  mailferry account test example.com/new --address alice@web.de              before it is added
  mailferry account test example.com/new --protocol pop3 --host pop.isp.net --username alice --password-file pass

With rules of what is collected and what then, a saved account is tested with its own server, password and record of what
it collected. With another server, user or certificate the password is needed again, and the record is empty. Exit code 1 if
the test failed.`
}

// Run tests the account as it is saved, or with what the command line says.
func (c *AccountTestCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	req := &mailferryv1.TestAccountRequest{Examples: int32(c.Examples)}
	if err := c.settings(ctx, env, to, req); err != nil {
		return err
	}
	if env.Terminal && !c.JSON {
		_, _ = fmt.Fprintf(env.Stderr, "%s: a worker connects …\n", c.Ref)
	}
	res, err := to.accounts.TestAccount(ctx, req)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(env.Stdout, res); err != nil {
			return err
		}
	} else {
		showTest(env, res)
	}
	return errFault("account "+c.Ref.String(), res.GetReport().GetFault())
}

// settings fills in the request: the account as it is saved, or that with other rules, or one that is not saved.
func (c *AccountTestCmd) settings(ctx context.Context, env *Env, to *clients, req *mailferryv1.TestAccountRequest) error {
	elsewhere := c.Source.connects() || c.Certificate.named() || c.given()
	if !elsewhere {
		req.Ref = c.Ref.proto()
		if c.Interval == nil && c.After == nil && !c.Policy.named() && !c.Mailboxes.named() {
			return nil
		}
	}
	a := account.Account{Domain: c.Ref.Domain, Name: c.Ref.Name}
	got, err := to.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: c.Ref.proto()})
	switch {
	case err == nil && c.Address == "" && c.Preset == "":
		a = account.FromProto(got.GetAccount())
	case err != nil && (!elsewhere || connect.CodeOf(err) != connect.CodeNotFound):
		return err
	default:
		if err := c.Source.check(); err != nil {
			return err
		}
	}
	c.Source.apply(&a)
	c.Policy.apply(&a)
	c.Mailboxes.apply(&a)
	if err := c.Certificate.apply(&a); err != nil {
		return err
	}
	req.Account, req.Address, req.Provider = a.Proto(), c.Address, c.Preset
	if !elsewhere {
		return nil
	}
	req.Password, err = c.Source.password(env, &c.Password, a)
	return err
}

// showTest prints what a test found.
func showTest(env *Env, res *mailferryv1.TestAccountResponse) {
	a, r := res.GetAccount(), res.GetReport()
	cert, pin := certificateOf(r.GetCertificate())
	tls := r.GetTls()
	if r.GetTlsMode() != "" {
		tls += " (" + r.GetTlsMode() + ")"
	}
	outcome := "works"
	if r.GetFault() != nil {
		outcome = "failed [" + result(r.GetFault()) + "]"
	}
	lines := []string{
		"test", outcome, "remote", remoteOf(a), "address", r.GetAddress(), "tls", tls, "certificate", cert,
		"issuer", r.GetCertificate().GetIssuer(), "--tls-pin", pin, "offers", strings.Join(r.GetCapabilities(), ", "), "signed in by", r.GetMechanism(),
	}
	if r.GetFault() == nil {
		lines = append(lines, "mailbox", count(r.GetMessages(), "message")+", "+size(r.GetOctets()))
		lines = append(lines, shareOf("would fetch", r.GetFetch(), "", r.GetNotFetched())...)
		verb := "would delete"
		if a.GetAfter() == mailferryv1.AfterCollection_AFTER_COLLECTION_MOVE {
			verb = "would move"
		}
		note := ""
		if n := r.GetRemove().GetMessages() - r.GetRemoveCollected(); n > 0 {
			note = fmt.Sprintf(", %d of them once they are accepted", n)
		}
		lines = append(lines, shareOf(verb, r.GetRemove(), note, r.GetStay())...)
	}
	for _, w := range r.GetWarnings() {
		lines = append(lines, "warning", w)
	}
	for _, n := range res.GetNotes() {
		lines = append(lines, "note", n)
	}
	lines = append(lines, "took", fault.Span(r.GetTook().AsDuration().Round(10*time.Millisecond))+" by worker "+r.GetWorker())
	properties(env, lines...)
}

func certificateOf(c *mailferryv1.Certificate) (text, pin string) {
	if c == nil {
		return "", ""
	}
	text = c.GetSubject()
	if len(c.GetNames()) > 0 {
		text += " for " + strings.Join(c.GetNames(), ", ")
	}
	return strings.TrimSpace(fmt.Sprintf("%s, from %s to %s", text, c.GetNotBefore().AsTime().Format(time.DateOnly), c.GetNotAfter().AsTime().Format(time.DateOnly))), c.GetPin()
}

// shareOf says how many messages a part of the mailbox has, some of them by name, and why the others are not in it.
func shareOf(what string, s *mailferryv1.TestShare, note string, others []*mailferryv1.TestCount) []string {
	text := "nothing"
	if n := s.GetMessages(); n > 0 {
		text = count(n, "message") + ", " + size(s.GetOctets()) + note
	}
	lines := []string{what, text}
	var names []string
	for _, m := range s.GetExamples() {
		name := fmt.Sprintf("%d (%s)", m.GetNumber(), size(m.GetSize()))
		if m.GetUid() != 0 {
			name = fmt.Sprintf("UID %d (%s)", m.GetUid(), size(m.GetSize()))
			if m.GetMailbox() != "INBOX" {
				name = m.GetMailbox() + " " + name
			}
		}
		names = append(names, name)
	}
	if n := s.GetMessages() - int64(len(names)); n > 0 && len(names) > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	if len(names) > 0 {
		lines = append(lines, "", strings.Join(names, ", "))
	}
	for _, c := range others {
		lines = append(lines, "  not", fmt.Sprintf("%d: %s", c.GetMessages(), c.GetWhy()))
	}
	return lines
}
