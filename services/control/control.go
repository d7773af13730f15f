// Package control is the process that people and programs talk to: it administers accounts, domains,
// settings and dead letters, triggers runs and shows what they do, over Connect RPC (gRPC, and HTTP with
// JSON for curl) with a bearer token.
//
// It holds no state. A request is checked before anything is written; a field that is not known is
// refused; an error says what happened, to which account, and what to do, with its kind as a [Fault]
// detail. Passwords come in and never go out: no answer, error or log line holds one.
//
// Order of a creation: directory, then ledger; the planner follows the directory's change feed. Of a
// change of the remote mailbox: the new slot is prepared, then the directory changed, then the old slot
// left. Of a deletion: the tombstone in the directory, then everything the account left behind.
package control

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
)

// Deps are the rooms that control works with.
type Deps struct {
	Directory Directory
	Ledger    Ledger
	Queue     Queue
	Transit   Transit
	Due       Due
	Budget    Budget
	Vault     Vault
	Notices   Notices
	// Consents may be nil: no account signs in with OAuth 2.0 then.
	Consents Consents
	// WebhookAllowed says why the webhook of a domain may not go to an address; nil: it may.
	WebhookAllowed func(netip.AddrPort) error
	Log            *zap.Logger
	// Tokens admit a caller; at least one, each of at least 16 bytes.
	Tokens []string
	// Checks are the parts the fleet stands on, by name, for the status.
	Checks map[string]func(context.Context) error
}

// Config bounds what control does for its callers. The zero value stands for the defaults.
type Config struct {
	// Poll is how long a run that a caller waits for may be silent before control looks for itself, so
	// that a lost progress message holds nobody up. Default 5 s.
	Poll time.Duration
	// Lost is how long it may be silent before the job is queued again. Default 30 s.
	Lost time.Duration
	// GiveUp is how long a caller waits without any sign of life. Default 2 min.
	GiveUp time.Duration
	// Window is how many accounts of a bulk trigger are waited for at a time. Default 5,000.
	Window int
	// Triggers is how many accounts of a domain may be triggered in a minute. Default 1,200.
	Triggers int
	// MaxRequest bounds a request in bytes. Default 1 MiB.
	MaxRequest int
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Poll, 5*time.Second)
	def(&c.Lost, 30*time.Second)
	def(&c.GiveUp, 2*time.Minute)
	if c.Window <= 0 {
		c.Window = 5000
	}
	if c.Triggers <= 0 {
		c.Triggers = 1200
	}
	if c.MaxRequest <= 0 {
		c.MaxRequest = 1 << 20
	}
	return c
}

// Service serves the API. It is an [http.Handler].
type Service struct {
	Deps
	cfg     Config
	handler http.Handler
	drain   chan struct{}
	once    sync.Once
	imports sync.Mutex // into domains that may not have any number of accounts
}

// New returns the service. Who serves it speaks HTTP/1.1 and, for gRPC, HTTP/2 without TLS.
func New(d Deps, cfg Config) (*Service, error) {
	if d.Directory == nil || d.Ledger == nil || d.Queue == nil || d.Transit == nil || d.Due == nil || d.Budget == nil || d.Vault == nil {
		return nil, errors.New("control: a room is missing")
	}
	if d.Log == nil {
		d.Log = zap.NewNop()
	}
	s := &Service{Deps: d, cfg: cfg.withDefaults(), drain: make(chan struct{})}
	opts := []connect.HandlerOption{
		connect.WithCodec(strictJSON{"json"}), connect.WithCodec(strictJSON{"json; charset=utf-8"}),
		connect.WithReadMaxBytes(s.cfg.MaxRequest), connect.WithInterceptors(edge{d.Log}),
		connect.WithCompressMinBytes(1024),
	}
	mux := http.NewServeMux()
	mux.Handle(mailferryv1connect.NewAccountServiceHandler(s, opts...))
	mux.Handle(mailferryv1connect.NewRunServiceHandler(s, opts...))
	mux.Handle(mailferryv1connect.NewFleetServiceHandler(s, opts...))
	mux.Handle(mailferryv1connect.NewDeadServiceHandler(s, opts...))
	mux.Handle(mailferryv1connect.NewRouteServiceHandler(s, opts...))
	g, err := newGate(mux, d.Tokens, opts...)
	if err != nil {
		return nil, err
	}
	outer := http.NewServeMux()
	outer.Handle("/", g)
	outer.HandleFunc("GET "+CallbackPath, s.callback) // browsers of owners bear no token, but a state
	s.handler = outer
	return s, nil
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain ends the streams of callers that wait for runs; the runs go on. To be called before the server
// waits for its open requests.
func (s *Service) Drain() { s.once.Do(func() { close(s.drain) }) }
