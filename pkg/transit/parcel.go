package transit

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/fault"
)

const (
	// settleTimeout bounds a settlement where the caller's context does not, settleTry one attempt at it.
	settleTimeout = 10 * time.Second
	settleTry     = 3 * time.Second
	settlePause   = 200 * time.Millisecond
)

// Parcel is a message handed out to delivery. It is settled once, with Ack, Nak or Term; else it is
// handed out again after AckWait. The server is told once all that travelled together are settled: where one of them was
// given back all come again, so the caller's next Take must find those settled whose outcome it has recorded.
type Parcel struct {
	// Message is never nil; where Err is set it says no more than the subject does.
	*Message
	// Delivered counts the deliveries of this message, 1 for the first.
	Delivered int
	// Err says why the message cannot be read.
	Err error

	t       *Transit
	crate   *crate
	settled bool // under the lock of the crate

	inline []byte // the inline body, unsealed, once opened says so
	opened bool
}

// parcel decodes what waited.
func (w *waiting) parcel() *Parcel {
	p := &Parcel{t: w.crate.t, crate: w.crate, Delivered: w.crate.delivered}
	p.Message, p.Err = decode(w.address, w.key, w.data)
	if p.Err != nil {
		p.Err = fault.New(fault.Internal, "transit next", p.Err)
	}
	return p
}

// Open returns the body. One that is not there, or not whole, is looked for again for a minute
// (Config.BodyWait), then the error is [ErrBodyGone]. The reader ends with [ErrBodyDamaged] in place of
// io.EOF if size or digest are not those of the message. ctx bounds the reader, too.
func (p *Parcel) Open(ctx context.Context) (io.ReadCloser, error) {
	if p.Err != nil {
		return nil, p.Err
	}
	if p.GetObject() != "" {
		return p.t.OpenBody(ctx, p.Message)
	}
	if err := p.unseal(); err != nil {
		return nil, err
	}
	return verified(p.Message, p.inline), nil
}

// Head returns the first octets of the body, at most that many. They must not be changed, and nobody has looked yet
// whether the body is the one that was sent.
func (p *Parcel) Head(ctx context.Context, most int) ([]byte, error) {
	if p.Err == nil && p.GetObject() == "" {
		if err := p.unseal(); err != nil {
			return nil, err
		}
		return p.inline[:min(most, len(p.inline)):len(p.inline)], nil
	}
	body, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	head := make([]byte, min(max(p.GetSize(), 0), int64(most)))
	n, err := io.ReadFull(body, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

// unseal opens an inline body once.
func (p *Parcel) unseal() error {
	if p.opened {
		return nil
	}
	inline, err := p.t.openInline(p.Message)
	p.inline, p.opened = inline, err == nil
	return err
}

// Keep tells NATS every third of AckWait that the message is worked on, until it is settled or ctx
// ends; so for those that travelled with it, too. It returns at once.
func (p *Parcel) Keep(ctx context.Context) { p.crate.keep(ctx) }

// Ack takes the message out of transit and waits for the confirmation. Then its body is removed from
// the object store, unless a dead letter holds the same key.
func (p *Parcel) Ack(ctx context.Context) error {
	if err := p.settle(ctx, "transit ack", verdict{}); err != nil {
		return err
	}
	if p.GetObject() == "" || p.Err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	// What fails here costs room until the sweep, nothing else.
	if dead, err := p.t.isDead(ctx, p.GetAccountUid(), p.GetKey()); err == nil && !dead {
		_ = p.t.removeBody(ctx, p.GetObject())
	}
	return nil
}

// AckAsync is Ack that waits for no confirmation where no body has to be removed. An ack that is lost has the
// message handed out again, so the caller's next Take must find its key settled.
func (p *Parcel) AckAsync(ctx context.Context) error {
	if p.GetObject() != "" {
		return p.Ack(ctx)
	}
	return p.send("transit ack", verdict{})
}

// send settles without confirmation.
func (p *Parcel) send(op string, v verdict) error {
	return failure(op, p.crate.settle(&p.settled, v, func(order []byte) error { return p.t.nc.Publish(p.crate.reply, order) }))
}

// Nak has the message handed out again, not before the delay is over; after a longer one at the next half second, as all others.
func (p *Parcel) Nak(ctx context.Context, delay time.Duration) error {
	return p.settle(ctx, "transit nak", verdict{back: time.Now().Add(delay)})
}

// NakAsync is Nak that waits for no confirmation: one that is lost has the message handed out again after AckWait.
func (p *Parcel) NakAsync(delay time.Duration) error {
	return p.send("transit nak", verdict{back: time.Now().Add(delay)})
}

// together is how far apart messages are handed out again that wait. A server looks at all that wait for each that is
// due: with times of their own, 50,000 of them keep one of its processors busy.
const together = 500 * time.Millisecond

func nakOrder(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte("-NAK")
	}
	if now := time.Now(); delay >= together {
		delay = now.Add(delay + together).Truncate(together).Sub(now)
	}
	return []byte("-NAK " + delay.String())
}

// Term takes the message out of transit as one that nobody can work on. Its body, if it has one, is
// left to the sweep.
func (p *Parcel) Term(ctx context.Context, reason string) error {
	return p.settle(ctx, "transit term", verdict{term: append([]byte("+TERM "), fault.Clean(reason)...)})
}

// settle settles and waits until that is confirmed.
func (p *Parcel) settle(ctx context.Context, op string, v verdict) error {
	return failure(op, p.crate.settle(&p.settled, v, func(order []byte) error {
		bounded, cancel := context.WithTimeout(ctx, settleTimeout)
		defer cancel()
		if err := p.t.confirm(bounded, p.crate.reply, order); err != nil && ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return err
		}
		return nil
	}))
}

// confirm asks until there is an answer or ctx ends.
func (t *Transit) confirm(ctx context.Context, subject string, order []byte) error {
	for {
		try, cancel := context.WithTimeout(ctx, settleTry)
		_, err := t.nc.RequestWithContext(try, subject, order)
		cancel()
		if err == nil || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errNoAnswer
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(settlePause):
		}
	}
}

// isDead reports whether DEAD holds a letter of the key, as its leader knows it.
func (t *Transit) isDead(ctx context.Context, uid, key string) (bool, error) {
	letters, err := t.subjects(ctx, deadStream, deadSubject(uid, key))
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		return false, nil
	}
	return len(letters) > 0, err
}
