package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// HTTP is a [Part] that serves HTTP until it is drained: then it accepts no more and lets open
// requests finish.
type HTTP struct {
	ln  net.Listener
	srv *http.Server
}

// NewHTTP listens at once, so that an address that cannot be had is known before anything starts. It
// speaks HTTP/1.1 and, for gRPC without TLS, HTTP/2 with prior knowledge.
func NewHTTP(ctx context.Context, log *zap.Logger, addr string, h http.Handler) (*HTTP, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &HTTP{ln: ln, srv: &http.Server{
		Handler: h, Protocols: &p, ErrorLog: zap.NewStdLog(log),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}}, nil
}

// Addr is where it listens, for instance 127.0.0.1:8025.
func (s *HTTP) Addr() string { return s.ln.Addr().String() }

// Run serves until Drain or the end of ctx; open requests are then cut.
func (s *HTTP) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.srv.Close() })
	defer stop()
	if err := s.srv.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", s.Addr(), err)
	}
	<-ctx.Done()
	return nil
}

// Drain accepts no more and waits for open requests.
func (s *HTTP) Drain(ctx context.Context) error { return s.srv.Shutdown(ctx) }

// Close gives the address back if Run was never called.
func (s *HTTP) Close() error { return s.ln.Close() }
