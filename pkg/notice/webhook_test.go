package notice

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func sample() *mailferryv1.Notice {
	at := time.Date(2026, 11, 26, 8, 0, 0, 999, time.UTC)
	return &mailferryv1.Notice{
		Id: "ntc_1", Type: mailferryv1.NoticeType_NOTICE_TYPE_FAILING, At: timestamppb.New(at), AccountUid: "uid", Domain: "example.com", Name: "isp",
		Fault:    fault.Proto(fault.Errorf(fault.Auth, "sign in", "the server answered \"-ERR no\"")),
		Failures: 3, Since: timestamppb.New(at.Add(-time.Hour)), RunId: "RUN",
	}
}

// TestBody is the JSON that receivers read: it never changes its meaning.
func TestBody(t *testing.T) {
	t.Parallel()
	got, err := Body(sample())
	want := `{"type":"account.failing","timestamp":"2026-11-26T08:00:00Z","data":{"id":"ntc_1","account":"example.com/isp","account_uid":"uid",` +
		`"domain":"example.com","name":"isp","kind":"auth","message":"sign in: the server answered \"-ERR no\"",` +
		`"advice":"check the user name and the password; an edit of the account is tried at once","failures":3,"since":"2026-11-26T07:00:00Z","run_id":"RUN"}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	for _, typ := range []Type{Failing, ConsentNeeded, OverQuota, Recovered, OversizeSkipped} {
		if n := (&mailferryv1.Notice{Type: ProtoType(typ)}); TypeOf(n) != typ {
			t.Errorf("%s becomes %s", typ, TypeOf(n))
		}
	}
}

// TestSign is the example of docs/operations.md.
func TestSign(t *testing.T) {
	t.Parallel()
	if got := Sign("correct horse battery staple", "ntc_1", "1764144000", []byte(`{"type":"account.failing"}`)); got != "v1,lnMr0UTKQe8c6hJxOyrtDVwf9jevHa5izk8Fe3x4EFI=" {
		t.Error(got)
	}
}

// TestPost reads what a receiver gets, and what its answers come to.
func TestPost(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef"
	var got *http.Request
	var content []byte
	status := http.StatusNoContent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		content, _ = io.ReadAll(r.Body)
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	p := NewPoster((&net.Dialer{}).DialContext, nil)
	defer p.Close()
	now := time.Now()
	post := func() error { return p.Post(t.Context(), srv.URL+"/hook?token=canary", secret, sample(), now) }
	if err := post(); err != nil {
		t.Fatal(err)
	}
	id, at, sig := got.Header.Get(HeaderID), got.Header.Get(HeaderTimestamp), got.Header.Get(HeaderSignature)
	if id != "ntc_1" || got.Header.Get("Content-Type") != "application/json" || sig != Sign(secret, id, at, content) || sig == Sign(secret+"x", id, at, content) {
		t.Errorf("%v", got.Header)
	}
	for code, want := range map[int]fault.Kind{
		200: fault.None, 202: fault.None, 302: fault.DestinationTemporary, 400: fault.DestinationTemporary, 410: fault.Policy, 500: fault.DestinationTemporary,
	} {
		status = code
		if err := post(); fault.KindOf(err) != want {
			t.Errorf("%d: %v", code, err)
		}
	}
	srv.Close()
	p.Close()
	if err := post(); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("nobody there: %v", err)
	}
	denied := NewPoster(func(context.Context, string, string) (net.Conn, error) {
		return nil, fault.Errorf(fault.Policy, "dial", "no")
	}, nil)
	if err := denied.Post(t.Context(), srv.URL, secret, sample(), now); fault.KindOf(err) != fault.Policy {
		t.Errorf("denied: %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for s, ok := range map[string]bool{
		"https://hooks.example.com/a?b=c": true, "http://hooks.example.com:8080": true, "https://[2001:db8::1]/": true,
		"": false, "hooks.example.com": false, "ftp://hooks.example.com": false, "https://": false, "https://a:b@hooks.example.com": false,
		"https://hooks.example.com/#x": false, "https://hooks.example.com/\n": false, "https://hooks.example.com/" + strings.Repeat("x", 3000): false,
	} {
		err := ValidateWebhook(s)
		if (err == nil) != ok || err != nil && !errors.As(err, new(*account.Error)) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if ValidateSecret("short") == nil || ValidateSecret("0123456789abcdef") != nil || ValidateSecret(strings.Repeat("x", 513)) == nil {
		t.Error("secrets")
	}
}
