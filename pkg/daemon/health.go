package daemon

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTime bounds one round of checks.
const checkTime = 2 * time.Second

// Health answers /livez, /readyz and /metrics of one process.
type Health struct {
	registry *prometheus.Registry
	draining atomic.Bool

	mu     sync.Mutex
	checks map[string]func(context.Context) error
}

// NewHealth returns a Health without checks; its registry holds the collectors of the runtime, the
// process and the build.
func NewHealth(b Build) *Health {
	h := &Health{registry: prometheus.NewRegistry(), checks: map[string]func(context.Context) error{}}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mailferry_build_info", Help: "What the process was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	build.Set(1)
	h.registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return h
}

// Registry is where the process registers its metrics.
func (h *Health) Registry() *prometheus.Registry { return h.registry }

// Check adds a condition of readiness, or replaces the one of that name. fn must honour its context.
func (h *Health) Check(name string, fn func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = fn
}

// Draining makes the process unready for good.
func (h *Health) Draining() { h.draining.Store(true) }

// Handler serves /livez, /readyz and /metrics.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", h.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{Registry: h.registry}))
	return mux
}

func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	lines, ok := h.round(ctx)
	if h.draining.Load() {
		lines, ok = append(lines, "draining"), false
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintln(w, strings.Join(append(lines, map[bool]string{true: "ready", false: "not ready"}[ok]), "\n"))
}

// round runs all checks side by side and returns a line for each, in the order of their names.
func (h *Health) round(ctx context.Context) ([]string, bool) {
	h.mu.Lock()
	checks := make(map[string]func(context.Context) error, len(h.checks))
	names := make([]string, 0, len(h.checks))
	for name, fn := range h.checks {
		checks[name] = fn
		names = append(names, name)
	}
	h.mu.Unlock()
	sort.Strings(names)

	lines := make([]string, len(names))
	var bad atomic.Bool
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			lines[i] = name + ": ok"
			if err := checks[name](ctx); err != nil {
				lines[i] = name + ": " + err.Error()
				bad.Store(true)
			}
		})
	}
	wg.Wait()
	return lines, !bad.Load()
}
