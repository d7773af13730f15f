package control_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestAnAccountThatFeedsItself: it is refused where its mail comes back for certain, and a test warns of it where it may.
func TestAnAccountThatFeedsItself(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	domain := func(destination string) {
		t.Helper()
		if _, err := h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: &mailferryv1.Domain{Name: "example.com", Destination: destination}}); err != nil {
			t.Fatal(err)
		}
	}
	own := sample("own")
	own.Username, own.ForwardTo = "Own@example.com", "own@example.com"
	create := func() error {
		_, err := h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: own, Password: canary})
		return err
	}
	domain("lmtp:pop.isp.net:24")
	wantError(t, create(), connect.CodeInvalidArgument, fault.Policy, "own@example.com is the remote mailbox itself", "another address")
	domain("lmtp:store.example.com:24")
	if err := create(); err != nil {
		t.Fatal(err)
	}
	domain("lmtp:pop.isp.net:24")
	edit := func(change func(*mailferryv1.UpdateAccountRequest)) error {
		_, err := h.edit("own", change)
		return err
	}
	wantError(t, edit(func(r *mailferryv1.UpdateAccountRequest) { r.Account.CopyTo = []string{"other@example.com"} }), connect.CodeInvalidArgument, fault.Policy, "remote mailbox itself")

	h.testers(func(*mailferryv1.TestJob) *mailferryv1.TestReport { return &mailferryv1.TestReport{Worker: "w"} })
	warned := func() string {
		t.Helper()
		res, err := h.accounts.TestAccount(ctx, &mailferryv1.TestAccountRequest{Ref: ref("own")})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(res.GetReport().GetWarnings(), "\n")
	}
	if w := warned(); !strings.Contains(w, "own@example.com is the remote mailbox") {
		t.Errorf("of a certain loop a test warns %q", w)
	}
	domain("lmtp:pop.isp.net:2424")
	if w := warned(); !strings.Contains(w, "own@example.com may be the remote mailbox") {
		t.Errorf("of a likely loop a test warns %q", w)
	}
	domain("lmtp:store.example.com:24")
	if w := warned(); w != "" {
		t.Errorf("of no loop a test warns %q", w)
	}
	domain("lmtp:pop.isp.net:24")
	if err := edit(func(r *mailferryv1.UpdateAccountRequest) { r.Account.Active = false }); err != nil {
		t.Errorf("it cannot be switched off: %v", err)
	}
}
