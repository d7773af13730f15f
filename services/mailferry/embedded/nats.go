package embedded

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// NATSConfig says how the nats-server runs.
type NATSConfig struct {
	// Dir holds JetStream's files.
	Dir string
	// Listen is an address for other processes, or empty: in-process connections only.
	Listen string
	// MaxPayload bounds one message; default 1 MB.
	MaxPayload int32
}

// NATS is a nats-server in this process; it is the in-process connection provider of clients.
type NATS struct{ *server.Server }

// StartNATS returns a server that takes connections.
func StartNATS(ctx context.Context, log *zap.Logger, cfg NATSConfig) (*NATS, error) {
	opts, err := natsOptions(cfg)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	l := &natsLog{log: log.Named("nats-server")}
	srv.SetLoggerV2(l, false, false, false)
	n := &NATS{srv}
	started := make(chan struct{})
	go func() { // Start returns once everything listens
		defer close(started)
		srv.Start()
	}()
	for {
		if err := l.fatal.Load(); err != nil {
			n.Stop()
			<-started
			return nil, fmt.Errorf("embedded NATS: %w", *err)
		}
		if srv.ReadyForConnections(100*time.Millisecond) && srv.JetStreamEnabled() {
			<-started
			return n, nil
		}
		if err := ctx.Err(); err != nil {
			n.Stop()
			<-started
			return nil, err
		}
	}
}

func natsOptions(cfg NATSConfig) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "mailferry-up", JetStream: true, StoreDir: cfg.Dir, SyncInterval: time.Second,
		MaxPayload: cfg.MaxPayload, NoSigs: true, DontListen: cfg.Listen == "",
		NoSublistCache: true, // a subject is that of one message, mostly: what was matched once is not asked again
	}
	if opts.MaxPayload == 0 {
		opts.MaxPayload = server.MAX_PAYLOAD_SIZE
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: listen address %q: %w", cfg.Listen, err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("embedded NATS: port of %q is no number", cfg.Listen)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	return opts, nil
}

// Stop ends the server with its files in order.
func (n *NATS) Stop() {
	n.Shutdown()
	n.WaitForShutdown()
}

// natsLog sends the server's log to ours; notices are debugging to our users.
type natsLog struct {
	log   *zap.Logger
	fatal atomic.Pointer[error]
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

// Fatalf must not end the process: the server goes on without the part that failed, and Start reads it.
func (l *natsLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.fatal.CompareAndSwap(nil, &err)
	l.log.Error(err.Error())
}
