package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// testers is a worker that answers tests by do until the test ends.
func (h *house) testers(do func(*mailferryv1.TestJob) *mailferryv1.TestReport) {
	h.t.Helper()
	drain, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.queue.ServeTests(context.Background(), drain, 1, func(_ context.Context, j *mailferryv1.TestJob) *mailferryv1.TestReport { return do(j) })
	}()
	h.t.Cleanup(func() {
		close(drain)
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	testenv.Eventually(h.t, 30*time.Second, "it is subscribed", func() bool {
		_, err := h.nats.Conn.Request("ferry.v1.test", nil, 100*time.Millisecond)
		return !errors.Is(err, nats.ErrNoResponders) // it has no answer to what holds no test
	})
}

// TestAnAccountIsTested asks for tests of accounts that are saved, and of some that are not: the worker gets what it
// needs, and nobody a password.
func TestAnAccountIsTested(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	saved := h.add("saved")
	if _, err := h.accounts.TestAccount(t.Context(), &mailferryv1.TestAccountRequest{Ref: ref("saved")}); err != nil {
		wantError(t, err, connect.CodeUnavailable, fault.Unavailable, "no worker answered", "check that a worker runs")
	} else {
		t.Error("tested without a worker")
	}
	wire := h.listen()
	h.testers(func(j *mailferryv1.TestJob) *mailferryv1.TestReport {
		a := account.FromProto(j.GetAccount())
		if j.GetSaved() {
			if a.UID != saved.GetUid() || a.Revision != saved.GetRevision() || a.Host != "" || a.SealedPassword != nil || j.GetRules() != (a.AfterKeepNewest == 5) {
				t.Errorf("the worker is told more than it needs, or less: %v", j)
			}
			return &mailferryv1.TestReport{Worker: "w", Messages: int64(j.GetExamples())}
		}
		password, err := h.vault.Unseal(a.SealedPassword, a.TestContext(j.GetDeadline().AsTime()))
		if err != nil || password != canary {
			t.Errorf("the password does not open: %v", err)
		}
		if _, err := h.vault.Unseal(a.SealedPassword, a.SealContext()); err == nil {
			t.Error("it opens as that of a saved account")
		}
		return &mailferryv1.TestReport{Worker: "w", Fault: fault.Proto(fault.Errorf(fault.Auth, "imap login", "no"))}
	})
	ask := func(req *mailferryv1.TestAccountRequest) (*mailferryv1.TestAccountResponse, error) {
		return h.accounts.TestAccount(t.Context(), req)
	}
	res, err := ask(&mailferryv1.TestAccountRequest{Ref: ref("saved")})
	if err != nil || res.GetReport().GetMessages() != 10 || res.GetAccount().GetHost() != "pop.isp.net" || res.GetAccount().GetSealedPassword() != nil {
		t.Errorf("%v, %v", res, err)
	}
	rules := &mailferryv1.Account{Host: "evil.example", Username: "eve", TlsAllowInvalid: true, After: mailferryv1.AfterCollection_AFTER_COLLECTION_DELETE, AfterKeepNewest: 5}
	res, err = ask(&mailferryv1.TestAccountRequest{Ref: ref("saved"), Account: rules, Examples: 7})
	if a := res.GetAccount(); err != nil || res.GetReport().GetMessages() != 7 || a.GetHost() != "pop.isp.net" || a.GetTlsAllowInvalid() || a.GetAfterKeepNewest() != 5 {
		t.Errorf("other rules for what is saved: %v, %v", res, err)
	}
	_, err = ask(&mailferryv1.TestAccountRequest{Ref: ref("saved"), Account: &mailferryv1.Account{AfterKeepNewest: 5}})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "after")
	res, err = ask(&mailferryv1.TestAccountRequest{Account: &mailferryv1.Account{Domain: "example.com"}, Address: "alice@gmail.com", Password: canary})
	if err != nil || fault.Kind(res.GetReport().GetFault().GetKind()) != fault.Auth || res.GetAccount().GetHost() != "imap.gmail.com" ||
		res.GetAccount().GetSealedPassword() != nil || !strings.Contains(strings.Join(res.GetNotes(), " "), "app password") {
		t.Errorf("%v, %v", res, err)
	}
	unsaved := sample("new")
	unsaved.Host = "pop3.web.de:995"
	if res, err = ask(&mailferryv1.TestAccountRequest{Account: unsaved, Password: canary}); err != nil || !strings.Contains(fmt.Sprint(res.GetNotes()), "switched on") {
		t.Errorf("a failure at a known provider says what its owner has to do: %v, %v", res, err)
	}
	if _, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("new")}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a test saved an account: %v", err)
	}
	if b := wire(); bytes.Contains(b, []byte(canary)) || !bytes.Contains(b, []byte("imap.gmail.com")) {
		t.Errorf("the password goes over NATS, or nothing was heard: %d octets", len(b))
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("the password is in the log")
	}
}

// listen hears tests on their way, and returns what was heard.
func (h *house) listen() func() []byte {
	h.t.Helper()
	var mu sync.Mutex
	var all []byte
	sub, err := h.nats.Conn.Subscribe("ferry.v1.test", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, m.Data...)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() []byte {
		testenv.Eventually(h.t, 30*time.Second, "tests are heard", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return bytes.Count(all, []byte("pop3.web.de")) > 0
		})
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestATestThatIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("saved")
	var done atomic.Int64
	h.testers(func(*mailferryv1.TestJob) *mailferryv1.TestReport {
		done.Add(1)
		return &mailferryv1.TestReport{}
	})
	with := func(change func(*mailferryv1.TestAccountRequest)) error {
		req := &mailferryv1.TestAccountRequest{Account: sample("new"), Password: canary}
		change(req)
		_, err := h.accounts.TestAccount(t.Context(), req)
		return err
	}
	invalid := map[string]func(*mailferryv1.TestAccountRequest){
		"ref":      func(r *mailferryv1.TestAccountRequest) { r.Ref = ref("saved") }, // and a password
		"account":  func(r *mailferryv1.TestAccountRequest) { r.Account = nil },
		"domain":   func(r *mailferryv1.TestAccountRequest) { r.Account.Domain = "" },
		"password": func(r *mailferryv1.TestAccountRequest) { r.Password = "" },
		"host":     func(r *mailferryv1.TestAccountRequest) { r.Account.Host = "" },
		"address":  func(r *mailferryv1.TestAccountRequest) { r.Account.Host, r.Address = "", "alice@own.example" },
		"provider": func(r *mailferryv1.TestAccountRequest) {
			r.Account.Host, r.Address, r.Provider = "", "alice@own.example", "nobody"
		},
		"examples": func(r *mailferryv1.TestAccountRequest) { r.Examples = 1001 },
		// What an account must not do, a test must not either.
		"tls_allow_invalid": func(r *mailferryv1.TestAccountRequest) { r.Account.TlsAllowInvalid = true },
	}
	for field, change := range invalid {
		wantError(t, with(change), connect.CodeInvalidArgument, fault.Policy, field)
	}
	wantError(t, with(func(r *mailferryv1.TestAccountRequest) { *r = mailferryv1.TestAccountRequest{Ref: ref("nobody")} }), connect.CodeNotFound, fault.NotFound, "example.com/nobody")
	body := `{"account": {"domain": "example.com", "host": "h"}, "password": "` + canary + `"}`
	if code, text := h.curl("AccountService/TestAccount", body, "Bearer wrong"); code != http.StatusUnauthorized || strings.Contains(text, canary) {
		t.Errorf("without a token: %d %s", code, text)
	}
	if n := done.Load(); n > 0 {
		t.Errorf("%d tests were done nevertheless", n)
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("the password is in the log")
	}
}

func TestADomainTestsSoOften(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("saved")
	h.testers(func(*mailferryv1.TestJob) *mailferryv1.TestReport { return &mailferryv1.TestReport{} })
	var err error
	n := 0
	for ; err == nil && n < 50; n++ {
		_, err = h.accounts.TestAccount(t.Context(), &mailferryv1.TestAccountRequest{Ref: ref("saved")})
	}
	wantError(t, err, connect.CodeResourceExhausted, fault.Throttled, "example.com has tested accounts too often", "wait until then")
	if n != 31 {
		t.Errorf("refused at the %dth test", n)
	}
	other := sample("x")
	other.Domain, other.ForwardTo = "example.org", "x@example.org"
	if _, err := h.accounts.TestAccount(t.Context(), &mailferryv1.TestAccountRequest{Account: other, Password: canary}); err != nil {
		t.Errorf("another domain suffers from it: %v", err)
	}
}

// TestProvidersFillIn creates accounts from an address.
func TestProvidersFillIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	create := func(name, address, provider string, protocol mailferryv1.Protocol) (*mailferryv1.CreateAccountResponse, error) {
		return h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{
			Account: &mailferryv1.Account{Domain: "example.com", Name: name, Protocol: protocol, ForwardTo: "a@example.com"}, Password: canary, Address: address, Provider: provider,
		})
	}
	res, err := create("a", "alice@web.de", "", mailferryv1.Protocol_PROTOCOL_POP3)
	a := res.GetAccount()
	if err != nil || a.GetHost() != "pop3.web.de" || a.GetUsername() != "alice" || a.GetTls() != mailferryv1.TlsMode_TLS_MODE_DIRECT ||
		a.GetInterval().AsDuration() != 15*time.Minute || len(res.GetNotes()) != 1 {
		t.Errorf("%v, %v", res, err)
	}
	res, err = create("b", "alice@own.example", "strato", 0)
	if a = res.GetAccount(); err != nil || a.GetHost() != "imap.strato.de" || a.GetUsername() != "alice@own.example" || a.GetInterval() != nil {
		t.Errorf("%v, %v", res, err)
	}
	_, err = create("c", "alice@own.example", "", 0)
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "address", "--protocol, --host, --username", "providers list")
	_, err = create("c", "alice", "", 0)
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "address")
	_, err = create("c", "alice@tuta.com", "", 0)
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "neither POP3 nor IMAP")

	list, err := h.fleet.ListProviders(t.Context(), &mailferryv1.ListProvidersRequest{})
	if err != nil || len(list.GetProviders()) < 30 {
		t.Errorf("%d providers, %v", len(list.GetProviders()), err)
	}
	list, err = h.fleet.ListProviders(t.Context(), &mailferryv1.ListProvidersRequest{Address: "someone@hotmail.fr"})
	if err != nil || len(list.GetProviders()) != 1 || !list.GetProviders()[0].GetOauthOnly() || list.GetProviders()[0].GetImap().GetPort() != 993 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = h.fleet.ListProviders(t.Context(), &mailferryv1.ListProvidersRequest{Name: "nobody"})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "no provider")
}
