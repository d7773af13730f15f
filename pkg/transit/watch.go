package transit

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// watchPulls sends again the pulls that a lost connection or server swallowed, and has consumers made
// again that are gone.
func (i *Intake) watchPulls(ctx context.Context) {
	defer close(i.watch)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if i.takeMissing() {
			if err := i.t.transit.mend(ctx); err != nil {
				i.mu.Lock()
				i.missing = true
				i.mu.Unlock()
			}
		}
		i.renew(time.Now())
	}
}

func (i *Intake) takeMissing() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	missing := i.missing
	i.missing = false
	return missing
}

// renew gives up pulls that are lost and sends new ones.
func (i *Intake) renew(now time.Time) {
	if !i.t.nc.IsConnected() {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	conn := i.t.nc.Stats().Reconnects
	for n := range i.lanes {
		l := &i.lanes[n]
		if l.asked > 0 && (conn != i.conn || now.Sub(l.heard) > pullSilence) {
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
			i.giveBack(m.msg)
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
