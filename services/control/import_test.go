package control_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestAnImportKeepsGoodFromBad imports twice; in between one account is edited in the file.
func TestAnImportKeepsGoodFromBad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	req := &mailferryv1.ImportAccountsRequest{}
	for i := range 20 {
		req.Accounts = append(req.Accounts, &mailferryv1.CreateAccountRequest{Account: sample(fmt.Sprint("a", i)), Password: canary})
	}
	req.Accounts[3].Account.Domain = "exa mple"
	req.Accounts[4].Account = nil
	req.Accounts[5].Password = ""
	outcome := func() string {
		t.Helper()
		res, err := h.accounts.ImportAccounts(t.Context(), req)
		if err != nil || len(res.GetAccounts()) != len(req.Accounts) {
			t.Fatalf("%v, %v", res, err)
		}
		var b strings.Builder
		for _, a := range res.GetAccounts() {
			switch {
			case a.GetFault() != nil && fault.Kind(a.GetFault().GetKind()) != fault.Policy:
				t.Errorf("%v", a.GetFault())
			case a.GetFault() != nil:
				b.WriteByte('f')
			case a.GetExisted():
				b.WriteByte('e')
			default:
				b.WriteByte('a')
			}
		}
		return b.String()
	}
	if got, want := outcome(), "aaafff"+strings.Repeat("a", 14); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	slot, stored := h.slot("a7")
	if got, err := h.vault.Unseal(stored.SealedPassword, stored.SealContext()); err != nil || got != canary {
		t.Errorf("the stored password does not open: %v", err)
	}
	if n, err := h.redis.Client.HLen(t.Context(), "mf:{"+string(slot)+"}:accounts").Result(); err != nil || n == 0 {
		t.Errorf("enrolled %d, %v", n, err)
	}
	req.Accounts[3].Account.Domain = "example.com"
	req.Accounts[8].Account.ForwardTo = "somebody@example.com"
	if got, want := outcome(), "eeeaffeefe"+strings.Repeat("e", 10); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, now := h.slot("a8"); now.Revision == 0 || now.ForwardTo == "somebody@example.com" {
		t.Errorf("an import has changed %v", now)
	}
	_, err := h.accounts.ImportAccounts(t.Context(), &mailferryv1.ImportAccountsRequest{})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "accounts: want 1 to 1000", "")
}

// TestAnImportKeepsToTheCapOfADomain has more accounts than there may be.
func TestAnImportKeepsToTheCapOfADomain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.fleet.PutDomain(t.Context(), &mailferryv1.PutDomainRequest{Domain: &mailferryv1.Domain{Name: "example.com", MaxAccounts: 3}})
	if err != nil {
		t.Fatal(err)
	}
	req := &mailferryv1.ImportAccountsRequest{}
	for i := range 10 {
		req.Accounts = append(req.Accounts, &mailferryv1.CreateAccountRequest{Account: sample(fmt.Sprint("a", i)), Password: canary})
	}
	for range 2 {
		res, err := h.accounts.ImportAccounts(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range res.GetAccounts() {
			if (a.GetFault() == nil) != (i < 3) {
				t.Errorf("%d: %v", i, a.GetFault())
			}
		}
	}
}

// TestAnImportFillsTheRoomThereIs names accounts twice, and those of a domain that may have any number: who becomes none takes no
// room from those behind it.
func TestAnImportFillsTheRoomThereIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.fleet.PutDomain(t.Context(), &mailferryv1.PutDomainRequest{Domain: &mailferryv1.Domain{Name: "example.com", MaxAccounts: 4}})
	if err != nil {
		t.Fatal(err)
	}
	h.add("old")
	for _, name := range []string{"gone", "removed", "too"} { // they take no room
		h.add(name)
		if _, err := h.accounts.DeleteAccount(t.Context(), &mailferryv1.DeleteAccountRequest{Ref: ref(name)}); err != nil {
			t.Fatal(err)
		}
	}
	req := &mailferryv1.ImportAccountsRequest{}
	for _, name := range []string{"a", "a", "a", "free", "b", "old", "c", "d", "e"} {
		a := sample(name)
		if name == "free" {
			a.Domain = "free.example"
		}
		req.Accounts = append(req.Accounts, &mailferryv1.CreateAccountRequest{Account: a, Password: canary})
	}
	res, err := h.accounts.ImportAccounts(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	added := 0
	for i, a := range res.GetAccounts() {
		if full := i > 6; (a.GetFault() != nil) != full || full && !strings.Contains(a.GetFault().GetMessage(), "all the accounts that it may have: 4") {
			t.Errorf("%d: %v", i, a)
		}
		if a.GetFault() == nil && !a.GetExisted() {
			added++
		}
	}
	if added != 4 || !res.GetAccounts()[5].GetExisted() {
		t.Errorf("%d were added: %v", added, res)
	}
}
