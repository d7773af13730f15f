package delivery

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	messages   *prometheus.CounterVec
	uncertain  prometheus.Counter
	unrecorded prometheus.Counter
	seconds    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_delivery_messages_total",
			Help: "Messages by outcome of a hand-over: delivered, fallback (counted besides), temporary, deferred, dead, repeat, body-gone, account-gone.",
		}, []string{"outcome"}),
		uncertain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailferry_delivery_uncertain_total", Help: "Hand-overs whose answer was lost: a copy more may have arrived.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailferry_delivery_unrecorded_total", Help: "Messages accepted whose UID index was gone: a copy more may follow.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailferry_delivery_seconds", Help: "Time from being fetched to being accepted.", Buckets: prometheus.ExponentialBuckets(0.005, 3, 14),
		}),
	}
	reg.MustRegister(m.messages, m.uncertain, m.unrecorded, m.seconds)
	return m
}

func (m *metrics) outcome(o string) { m.messages.WithLabelValues(o).Inc() }
