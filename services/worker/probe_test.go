package worker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	imapEnter = "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\nC? H1 AUTHENTICATE PLAIN \n" +
		"S: H1 OK [CAPABILITY IMAP4rev1 CHILDREN] in\n"
)

// tests are dialogues of tests: what is not in them is not sent. A body is fetched in none, and nothing is deleted.
var tests = []struct {
	name, dialogue string
	protocol       account.Protocol
	change         func(*account.Account)
	kind           fault.Kind
	want           string // parts of the report, separated by |
}{
	{
		name: "plaintext", dialogue: enter + uids + goodbye,
		want: "not encrypted|password goes over the network in plain text|fetch:{messages:3 octets:30|mail is left at the remote server|tls:none|capabilities:TOP|messages:3",
	},
	{
		name: "no UIDL", dialogue: enter + noUIDL + top(1) + top(2) + top(3) + goodbye,
		want: "gives no unique-ids (UIDL)|fetch:{messages:3",
	},
	{
		name: "no UIDL and no TOP", dialogue: noTOP + noUIDL + goodbye,
		want: "gives no unique-ids (UIDL)|has no unique-id: a run tells it by its header or its body messages:3",
	},
	{
		name: "a unique-id twice", want: "2 messages have no unique-id of their own|fetch:{messages:3",
		dialogue: enter + stat + "C: UIDL\nS: +OK\nS: 1 a\nS: 2 b\nS: 3 b\nS: .\n" + sizes + top(2) + top(3) + goodbye,
	},
	{
		name: "it drops what was fetched, and wants time", dialogue: eats + uids, // and no QUIT
		want: "drops messages once they were fetched|wants 10m between two sessions",
	},
	{
		name: "a listing that contradicts itself", dialogue: enter + stat + "C: UIDL\nS: +OK\nS: 1 a\nS: 3 c\nS: .\n" + sizes + goodbye,
		change: func(a *account.Account) { a.After = account.Delete },
		want:   "so that nothing is deleted or forgotten|fetch:{messages:2|why:the listing contradicts itself messages:2",
	},
	{
		name: "limits", dialogue: enter + stat + "C: UIDL\nS: +OK\nS: 1 a\nS: 2 b\nS: 3 c\nS: .\nC: LIST\nS: +OK\nS: 1 10\nS: 2 2000\nS: 3 10\nS: .\n" + goodbye,
		change: func(a *account.Account) { a.MaxMessageSize, a.MaxMessages, a.After = 1000, 1, account.Delete },
		want: "fetch:{messages:1 octets:10 examples:{number:1 size:10}}|larger than the account's limit: passed over for good messages:1|" +
			"left for a later run by the account's limits messages:1|remove:{messages:1|why:not collected messages:2",
	},
	{
		name: "from now on", dialogue: enter + uids + goodbye, change: func(a *account.Account) { a.StartDays = account.StartNow },
		want: "why:there before the account started messages:3",
	},
	{
		name: "wrong password", dialogue: "S: +OK\nC: CAPA\nS: +OK\nS: TOP\nS: .\nC: USER u\nS: +OK\nC: PASS p\nS: -ERR [AUTH] no\n",
		kind: fault.Auth, want: "kind:FAULT_KIND_AUTH|check the user name and the password|capabilities:TOP|address:127.0.0.1",
	},
	{
		name: "TLS that nobody trusts", dialogue: "TLS\n", change: func(a *account.Account) { a.TLS = account.Direct },
		kind: fault.TLS, want: "an authority that is not known here|pin:|issuer:|names:localhost",
	},
	{
		name: "TLS with another key", dialogue: "TLS\n", kind: fault.TLS, want: "not the pinned one|pin:|names:localhost",
		change: func(a *account.Account) { a.TLS, a.TLSPins = account.Direct, []string{strings.Repeat("ab", 32)} },
	},
	{
		name: "no UIDPLUS", protocol: account.IMAP, change: func(a *account.Account) { a.After = account.Delete },
		want: "has no UIDPLUS|capabilities:IMAP4REV1 capabilities:CHILDREN|fetch:{messages:1 octets:10 examples:{mailbox:INBOX uid:7 size:10}}|remove:{messages:1",
		dialogue: imapEnter + "C: T1 EXAMINE INBOX\nS: * 1 EXISTS\nS: * OK [UIDVALIDITY 9] x\nS: T1 OK [READ-ONLY] x\nC? T2 UID FETCH\n" +
			"S: * 1 FETCH (UID 7 RFC822.SIZE 10)\nS: T2 OK x\nC: T3 LOGOUT\nS: * BYE\nS: T3 OK x\n",
	},
}

func TestTests(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := testenv.NewScript(t, tt.dialogue)
			a := account.Account{
				Domain: fmt.Sprintf("d%d.example", i), Name: "x", Protocol: account.POP3, TLS: account.Disable, Host: fmt.Sprintf("127.0.0.1:%d", s.Port),
				Username: "u", ForwardTo: "x@example.com", Interval: time.Minute,
			}
			if tt.protocol != "" {
				a.Protocol = tt.protocol
			}
			if tt.change != nil {
				tt.change(&a)
			}
			r := h.test(t, a)
			text := strings.NewReplacer("  ", " ", `"`, "").Replace(fmt.Sprint(r))
			for want := range strings.SplitSeq(tt.want, "|") {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not said: %s", want, text)
				}
			}
			if fault.Kind(r.GetFault().GetKind()) != tt.kind {
				t.Errorf("fault %v, want %v", r.GetFault(), tt.kind)
			}
		})
	}
}

// test tests an account that is not saved.
func (h *house) test(t *testing.T, a account.Account) *mailferryv1.TestReport {
	t.Helper()
	a.UID = directory.NewUID()
	a = a.WithDefaults()
	until := time.Now().Add(time.Minute).Truncate(time.Second)
	var err error
	if a.SealedPassword, err = h.Vault.Seal("p", a.TestContext(until)); err != nil {
		t.Fatal(err)
	}
	return h.ask(t, &mailferryv1.TestJob{Id: rand.Text(), Account: a.Proto(), Deadline: timestamppb.New(until), Examples: 5})
}

// ask has the worker do a test; it may just have started.
func (h *house) ask(t *testing.T, j *mailferryv1.TestJob) *mailferryv1.TestReport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var r *mailferryv1.TestReport
	testenv.Eventually(t, time.Minute, "the worker answers", func() bool {
		var err error
		r, err = h.Queue.Test(ctx, j)
		return err == nil
	})
	return r
}

// TestATestsPasswordOpensForItsServerAlone changes what was asked on its way: the password stays shut.
func TestATestsPasswordOpensForItsServerAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := testenv.NewScript(t, "S: +OK\nCLOSE\n") // where the password is lured to: nobody signs in there
	a := account.Account{
		UID: directory.NewUID(), Domain: "example.com", Name: "x", Protocol: account.POP3, Host: "mail.example.net", Username: "u", ForwardTo: "x@example.com",
	}.WithDefaults()
	until := time.Now().Add(time.Minute).Truncate(time.Second)
	sealed, err := h.Vault.Seal("p", a.TestContext(until))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*account.Account, *time.Time){
		"host":          func(a *account.Account, _ *time.Time) { a.Host = fmt.Sprintf("127.0.0.1:%d", s.Port) },
		"without TLS":   func(a *account.Account, _ *time.Time) { a.TLS = account.Disable },
		"any key":       func(a *account.Account, _ *time.Time) { a.TLSAllowInvalid = true },
		"their key":     func(a *account.Account, _ *time.Time) { a.TLSPins = []string{strings.Repeat("ab", 32)} },
		"later":         func(_ *account.Account, until *time.Time) { *until = until.Add(time.Second) },
		"as an owner's": func(a *account.Account, _ *time.Time) { a.UID = directory.NewUID() },
	} {
		b, then := a, until
		change(&b, &then)
		b.SealedPassword = sealed
		r := h.ask(t, &mailferryv1.TestJob{Id: rand.Text(), Account: b.Proto(), Deadline: timestamppb.New(then)})
		if k := fault.Kind(r.GetFault().GetKind()); k != fault.Internal || !strings.Contains(r.GetFault().GetMessage(), "does not open") {
			t.Errorf("%s: %v", name, r)
		}
	}
}
