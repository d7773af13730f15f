package control_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/testenv/issuer"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

// owned is a house whose account alice signs in with tokens of a real provider.
func owned(t *testing.T) (*house, *issuer.Issuer) {
	t.Helper()
	op := issuer.New(t, "http://localhost:9"+control.CallbackPath)
	h := newHouse(t, func(d *control.Deps, _ *control.Config) {
		dir, v := d.Directory.(oauth.Store), d.Vault.(oauth.Vault)
		d.Consents = oauth.New(dir, v, testenv.NewRedis(t).Client, oauth.Config{
			RedirectURL: "http://localhost:9" + control.CallbackPath,
			Providers: map[string]oauth.Provider{"own": {
				Name: "own", ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, Issuer: op.URL, Scopes: []string{"openid", "offline_access"},
			}},
		})
	})
	for name, provider := range map[string]string{"alice": "own", "nowhere": "unknown"} {
		a := sample(name)
		a.Auth, a.OauthProvider = mailferryv1.AuthMethod_AUTH_METHOD_OAUTH2, provider
		if _, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: a}); err != nil {
			t.Fatal(err)
		}
	}
	return h, op
}

// ask starts a consent and returns its stream after the first answer.
func (h *house) ask(name string, device bool) *connect.ServerStreamForClient[mailferryv1.StartConsentResponse] {
	h.t.Helper()
	s, err := h.accounts.StartConsent(h.t.Context(), &mailferryv1.StartConsentRequest{Ref: ref(name), Device: device})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close() })
	if !s.Receive() || s.Msg().GetGiven() || !s.Msg().GetExpiresAt().AsTime().After(time.Now()) {
		h.t.Fatalf("%v, %v", s.Msg(), s.Err())
	}
	return s
}

// back is the owner's browser at the callback.
func (h *house) back(query string) (int, string) {
	h.t.Helper()
	resp, err := http.Get(h.url + control.CallbackPath + "?" + query)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(page)
}

// A consent is given by link or by code; the account is fetched at once, and a link is good once.
func TestConsentIsGiven(t *testing.T) {
	t.Parallel()
	h, op := owned(t)
	jobs := make(chan string, 10)
	h.work(func(ctx context.Context, c *queue.Claim) {
		h.ack(ctx, c)
		jobs <- c.Name + " " + string(c.Trigger)
	})
	given := func(s *connect.ServerStreamForClient[mailferryv1.StartConsentResponse]) {
		t.Helper()
		if !s.Receive() || !s.Msg().GetGiven() {
			t.Fatalf("the caller is not told: %v, %v", s.Msg(), s.Err())
		}
		select {
		case job := <-jobs:
			if job != "alice manual" {
				t.Error("fetched at once:", job)
			}
		case <-time.After(30 * time.Second):
			t.Error("nothing is fetched after consent")
		}
	}
	s := h.ask("alice", false)
	query := op.Browse(t, s.Msg().GetLink(), "alice").RawQuery
	if code, page := h.back(query); code != http.StatusOK || !strings.HasPrefix(page, "Thank you.") {
		t.Errorf("%d %s", code, page)
	}
	given(s)
	if code, page := h.back(query); code != http.StatusBadRequest || !strings.Contains(page, "used before") {
		t.Errorf("a link is good twice: %d %s", code, page)
	}
	s = h.ask("alice", true)
	op.Enter(t, s.Msg().GetCode(), "alice")
	given(s)
	if log := h.log.String(); strings.Contains(log, issuer.ClientSecret) || strings.Contains(log, query) {
		t.Error("the log shows what it must not:\n" + log)
	}
}

// What is refused says why, and gives nothing away; a drain ends who waits.
func TestConsentIsNotGiven(t *testing.T) {
	t.Parallel()
	h, _ := owned(t)
	h.add("bob")
	for name, want := range map[string]struct {
		code connect.Code
		word string
	}{"bob": {connect.CodeFailedPrecondition, "does not sign in with OAuth 2.0"}, "nowhere": {connect.CodeFailedPrecondition, `no provider "unknown"`}} {
		s, err := h.accounts.StartConsent(t.Context(), &mailferryv1.StartConsentRequest{Ref: ref(name)})
		if err != nil {
			t.Fatal(err)
		}
		if s.Receive() {
			t.Errorf("%s: %v", name, s.Msg())
		}
		wantError(t, s.Err(), want.code, fault.Policy, want.word)
	}
	s := h.ask("alice", false)
	_, state, _ := strings.Cut(s.Msg().GetLink(), "state=")
	state, _, _ = strings.Cut(state, "&")
	for query, want := range map[string]string{
		"error=access_denied&state=" + state: "did not give consent",
		"code=guessed&state=guessed":         "used before",
		"":                                   "used before",
	} {
		if code, page := h.back(query); code != http.StatusBadRequest || !strings.Contains(page, want) {
			t.Errorf("%s: %d %s", query, code, page)
		}
	}
	h.svc.Drain()
	if s.Receive() || s.Err() == nil {
		t.Errorf("who waits is not ended: %v, %v", s.Msg(), s.Err())
	}
}
