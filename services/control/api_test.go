package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

// curl posts JSON as a person would.
func (h *house) curl(procedure, body, bearer string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+"/mailferry.v1."+procedure, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestOnlyABearerOfATokenComesIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, b := range []string{"", "Bearer", "Bearer wrong", "Basic " + token, "Bearer " + token[1:], token, "Bearer " + token + "x"} {
		if code, body := h.curl("FleetService/GetSettings", "{}", b); code != http.StatusUnauthorized || !strings.Contains(body, `"unauthenticated"`) {
			t.Errorf("%q: %d %s", b, code, body)
		}
	}
	for _, b := range []string{"Bearer " + token, "bearer  " + token, "Bearer another-token-1234"} {
		if code, body := h.curl("FleetService/GetSettings", "{}", b); code != http.StatusOK || !strings.Contains(body, `"interval":"600s"`) {
			t.Errorf("%q: %d %s", b, code, body)
		}
	}
	res, err := http.Get(h.url + "/")
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Error(res.StatusCode, err)
	}
	_ = res.Body.Close()
	h.connect(http.DefaultClient, "wrong-token-wrong")
	_, err = h.fleet.GetSettings(t.Context(), &mailferryv1.GetSettingsRequest{})
	wantError(t, err, connect.CodeUnauthenticated, fault.Auth, "token")
	for _, tokens := range [][]string{nil, {"short"}} {
		d := h.svc.Deps
		d.Tokens = tokens
		if _, err := control.New(d, control.Config{}); err == nil {
			t.Errorf("tokens %q are taken", tokens)
		}
	}
}

func TestGRPCIsServedOnTheSamePort(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	h.connect(&http.Client{Transport: &http.Transport{Protocols: &p}}, token, connect.WithGRPC())
	h.add("a")
	h.work(func(ctx context.Context, c *queue.Claim) { h.run(ctx, c, 1) })
	if rs, err := h.fetch(t.Context(), "a"); err != nil || last(rs).GetNew() != 1 {
		t.Error(rs, err)
	}
	_, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("nobody")})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "example.com/nobody")
}

func TestJSONIsStrictAndErrorsQuoteNoValue(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	auth := "Bearer " + token
	tests := []struct{ body, want string }{
		{`{"account":{"domain":"example.com","pasword":"` + canary + `"}}`, `unknown field \"pasword\"`},
		{`{"password":123456789}`, `value that does not fit`},
		{`{"account":"` + canary + `"}`, `JSON`},
		{`{"account":{"active":"` + canary + `"}}`, `active`},
		{`{"account":{"protocol":"` + canary + `"}}`, `protocol`},
		{`{"password":"` + canary, `JSON`},
		{``, `empty`},
		{`{"account":` + strings.Repeat(`[`, 100), `JSON`},
	}
	for _, tt := range tests {
		code, body := h.curl("AccountService/CreateAccount", tt.body, auth)
		if code != http.StatusBadRequest || !strings.Contains(body, tt.want) || !strings.Contains(body, "invalid_argument") {
			t.Errorf("%s: %d %s", tt.body, code, body)
		}
		if strings.Contains(body, canary) || strings.Contains(body, "123456789") {
			t.Errorf("%s: the answer quotes a value: %s", tt.body, body)
		}
	}
	if code, body := h.curl("AccountService/CreateAccount", `{"password":"`+strings.Repeat("x", 2<<20)+`"}`, auth); code != http.StatusTooManyRequests && code != http.StatusBadRequest {
		t.Errorf("2 MB: %d %s", code, body)
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("the log quotes a value")
	}
}

func TestARequestHasToArriveInTime(t *testing.T) {
	t.Parallel()
	// The deadline itself is set on the connection: that a stream may outlive it is seen here.
	h := newHouse(t)
	h.add("a")
	release := make(chan struct{})
	h.work(func(ctx context.Context, c *queue.Claim) {
		<-release
		h.run(ctx, c, 1)
	})
	s, err := h.runs.Fetch(t.Context(), &mailferryv1.FetchRequest{Ref: ref("a")})
	if err != nil || !s.Receive() {
		t.Fatal(err)
	}
	close(release)
	for s.Receive() {
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

func TestDomainsAndSettings(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	put := func(d *mailferryv1.Domain, create bool) (*mailferryv1.Domain, error) {
		res, err := h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: d, Create: create})
		return res.GetDomain(), err
	}
	d, err := put(&mailferryv1.Domain{Name: "Example.com", Destination: "lmtp:127.0.0.1:24"}, true)
	if err != nil || d.GetName() != "example.com" || d.GetRevision() == 0 {
		t.Fatal(d, err)
	}
	_, err = put(&mailferryv1.Domain{Name: "example.com"}, true)
	wantError(t, err, connect.CodeAlreadyExists, fault.Policy, "domain example.com exists", "domain edit example.com")
	if e, err := put(&mailferryv1.Domain{Name: "example.com", Destination: "maildir:/var/mail/%d/%n", Revision: d.GetRevision()}, false); err != nil || e.GetRevision() == d.GetRevision() {
		t.Error(e, err)
	}
	_, err = put(&mailferryv1.Domain{Name: "example.com", Revision: d.GetRevision()}, false)
	wantError(t, err, connect.CodeAborted, fault.Policy, "domain example.com was changed")
	_, err = put(&mailferryv1.Domain{Name: "example.com", Destination: "carrier pigeon"}, false)
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "destination: ", "lmtp:")
	h.add("a")
	_, err = h.fleet.DeleteDomain(ctx, &mailferryv1.DeleteDomainRequest{Name: "example.com"})
	wantError(t, err, connect.CodeFailedPrecondition, fault.Policy, "example.com/a")
	if _, err := h.accounts.DeleteAccount(ctx, &mailferryv1.DeleteAccountRequest{Ref: ref("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.fleet.DeleteDomain(ctx, &mailferryv1.DeleteDomainRequest{Name: "example.com"}); err != nil {
		t.Fatal(err)
	}
	if all, err := h.fleet.ListDomains(ctx, &mailferryv1.ListDomainsRequest{}); err != nil || len(all.GetDomains()) != 0 {
		t.Error(all, err)
	}
	_, err = h.fleet.DeleteDomain(ctx, &mailferryv1.DeleteDomainRequest{Name: "example.com"})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "domain list")

	set, err := h.fleet.PutSettings(ctx, &mailferryv1.PutSettingsRequest{Pop3Locking: proto.Bool(false), Interval: durationpb.New(5 * time.Minute)})
	if err != nil || set.GetSettings().GetPop3Locking() || set.GetSettings().GetInterval().AsDuration() != 5*time.Minute {
		t.Error(set, err)
	}
	set, err = h.fleet.PutSettings(ctx, &mailferryv1.PutSettingsRequest{Destination: proto.String("lmtp:unix:/run/lmtp")})
	if s := set.GetSettings(); err != nil || s.GetPop3Locking() || s.GetInterval().AsDuration() != 5*time.Minute || s.GetDestination() != "lmtp:unix:/run/lmtp" {
		t.Error(set, err)
	}
	_, err = h.fleet.PutSettings(ctx, &mailferryv1.PutSettingsRequest{Interval: durationpb.New(time.Second)})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "interval")
	_, err = h.fleet.PutSettings(ctx, &mailferryv1.PutSettingsRequest{Destination: proto.String("x")})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "destination")
}

func TestTheStatusShowsWhatIsDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(d *control.Deps, _ *control.Config) {
		d.Checks["broken"] = func(context.Context) error {
			return fault.New(fault.Refused, "dial", errors.New("connection refused"))
		}
	})
	h.add("a")
	h.park("a", "u")
	s, err := h.fleet.GetStatus(t.Context(), &mailferryv1.GetStatusRequest{})
	if err != nil || s.GetAccounts() != 1 || s.GetAccountsActive() != 1 || s.GetDead() != 1 {
		t.Fatal(s, err)
	}
	got := ""
	for _, c := range s.GetComponents() {
		got += fmt.Sprintf("%s %v %s\n", c.GetName(), c.GetOk(), c.GetDetail())
	}
	if got != "broken false dial: connection refused\ndirectory true \nqueue true \nredis true \ntransit true \n" {
		t.Error(got)
	}
}

// panicking is a directory with a bug.
type panicking struct{ control.Directory }

func (panicking) Account(context.Context, string, string) (account.Account, error) {
	panic("a bug with " + canary)
}

func TestAPanicIsAnErrorOfItsCallOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(d *control.Deps, _ *control.Config) { d.Directory = panicking{d.Directory} })
	_, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("a")})
	wantError(t, err, connect.CodeInternal, fault.Internal, "GetAccount stopped with a panic")
	_, err = h.fetch(t.Context(), "a")
	wantError(t, err, connect.CodeInternal, fault.Internal, "Fetch stopped with a panic")
	if log := h.log.String(); strings.Contains(log, canary) || !strings.Contains(log, "example.com/a") || !strings.Contains(log, "api_test.go") {
		t.Errorf("%s", log)
	}
	if _, err := h.fleet.GetSettings(t.Context(), &mailferryv1.GetSettingsRequest{}); err != nil {
		t.Error(err)
	}
}

// recorder keeps everything that the API answers.
type recorder struct {
	http.Handler
	sent *safeBuffer
}

type recording struct {
	http.ResponseWriter
	sent *safeBuffer
}

func (r recording) Write(p []byte) (int, error) {
	_, _ = r.sent.Write(p)
	return r.ResponseWriter.Write(p)
}

func (r recording) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.Handler.ServeHTTP(recording{w, r.sent}, req)
}

func TestThePasswordIsSeenNowhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sent := &safeBuffer{}
	srv := httptest.NewServer(recorder{h.svc, sent})
	t.Cleanup(srv.Close)
	h.url = srv.URL
	h.connect(srv.Client(), token, connect.WithProtoJSON(), connect.WithSendCompression(""), connect.WithAcceptCompression("gzip", nil, nil))
	ctx := t.Context()
	h.planned(h.add("a"))
	_, _ = h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: sample("a"), Password: canary})
	_, _ = h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: sample("b/c"), Password: canary})
	_, _ = h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: sample("b"), Password: canary + "\n"})
	_, _ = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Password = proto.String(canary) })
	_, _ = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Password, r.Account.Host = proto.String(canary), "" })
	_, _ = h.accounts.ListAccounts(ctx, &mailferryv1.ListAccountsRequest{})
	h.work(func(ctx context.Context, c *queue.Claim) { h.run(ctx, c, 1) })
	_, _ = h.fetch(ctx, "a")
	_, _ = h.runs.ListRuns(ctx, &mailferryv1.ListRunsRequest{Ref: ref("a")})
	h.redis.Kill()
	_, _ = h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: sample("d"), Password: canary})
	h.redis.Start()
	_, a := h.slot("a")
	all := sent.String() + h.log.String()
	if !strings.Contains(all, a.UID) || !strings.Contains(all, "forwardTo") || !strings.Contains(h.log.String(), "CreateAccount") {
		t.Fatalf("the search sees nothing:\n%s", all)
	}
	if strings.Contains(all, canary) {
		t.Error("the password is in an answer or in the log")
	}
	if strings.Contains(all, "sealedPassword") {
		t.Error("the sealed password is in an answer")
	}
	if _, err := h.log.Write([]byte(canary)); err != nil || !strings.Contains(h.log.String(), canary) {
		t.Error("a planted password is not found")
	}
}
