package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// startTime is how long a process waits for a server that is not up yet.
const startTime = 30 * time.Second

// NATSConfig says where NATS is.
type NATSConfig struct {
	// URL lists servers, separated by commas.
	URL string
	// Creds is a credentials file, or empty.
	Creds string
	// Name is what the server's monitoring calls the connection, for instance "mailferry worker".
	Name string
	// InProcess is set where the server lives in this process; URL and Creds are not used then.
	InProcess nats.InProcessConnProvider
	// Wait is how long to wait for a server that is not up; default 30 s.
	Wait time.Duration
}

// ConnectNATS connects and stays connected: it tries again for ever after the first success. What
// happens to the connection is logged; an error or a log line never shows a password of the URL.
func ConnectNATS(ctx context.Context, log *zap.Logger, cfg NATSConfig) (*nats.Conn, jetstream.JetStream, error) {
	opts := natsOptions(log, cfg)
	where := redactAll(cfg.URL)
	if cfg.InProcess != nil {
		where = "the embedded server"
	}
	var nc *nats.Conn
	err := await(ctx, cfg.Wait, func(context.Context) error {
		var err error
		nc, err = nats.Connect(cfg.URL, opts...)
		var bad *url.Error
		if errors.As(err, &bad) { // it quotes the URL
			return final{errors.New("the URL cannot be read")}
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return final{err}
		}
		return err
	}, func(err error) {
		log.Warn("NATS does not answer yet", zap.String("url", where), zap.Error(err))
	})
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS at %s (--nats-url): %w", where, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

func natsOptions(log *zap.Logger, cfg NATSConfig) []nats.Option {
	log = log.Named("nats")
	opts := []nats.Option{
		nats.Name(cfg.Name), nats.Timeout(5 * time.Second), nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(3),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				log.Warn("disconnected", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("connected again", zap.String("url", c.ConnectedUrlRedacted())) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			fields := []zap.Field{zap.Error(err)}
			if sub != nil {
				fields = append(fields, zap.String("subject", sub.Subject))
			}
			log.Warn("asynchronous error", fields...)
		}),
	}
	if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	return opts
}

// redactAll hides who signs in in a comma list of URLs. It does not parse them: what cannot be parsed
// holds passwords too.
func redactAll(list string) string {
	parts := strings.Split(list, ",")
	for i, p := range parts {
		scheme, rest, ok := strings.Cut(p, "://")
		if !ok {
			scheme, rest = "", p
		} else {
			scheme += "://"
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = "xxxxx" + rest[at:]
		}
		rest, query, _ := strings.Cut(rest, "?")
		if strings.Contains(query, "password") {
			rest += "?xxxxx"
		} else if query != "" {
			rest += "?" + query
		}
		parts[i] = scheme + rest
	}
	return strings.Join(parts, ",")
}

// final is an error that no waiting mends.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// await calls try until it succeeds, fails for good, or the wait is over, with a growing pause.
func await(ctx context.Context, wait time.Duration, try func(context.Context) error, failed func(error)) error {
	if wait == 0 {
		wait = startTime
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := try(ctx)
		var f final
		if err == nil || errors.As(err, &f) {
			return err
		}
		failed(err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
