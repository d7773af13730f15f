// Package issuer (tests only) is an OpenID provider of a test's own, the example server of
// github.com/zitadel/oidc: owners give consent there, refresh tokens are rotated, and it tells mail servers
// who bears a token.
package issuer

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The one client, and the password of every owner.
const (
	ClientID     = "mailferry"
	ClientSecret = "sEcret-of-the-client"
	password     = "verysecure"
)

// Issuer is a running provider. Anybody is an owner there.
type Issuer struct {
	// URL is its issuer. Who bears a token is answered at UserinfoURL to the bearer, and at IntrospectionURL
	// (RFC 7662), which holds the client's secret.
	URL, UserinfoURL, IntrospectionURL string
	callback                           string
	storage                            *storage.Storage
	refreshes, slow                    atomic.Int64
}

// New starts a provider that sends browsers back to callback.
func New(t testing.TB, callback string) *Issuer {
	t.Helper()
	i := &Issuer{callback: callback}
	srv := httptest.NewUnstartedServer(nil)
	addr := srv.Listener.Addr().(*net.TCPAddr)
	i.URL = "http://localhost:" + strconv.Itoa(addr.Port) + "/"
	i.UserinfoURL = i.URL + "userinfo"
	i.IntrospectionURL = "http://" + ClientID + ":" + ClientSecret + "@" + addr.String() + "/oauth/introspect"
	i.storage = storage.NewStorageWithClients(everybody{}, map[string]*storage.Client{
		ClientID: storage.WebClient(ClientID, ClientSecret, callback),
	})
	next := exampleop.SetupServer(i.URL, kept{i.storage}, slog.New(slog.DiscardHandler), false)
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte("grant_type=refresh_token")) {
				i.refreshes.Add(1)
				time.Sleep(time.Duration(i.slow.Load()))
			}
		}
		next.ServeHTTP(w, r)
	})
	srv.Start()
	t.Cleanup(srv.Close)
	return i
}

// Refreshes counts the requests to refresh a token.
func (i *Issuer) Refreshes() int64 { return i.refreshes.Load() }

// Slow makes each of them take this long.
func (i *Issuer) Slow(d time.Duration) { i.slow.Store(int64(d)) }

// Revoke ends the consents of an owner: access tokens and refresh tokens are worth nothing any more.
func (i *Issuer) Revoke(t testing.TB, owner string) {
	t.Helper()
	if err := i.storage.TerminateSession(context.Background(), owner, ClientID); err != nil {
		t.Fatal(err)
	}
}

// Browse does what the owner does at the link, up to the redirect, and returns where the provider sends the
// browser back to.
func (i *Issuer) Browse(t testing.TB, link, owner string) *url.URL {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	var back *url.URL
	c := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), i.callback) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := c.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if back == nil {
		id := resp.Request.URL.Query().Get("authRequestID")
		resp, err = c.PostForm(i.URL+"login/username", url.Values{"id": {id}, "username": {owner}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if back == nil {
		t.Fatalf("the browser is not sent back: %s %s", resp.Status, page)
	}
	return back
}

// Enter does what the owner does with a device's code.
func (i *Issuer) Enter(t testing.TB, code, owner string) {
	t.Helper()
	if err := i.storage.CompleteDeviceAuthorization(context.Background(), code, owner); err != nil {
		t.Fatal(err)
	}
}

// everybody is a user whose name is the id.
type everybody struct{}

func (everybody) GetUserByID(id string) *storage.User {
	return &storage.User{ID: id, Username: id, Password: password, Email: id}
}
func (e everybody) GetUserByUsername(name string) *storage.User { return e.GetUserByID(name) }
func (everybody) ExampleClientID() string                       { return "" }

// kept lets the client have codes for devices, with refresh tokens.
type kept struct{ *storage.Storage }

func (k kept) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := k.Storage.GetClientByClientID(ctx, id)
	return devices{c}, err
}

type devices struct{ op.Client }

func (d devices) GrantTypes() []oidc.GrantType {
	return append([]oidc.GrantType{oidc.GrantTypeDeviceCode}, d.Client.GrantTypes()...)
}
