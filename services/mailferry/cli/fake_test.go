package cli_test

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/types/known/timestamppb"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
	"github.com/mailferry/mailferry/services/mailferry/cli"
)

const token = "0123456789abcdef0123"

func now() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now().Add(d)) }

// fake answers as control would, always the same.
type fake struct {
	mailferryv1connect.UnimplementedAccountServiceHandler
	mailferryv1connect.UnimplementedRunServiceHandler
	mailferryv1connect.UnimplementedFleetServiceHandler
	mailferryv1connect.UnimplementedDeadServiceHandler
	mailferryv1connect.UnimplementedRouteServiceHandler

	created  *mailferryv1.CreateAccountRequest
	tested   *mailferryv1.TestAccountRequest
	updated  []*mailferryv1.UpdateAccountRequest
	settings *mailferryv1.PutSettingsRequest
	domain   *mailferryv1.PutDomainRequest
	explain  *mailferryv1.ExplainRouteRequest
	changed  int // how often an edit finds the account changed
	progress []*mailferryv1.FetchResponse
	many     []*mailferryv1.FetchManyResponse
	fetched  *mailferryv1.FetchManyRequest // what was asked for
	consent  []*mailferryv1.StartConsentResponse
	broken   bool
}

func refuse(code connect.Code, kind mailferryv1.FaultKind, msg, advice string) error {
	e := connect.NewError(code, errText(msg))
	d, _ := connect.NewErrorDetail(&mailferryv1.Fault{Kind: kind, Message: msg, Advice: advice})
	e.AddDetail(d)
	return e
}

type errText string

func (e errText) Error() string { return string(e) }

func (f *fake) serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(mailferryv1connect.NewAccountServiceHandler(f))
	mux.Handle(mailferryv1connect.NewRunServiceHandler(f))
	mux.Handle(mailferryv1connect.NewFleetServiceHandler(f))
	mux.Handle(mailferryv1connect.NewDeadServiceHandler(f))
	mux.Handle(mailferryv1connect.NewRouteServiceHandler(f))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			_ = connect.NewErrorWriter().Write(w, r, refuse(connect.CodeUnauthenticated, mailferryv1.FaultKind_FAULT_KIND_AUTH,
				"the token is missing or not known", "send the token of this installation"))
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// result is what a command printed and its exit code.
type result struct {
	out, err string
	code     int
}

// shell runs commands against a server.
type shell struct {
	t        *testing.T
	server   string
	stdin    string
	password string // typed at the terminal, "" for no terminal
	terminal bool
	env      map[string]string
}

func (s *shell) run(args ...string) result {
	s.t.Helper()
	return s.with(s.t.Context(), args...)
}

func (s *shell) with(ctx context.Context, args ...string) result {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(s.stdin), Stdout: &out, Stderr: &errs, Now: now, Terminal: s.terminal,
		AskTerminal: s.password != "", ReadPassword: func() ([]byte, error) { return []byte(s.password), nil },
		Getenv: func(k string) string { return s.env[k] },
	}
	var line struct {
		cli.Commands `embed:""`
	}
	k, err := kong.New(&line, cli.Bind(ctx, env), kong.Name("mailferry"),
		kong.Writers(&out, &errs), kong.Exit(func(int) { panic(errText("exit")) }))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.server != "" {
		args = append(args, "--server", s.server)
	}
	code := func() (code int) {
		defer func() {
			if r := recover(); r != nil && r != errText("exit") {
				panic(r)
			}
		}()
		kctx, err := k.Parse(args)
		if err != nil {
			return cli.Fail(env, &cli.UsageError{Reason: err.Error() + " (see --help)"})
		}
		return cli.Fail(env, kctx.Run())
	}()
	return result{out.String(), errs.String(), code}
}

func newShell(t *testing.T, f *fake) *shell {
	t.Helper()
	return &shell{t: t, server: f.serve(t).URL, env: map[string]string{"MAILFERRY_TOKEN": token}}
}

var update = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/NAME.golden.
func golden(t *testing.T, name string, r result) {
	t.Helper()
	got := r.out
	if r.err != "" {
		got += "--- stderr\n" + r.err
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
