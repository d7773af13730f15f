package control_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
	"github.com/mailferry/mailferry/services/control"
)

const token = "0123456789abcdef0123"

// canary is the password of every account of these tests: it must be seen nowhere.
const canary = "canary-Zx81-secret"

// house is control over real rooms.
type house struct {
	t       *testing.T
	nats    *testenv.NATS
	redis   *testenv.Redis
	dir     *directory.Directory
	led     *ledger.Ledger
	queue   *queue.Queue
	trans   *transit.Transit
	notices *notice.Notices
	due     *due.Index
	vault   *vault.Vault
	svc     *control.Service
	log     *safeBuffer
	url     string

	accounts mailferryv1connect.AccountServiceClient
	runs     mailferryv1connect.RunServiceClient
	fleet    mailferryv1connect.FleetServiceClient
	dead     mailferryv1connect.DeadServiceClient
	routes   mailferryv1connect.RouteServiceClient
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newHouse(t *testing.T, change ...func(*control.Deps, *control.Config)) *house {
	t.Helper()
	h := &house{t: t, nats: testenv.NewNATS(t), redis: testenv.NewRedis(t), log: &safeBuffer{}}
	ctx := t.Context()
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h.dir, err = directory.Open(ctx, h.nats.JS, directory.Config{})
	must()
	h.queue, err = queue.Open(ctx, h.nats.Conn, h.nats.JS, queue.Config{AckWait: 30 * time.Second})
	must()
	h.trans, err = transit.Open(ctx, h.nats.Conn, h.nats.JS, transit.Config{BodyWait: 100 * time.Millisecond})
	must()
	t.Cleanup(h.trans.Close)
	h.notices, err = notice.Open(ctx, h.nats.Conn, h.nats.JS, notice.Config{})
	must()
	h.vault, err = vault.OpenOrCreate(testenv.TempDir(t) + "/vault.json")
	must()
	h.led = ledger.New(h.redis.Client, ledger.Config{KeyID: ledger.NewKeyer(h.vault.KeySecret()).ID()})
	h.due = due.New(h.redis.Client)
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(h.log), zap.DebugLevel))
	d := control.Deps{
		Directory: h.dir, Ledger: h.led, Queue: h.queue, Transit: h.trans, Due: h.due, Budget: budget.New(h.redis.Client), Vault: h.vault, Notices: h.notices, Log: log, Tokens: []string{"another-token-1234", token},
		Checks: map[string]func(context.Context) error{"redis": func(ctx context.Context) error { return h.redis.Client.Ping(ctx).Err() }},
	}
	cfg := control.Config{Poll: 200 * time.Millisecond, Lost: time.Second, GiveUp: time.Minute}
	for _, c := range change {
		c(&d, &cfg)
	}
	h.svc, err = control.New(d, cfg)
	must()
	srv := httptest.NewUnstartedServer(h.svc)
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv.Config.Protocols = &p
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(h.svc.Drain)
	h.url = srv.URL
	h.connect(srv.Client(), token)
	return h
}

// connect makes clients that bear a token.
func (h *house) connect(c connect.HTTPClient, token string, opts ...connect.ClientOption) {
	opts = append(opts, connect.WithInterceptors(bearer(token)))
	h.accounts = mailferryv1connect.NewAccountServiceClient(c, h.url, opts...)
	h.runs = mailferryv1connect.NewRunServiceClient(c, h.url, opts...)
	h.fleet = mailferryv1connect.NewFleetServiceClient(c, h.url, opts...)
	h.dead = mailferryv1connect.NewDeadServiceClient(c, h.url, opts...)
	h.routes = mailferryv1connect.NewRouteServiceClient(c, h.url, opts...)
}

type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, s connect.Spec) connect.StreamingClientConn {
		c := next(ctx, s)
		c.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return c
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// sample returns an account as a caller fills it in.
func sample(name string) *mailferryv1.Account {
	return &mailferryv1.Account{
		Domain: "example.com", Name: name, Active: true, Protocol: mailferryv1.Protocol_PROTOCOL_POP3, Host: "pop.isp.net",
		Username: name, ForwardTo: name + "@example.com",
	}
}

func ref(name string) *mailferryv1.AccountRef {
	return &mailferryv1.AccountRef{Domain: "example.com", Name: name}
}

// add creates an account.
func (h *house) add(name string) *mailferryv1.Account {
	h.t.Helper()
	res, err := h.accounts.CreateAccount(h.t.Context(), &mailferryv1.CreateAccountRequest{Account: sample(name), Password: canary})
	if err != nil {
		h.t.Fatal(err)
	}
	return res.GetAccount()
}

// wantError checks code, kind and that message and advice hold the words, in one line each.
func wantError(t *testing.T, err error, code connect.Code, kind fault.Kind, words ...string) {
	t.Helper()
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
	if len(ce.Details()) == 0 {
		t.Fatalf("%v has no detail", err)
	}
	v, verr := ce.Details()[0].Value()
	f, ok := v.(*mailferryv1.Fault)
	if verr != nil || !ok {
		t.Fatalf("detail %v, %v", v, verr)
	}
	text := f.GetMessage() + "|" + f.GetAdvice()
	if fault.Kind(f.GetKind()) != kind || f.GetAdvice() == "" || strings.ContainsAny(text, "\r\n") {
		t.Errorf("fault %v", f)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q lacks %q", text, w)
		}
	}
	if strings.Contains(text+err.Error(), canary) {
		t.Errorf("%q holds the password", text)
	}
}

// work runs a worker that does with each claim what do says, until the test ends.
func (h *house) work(do func(ctx context.Context, c *queue.Claim)) {
	h.t.Helper()
	claims, err := h.queue.Claims(h.t.Context(), queue.ClaimConfig{Slots: 64})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := claims.Next(ctx)
			if err != nil {
				return
			}
			wg.Go(func() { do(ctx, c) })
		}
	})
	h.t.Cleanup(func() {
		claims.Stop()
		cancel()
		wg.Wait()
	})
}

// say sends progress of a claim's run.
func (h *house) say(c *queue.Claim, phase mailferryv1.Phase, n int64, f *mailferryv1.Fault) {
	p := &mailferryv1.Progress{RunId: "r-" + c.ID, AccountUid: c.AccountUID, JobId: c.ID, Phase: phase, New: n, Fetched: n, Delivered: n}
	if phase == mailferryv1.Phase_PHASE_DONE {
		p.Report = h.report(c, n, f)
	}
	if err := h.queue.SendProgress(p); err != nil {
		h.t.Error(err)
	}
}

func (h *house) report(c *queue.Claim, n int64, f *mailferryv1.Fault) *mailferryv1.RunReport {
	return &mailferryv1.RunReport{
		RunId: "r-" + c.ID, JobId: c.ID, AccountUid: c.AccountUID, Domain: c.Domain, Name: c.Name, Trigger: c.Trigger.Proto(),
		StartedAt: now(), FinishedAt: now(), New: n, Fetched: n, Delivered: n, Bytes: 10 * n, Fault: f,
	}
}

// run is a run in order, with n messages.
func (h *house) run(ctx context.Context, c *queue.Claim, n int64) {
	h.say(c, mailferryv1.Phase_PHASE_CONNECTING, 0, nil)
	h.say(c, mailferryv1.Phase_PHASE_LISTED, n, nil)
	h.say(c, mailferryv1.Phase_PHASE_DONE, n, nil)
	h.ack(ctx, c)
}

func (h *house) ack(ctx context.Context, c *queue.Claim) {
	if err := c.Ack(ctx); err != nil && ctx.Err() == nil {
		h.t.Error(err)
	}
}
