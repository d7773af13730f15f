package delivery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// backlogEvery is how often what waits is counted.
const backlogEvery = 30 * time.Second

// backlog is what waits for a destination, or for somebody to look at it.
type backlog struct {
	messages, octets, dead, deadOctets, oldest prometheus.Gauge
}

func newBacklog(reg prometheus.Registerer) *backlog {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	return &backlog{
		messages:   gauge("mailferry_transit_messages", "Messages in TRANSIT; each delivery counts all of them."),
		octets:     gauge("mailferry_transit_bytes", "Their octets, with the bodies in BODIES."),
		dead:       gauge("mailferry_dead_letters", "Dead letters in DEAD; each delivery counts all of them."),
		deadOctets: gauge("mailferry_dead_bytes", "Their octets, without bodies in BODIES."),
		oldest:     gauge("mailferry_dead_oldest_seconds", "Age of the oldest dead letter; 0 if there is none."),
	}
}

// countLoop counts until ctx ends.
func (d *Delivery) countLoop(ctx context.Context) {
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for {
		s, err := d.Transit.Stats(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.Log.Debug("what waits is not counted", zap.Error(err))
		default:
			b, age := d.backlog, 0.0
			if !s.Oldest.IsZero() {
				age = time.Since(s.Oldest).Seconds()
			}
			b.messages.Set(float64(s.Messages))
			b.octets.Set(float64(s.Bytes))
			b.dead.Set(float64(s.Dead))
			b.deadOctets.Set(float64(s.DeadBytes))
			b.oldest.Set(age)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
