package control_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestLabels lists and triggers accounts of two domains by their labels.
func TestLabels(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, labels := range map[string][]string{"a": {"vip", "eu"}, "b": nil, "c": {"eu"}, "d": {"vip"}, "z": {"vip"}} {
		a := sample(name)
		a.Labels = labels
		if name == "z" {
			a.Domain = "another.example"
		}
		res, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: a, Password: canary})
		if err != nil {
			t.Fatal(err)
		}
		h.planned(res.GetAccount())
	}
	wrong := sample("wrong")
	wrong.Labels = []string{"VIP"}
	_, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: wrong, Password: canary})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "labels")

	list := func(domain, label string) string {
		var names []string
		for page := ""; ; {
			res, err := h.accounts.ListAccounts(t.Context(), &mailferryv1.ListAccountsRequest{Domain: domain, Label: label, PageSize: 1, PageToken: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range res.GetAccounts() {
				names = append(names, a.GetName())
			}
			if page = res.GetNextPageToken(); page == "" {
				return strings.Join(names, " ")
			}
		}
	}
	for want, got := range map[string]string{
		"z a d": list("", "vip"), "a d": list("example.com", "vip"), "a c": list("", "eu"), "": list("", "nobody"), "z a b c d": list("", ""),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	_, err = h.accounts.ListAccounts(t.Context(), &mailferryv1.ListAccountsRequest{Label: "No label"})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "label")

	if _, err := h.edit("d", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Labels = []string{"former"} }); err != nil {
		t.Fatal(err)
	}
	if got := list("", "vip"); got != "z a" {
		t.Errorf("after the edit: %q", got)
	}

	var mu sync.Mutex
	var runs []string
	h.work(func(ctx context.Context, c *queue.Claim) {
		mu.Lock()
		runs = append(runs, c.Name)
		mu.Unlock()
		h.run(ctx, c, 0)
	})
	ran := func(what, want string) {
		t.Helper()
		testenv.Eventually(t, 60*time.Second, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(runs)
			return strings.Join(runs, " ") == want
		})
	}
	h.serveTriggers()
	wantOutcome(t, h.trigger(`{"label":"VIP"}`), "INVALID")
	wantOutcome(t, h.trigger(`{"label":"vip","domain":"example.com","name":"a"}`), "INVALID")
	wantOutcome(t, h.trigger(`{"requestId":"v-1","label":"vip"}`), "ACCEPTED")
	ran("those with the label run", "a z")
	wantOutcome(t, h.trigger(`{"requestId":"v-2","label":"eu","domain":"example.com"}`), "ACCEPTED")
	ran("those of the domain with the label run", "a a c z")

	s, err := h.runs.FetchMany(t.Context(), &mailferryv1.FetchManyRequest{Label: "former", Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	for s.Receive() {
		if s.Msg().GetAccounts() != 1 {
			t.Errorf("%v", s.Msg())
		}
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
	ran("the one with the new label runs", "a a c d z")
	s, err = h.runs.FetchMany(t.Context(), &mailferryv1.FetchManyRequest{Label: "nobody", Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for s.Receive() {
	}
	wantError(t, s.Err(), connect.CodeNotFound, fault.NotFound, "domain example.com has no accounts with the label nobody")
}
