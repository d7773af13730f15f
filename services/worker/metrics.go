package worker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	runs     *prometheus.CounterVec
	messages *prometheus.CounterVec
	fetched  prometheus.Counter // one of messages
	bytes    prometheus.Counter
	seconds  prometheus.Histogram
	sessions prometheus.Gauge
	watchers prometheus.Gauge
	full     prometheus.Counter
	heldBack *prometheus.CounterVec
	// watchEnds counts the ends of watches.
	watchEnds *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_worker_runs_total", Help: "Runs that ended, by fault kind (empty: none), trigger and protocol.",
		}, []string{"kind", "trigger", "protocol"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_worker_messages_total", Help: "Messages by what happened: fetched, failed, deleted, parked; matched: known again after the server had numbered them anew.",
		}, []string{"outcome"}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "mailferry_worker_fetched_bytes_total", Help: "Octets of messages fetched."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mailferry_worker_run_seconds", Help: "Length of runs.", Buckets: prometheus.ExponentialBuckets(0.01, 3, 12)}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailferry_worker_sessions", Help: "Remote sessions open now in runs.",
		}),
		full: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailferry_worker_full_total", Help: "Sessions that found no place at their remote host: the account stands in line.",
		}),
		heldBack: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_worker_held_back_total", Help: "Jobs that come again later, by reason: share: slots are short and the domain has its share; cap: runs or jobs a minute of the domain; bytes: what may be fetched today for the domain, or at the host, is fetched.",
		}, []string{"reason"}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mailferry_worker_watchers", Help: "Remote sessions that wait for messages now (push).",
		}),
		watchEnds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_worker_watch_ends_total", Help: "Ends of such sessions, by reason: news (a push job follows), wanted, changed, over, drained, session, lock.",
		}, []string{"reason"}),
	}
	m.fetched = m.messages.WithLabelValues("fetched")
	reg.MustRegister(m.runs, m.messages, m.bytes, m.seconds, m.sessions, m.full, m.heldBack, m.watchers, m.watchEnds)
	return m
}
