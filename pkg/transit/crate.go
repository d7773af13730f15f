package transit

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// crate is a message of TRANSIT that was handed to this process, with the parcels that are in it: one, or those of a bundle.
// What is said of them one by one is told the server when the last has been settled; where one was given back the server has
// all handed out again, and those that were settled are seen as repeats then.
type crate struct {
	t         *Transit
	reply     string
	arrived   time.Time
	delivered int

	mu   sync.Mutex
	left int // parcels not settled
	term []byte
	back time.Time   // when it is handed out again; zero: nothing was given back
	beat *time.Timer // tells NATS that the message is worked on; nil: nothing does
}

// unpack returns what a message holds, as parcels that are not decoded yet.
func (t *Transit) unpack(m *nats.Msg, a address, at time.Time) []*waiting {
	keys := keysOf(m.Subject)
	c := &crate{t: t, reply: m.Reply, arrived: at, delivered: 1, left: len(keys)}
	if meta, err := m.Metadata(); err == nil {
		c.delivered = int(meta.NumDelivered)
	}
	if len(keys) == 1 {
		return []*waiting{{crate: c, address: a, key: keys[0], data: m.Data}}
	}
	parts, err := cutBundle(m.Data, len(keys))
	all := make([]*waiting, len(keys))
	for i, key := range keys {
		all[i] = &waiting{crate: c, address: a, key: key}
		if err == nil {
			all[i].data = parts[i]
		}
	}
	return all
}

// verdict is what is said of a parcel: it is done with, or, given back, to be handed out again not before a time.
type verdict struct {
	back time.Time
	term []byte
}

// settle takes what is said of one parcel; the last one has the server told, by way of send. An order that could not be sent
// may be given again.
func (c *crate) settle(settled *bool, v verdict, send func(order []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *settled {
		return ErrSettled
	}
	if !v.back.IsZero() && (c.back.IsZero() || v.back.Before(c.back)) {
		c.back = v.back
	}
	c.term = v.term
	if c.left == 1 {
		c.rest()
		if err := send(c.order()); err != nil {
			return err
		}
	}
	c.left--
	*settled = true
	return nil
}

// order is what the server is told; the lock is held.
func (c *crate) order() []byte {
	switch {
	case !c.back.IsZero():
		return nakOrder(time.Until(c.back))
	case c.term != nil:
		return c.term
	}
	return []byte("+ACK")
}

// giveBack gives a parcel back that was not handed out.
func (c *crate) giveBack() {
	settled := false
	_ = c.settle(&settled, verdict{back: time.Now()}, func(order []byte) error { return c.t.nc.Publish(c.reply, order) })
}

// keep tells NATS every third of AckWait that the message is worked on, until all of it is settled or ctx ends.
func (c *crate) keep(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || c.beat != nil {
		return
	}
	every := c.t.cfg.AckWait / 3
	if time.Since(c.arrived) > every/2 {
		c.inProgress()
	}
	c.beat = time.AfterFunc(every, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.beat != nil && ctx.Err() == nil {
			c.inProgress()
			c.beat.Reset(every)
		}
	})
}

// kept says that the server does not hand the message out to others meanwhile.
func (c *crate) kept() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.beat != nil
}

func (c *crate) inProgress() { _ = c.t.nc.Publish(c.reply, []byte("+WPI")) }

// rest ends what keep started; the lock is held.
func (c *crate) rest() {
	if c.beat != nil {
		c.beat.Stop()
		c.beat = nil
	}
}
