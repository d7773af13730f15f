package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/testenv/issuer"
	"github.com/mailferry/mailferry/pkg/vault"
)

const callback = "http://localhost:9/oauth/callback"

// store is a bucket in memory.
type store struct {
	mu       sync.Mutex
	sealed   []byte
	revision uint64
}

func (s *store) Credential(context.Context, string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed, s.revision, nil
}

func (s *store) PutCredential(_ context.Context, _ string, sealed []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision != s.revision {
		return 0, errors.New("was changed meanwhile")
	}
	s.sealed, s.revision = sealed, s.revision+1
	return s.revision, nil
}

func (s *store) EraseCredential(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed, s.revision = nil, s.revision+1
	return nil
}

// house is an issuer, and brokers of several workers over one Redis and one bucket.
type house struct {
	*issuer.Issuer
	store *store
	redis *testenv.Redis
	vault *vault.Vault
}

func newHouse(t *testing.T) *house {
	t.Helper()
	content, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	return &house{Issuer: issuer.New(t, callback), store: &store{}, redis: testenv.NewRedis(t), vault: v}
}

func (h *house) broker() *oauth.Broker {
	return oauth.New(h.store, h.vault, h.redis.Client, oauth.Config{RedirectURL: callback, Providers: map[string]oauth.Provider{
		"own": {Name: "own", ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, Issuer: h.URL, Scopes: []string{"openid", "email", "offline_access"}},
	}})
}

var owner = oauth.Owner{UID: "u1", Domain: "example.com", Name: "alice", Provider: "own", Username: "alice@example.com"}

// consent gives one, as the owner does.
func (h *house) consent(t *testing.T) {
	t.Helper()
	b := h.broker()
	link, err := b.Start(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	back := h.Browse(t, link, owner.Username).Query()
	if o, err := b.Finish(t.Context(), back.Get("state"), back.Get("code")); err != nil || o != owner {
		t.Fatal(o, err)
	}
	if _, err := b.Finish(t.Context(), back.Get("state"), back.Get("code")); fault.KindOf(err) != fault.Policy {
		t.Fatalf("a state is good twice: %v", err)
	}
}

// works says whether the provider knows an access token.
func (h *house) works(t *testing.T, token string) bool {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.UserinfoURL, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// The whole life of a consent: given, used, refreshed once for three workers, rotated, revoked, given again.
func TestLifeOfAConsent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.broker().Token(t.Context(), "u1"); fault.KindOf(err) != fault.ConsentNeeded {
		t.Fatalf("before any consent: %v", err)
	}
	h.consent(t)
	first, err := h.broker().Token(t.Context(), "u1")
	if err != nil || !h.works(t, first) || h.Refreshes() != 0 {
		t.Fatal(err, h.Refreshes())
	}

	// Each turn needs the refresh token that the turn before was given.
	h.Slow(200 * time.Millisecond)
	for turn := int64(1); turn <= 3; turn++ {
		if err := h.broker().Forget(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		tokens := map[string]bool{}
		for range 3 {
			b := h.broker()
			for range 4 {
				wg.Go(func() {
					token, err := b.Token(t.Context(), "u1")
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					tokens[token] = true
				})
			}
		}
		wg.Wait()
		if len(tokens) != 1 || h.Refreshes() != turn {
			t.Fatalf("turn %d: %d tokens, %d refreshes", turn, len(tokens), h.Refreshes())
		}
		for token := range tokens {
			if !h.works(t, token) {
				t.Errorf("turn %d: the token is not good", turn)
			}
		}
	}

	// Revoked: consent is needed, and the provider is not asked again and again.
	h.Revoke(t, owner.Username)
	if err := h.broker().Forget(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := h.broker().Token(t.Context(), "u1"); fault.KindOf(err) != fault.ConsentNeeded {
			t.Fatalf("after it was revoked: %v", err)
		}
	}
	if n := h.Refreshes(); n != 4 {
		t.Errorf("%d refreshes, want 4", n)
	}
	h.consent(t)
	if token, err := h.broker().Token(t.Context(), "u1"); err != nil || !h.works(t, token) {
		t.Error("a new consent:", err)
	}
	if err := h.broker().Erase(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.broker().Token(t.Context(), "u1"); fault.KindOf(err) != fault.ConsentNeeded {
		t.Errorf("after it was erased: %v", err)
	}
}

// The owner takes a moment (RFC 8628 §3.5). The provider of the other tests gives devices no refresh token.
func TestDeviceCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/device":
			fmt.Fprint(w, `{"device_code":"d","user_code":"ABCD-EFGH","verification_uri":"https://example.com/device","expires_in":60,"interval":1}`)
		case r.FormValue("device_code") != "d":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_request"}`)
		case asked.Add(1) == 1:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"authorization_pending"}`)
		default:
			fmt.Fprint(w, `{"access_token":"access","refresh_token":"refresh","token_type":"Bearer","expires_in":3600}`)
		}
	}))
	defer srv.Close()
	b := oauth.New(h.store, h.vault, h.redis.Client, oauth.Config{Providers: map[string]oauth.Provider{
		"own": {Name: "own", ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, AuthURL: srv.URL, TokenURL: srv.URL + "/token", DeviceURL: srv.URL + "/device"},
	}})
	d, err := b.StartDevice(t.Context(), owner)
	if err != nil || d.Code != "ABCD-EFGH" || d.URL != "https://example.com/device" {
		t.Fatal(d, err)
	}
	if err := b.AwaitDevice(t.Context(), d); err != nil || asked.Load() != 2 {
		t.Fatal(err, asked.Load())
	}
	if token, err := b.Token(t.Context(), "u1"); err != nil || token != "access" {
		t.Error(token, err)
	}
}

// What is kept shows no token, and a state of somebody else opens nothing.
func TestNothingIsKeptInClear(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.consent(t)
	token, err := h.broker().Token(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := h.redis.Client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	kept := string(h.store.sealed)
	for _, k := range keys {
		v, _ := h.redis.Client.Get(t.Context(), k).Result()
		kept += k + v
	}
	if strings.Contains(kept, token) || strings.Contains(kept, "refresh_token") {
		t.Error("a token is kept in clear")
	}
	if _, err := h.broker().Finish(t.Context(), "guessed", "code"); fault.KindOf(err) != fault.Policy {
		t.Errorf("a guessed state: %v", err)
	}
}

// What a provider answers is in no error.
func TestErrorsOfAProvider(t *testing.T) {
	t.Parallel()
	const canary = "cAnary-7f3a"
	for body, want := range map[string]fault.Kind{
		`{"error":"invalid_client","error_description":"` + canary + `"}`: fault.Policy,
		`{"error":"server_error"}`:                                        fault.Unavailable,
		`<html>` + canary:                                                 fault.Unavailable,
		`{"error":"invalid_grant"}`:                                       fault.ConsentNeeded,
	} {
		h := newHouse(t)
		h.consent(t)
		if err := h.broker().Forget(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, body)
		}))
		b := oauth.New(h.store, h.vault, h.redis.Client, oauth.Config{Providers: map[string]oauth.Provider{
			"own": {Name: "own", ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, AuthURL: bad.URL, TokenURL: bad.URL},
		}})
		_, err := b.Token(t.Context(), "u1")
		if fault.KindOf(err) != want || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), issuer.ClientSecret) {
			t.Errorf("%s: %v", body, err)
		}
		bad.Close()
	}
}
