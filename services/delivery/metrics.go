package delivery

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	messages   *prometheus.CounterVec
	tiers      *prometheus.CounterVec
	uncertain  prometheus.Counter
	unrecorded prometheus.Counter
	seconds    prometheus.Histogram
	notices    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, down func() float64) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_delivery_messages_total",
			Help: "Messages by outcome of a hand-over: delivered, discarded (by a rule), duplicate (a double within the dedupe window), fallback (counted besides), temporary, blocked (the destination is down and was not tried), deferred, dead, repeat, body-gone, account-gone.",
		}, []string{"outcome"}),
		tiers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_delivery_tier_total",
			Help: "Messages that were delivered or discarded, by what decided who gets them: forward-to, header, envelope, received, resent, to-cc, none (no recipient found).",
		}, []string{"tier"}),
		uncertain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailferry_delivery_uncertain_total", Help: "Hand-overs whose answer was lost: a copy more may have arrived.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailferry_delivery_unrecorded_total", Help: "Messages accepted whose UID index was gone: a copy more may follow.",
		}),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mailferry_delivery_notices_total", Help: "Attempts to send a notice, by channel and outcome: sent, failed (it is tried again), dropped.",
		}, []string{"channel", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mailferry_delivery_seconds", Help: "Time from being fetched to being accepted.", Buckets: prometheus.ExponentialBuckets(0.005, 3, 14),
		}),
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mailferry_delivery_destinations_down", Help: "Destinations whose breaker is open: nobody answered several times in a row, and one message at a time tries.",
	}, down))
	reg.MustRegister(m.messages, m.tiers, m.uncertain, m.unrecorded, m.seconds, m.notices)
	return m
}

func (m *metrics) outcome(o string) { m.messages.WithLabelValues(o).Inc() }

// done counts a message that is through with.
func (m *metrics) done(fate, tier string) {
	switch fate {
	case fateDuplicate:
		m.outcome(fate)
		return
	case fateDiscarded:
		m.outcome(fate)
	default:
		m.outcome("delivered")
	}
	m.tiers.WithLabelValues(tier).Inc()
}
