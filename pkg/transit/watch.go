package transit

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// watchPulls sends again the pulls that a lost connection, server or stream swallowed, and has
// consumers made again that are gone.
func (i *Intake) watchPulls(ctx context.Context) {
	defer close(i.watch)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	i.mends = i.t.transit.done.Load()
	lost := i.ping(ctx)
	for pinged := time.Now(); ; {
		if i.takeMissing() {
			if err := i.t.transit.mend(ctx); err != nil {
				i.mu.Lock()
				i.missing = true
				i.mu.Unlock()
			}
		}
		if mends := i.t.transit.done.Load(); mends != i.mends {
			i.mends, lost = mends, true
		}
		i.renew(time.Now(), lost)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if lost = false; i.silentSince(pinged) >= pingEvery {
			lost, pinged = i.ping(ctx), time.Now()
		}
	}
}

// silentSince returns how long nothing was heard, and no longer than since the time.
func (i *Intake) silentSince(t time.Time) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return min(time.Since(t), time.Since(i.heard))
}

// ping asks for the birth of the stream and reports whether it is another than it was.
func (i *Intake) ping(ctx context.Context) (lost bool) {
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	defer cancel()
	var r infoResponse
	err := i.t.call(ctx, "STREAM.INFO."+transitStream, nil, &r)
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		i.mu.Lock()
		i.missing = true
		i.mu.Unlock()
		return true
	}
	if err != nil || r.Created.Equal(i.created) {
		return false
	}
	lost = !i.created.IsZero()
	i.created = r.Created
	return lost
}

func (i *Intake) takeMissing() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	missing := i.missing
	i.missing = false
	return missing
}

// renew gives up pulls that are lost, or all, and sends new ones.
func (i *Intake) renew(now time.Time, all bool) {
	if !i.t.nc.IsConnected() {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	conn := i.t.nc.Stats().Reconnects
	for n := range i.lanes {
		l := &i.lanes[n]
		if l.asked > 0 && (all || conn != i.conn || now.Sub(l.heard) > pullSilence) {
			l.end(now)
		}
	}
	i.conn = conn
	i.pullAll(now)
}

// Stop takes no more messages and gives back at once those that wait here. Parcels that were handed
// out stay valid. It waits for what the intake started.
func (i *Intake) Stop() {
	i.mu.Lock()
	if i.stopped {
		i.mu.Unlock()
		<-i.watch
		return
	}
	i.stopped = true
	close(i.ended)
	for n := range i.lanes {
		for m := i.lanes[n].pop(); m != nil; m = i.lanes[n].pop() {
			m.giveBack()
		}
	}
	i.mu.Unlock()
	i.cancel()
	<-i.watch
	i.drain()
}

// drain ends the subscription; what is on its way is still received, and given back.
func (i *Intake) drain() {
	closed := i.sub.StatusChanged(nats.SubscriptionClosed)
	if err := i.sub.Drain(); err != nil {
		return
	}
	select {
	case <-closed:
	case <-time.After(stopTimeout):
		_ = i.sub.Unsubscribe()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = i.t.nc.FlushWithContext(ctx)
}
