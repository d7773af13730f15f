package daemon_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/daemon"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealth(t *testing.T) {
	t.Parallel()
	h := daemon.NewHealth(daemon.BuildOf("1.2.3"))
	var broken error
	h.Check("redis", func(context.Context) error { return broken })
	h.Check("nats", func(context.Context) error { return nil })
	if code, body := get(t, h.Handler(), "/readyz"); code != 200 || body != "nats: ok\nredis: ok\nready\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	broken = errors.New("connection refused")
	if code, body := get(t, h.Handler(), "/readyz"); code != 503 || !strings.Contains(body, "redis: connection refused\nnot ready") {
		t.Errorf("broken: %d %q", code, body)
	}
	broken = nil
	h.Draining()
	if code, _ := get(t, h.Handler(), "/readyz"); code != 503 {
		t.Errorf("draining: %d", code)
	}
	if code, _ := get(t, h.Handler(), "/livez"); code != 200 {
		t.Errorf("live while draining: %d", code)
	}
	if _, body := get(t, h.Handler(), "/metrics"); !strings.Contains(body, `version="1.2.3"`) ||
		!strings.Contains(body, "go_goroutines") || !strings.Contains(body, "process_open_fds") {
		t.Error("metrics of the build, the runtime or the process are missing")
	}
}

func TestHTTPDrainLetsAnOpenRequestFinish(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	srv, err := daemon.NewHTTP(t.Context(), zap.NewNop(), "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "whole")
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran, drained, answer := make(chan error, 1), make(chan error, 1), make(chan string, 1)
	go func() { ran <- srv.Run(ctx) }()
	go func() {
		resp, err := http.Get("http://" + srv.Addr())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-entered
	go func() { drained <- srv.Drain(ctx) }()
	close(release)
	if got := <-answer; got != "whole" {
		t.Errorf("answer %q", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestHTTPAddressInUse(t *testing.T) {
	t.Parallel()
	one, err := daemon.NewHTTP(t.Context(), zap.NewNop(), "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if _, err := daemon.NewHTTP(t.Context(), zap.NewNop(), one.Addr(), http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), one.Addr()) {
		t.Errorf("got %v", err)
	}
}
