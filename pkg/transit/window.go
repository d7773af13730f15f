package transit

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// window publishes messages of one stream without waiting for each answer, bounded in number and
// bytes. It sends a message again after a reconnect, after the stream, found missing, was made again,
// and when there is no answer for long: a stream that is deleted or has no leader says nothing. One that
// has none when its time is over fails. The stream refuses or drops what it has already.
//
// One goroutine, alive while something is in flight, settles everything: no other one calls done.
type window struct {
	t        *Transit
	mender   *mender
	maxCount int
	maxBytes int
	timeout  time.Duration
	// ordered makes send wait while older messages have to be sent again: else newer ones would overtake.
	ordered bool

	mu       sync.Mutex
	flights  map[uint64]*flight
	count    int // messages in flight, or with room reserved
	bytes    int // of these
	last     uint64
	replies  []reply
	running  bool
	aborted  bool
	waiters  int
	changed  chan struct{} // closed when something was settled or sent again
	id       string
	wake     chan struct{}
	mended   chan error
	missing  bool // a flight found no stream
	mending  bool
	mendFrom time.Time // not before
}

type reply struct {
	id  uint64
	msg *nats.Msg
	err error // why there is none
}

// flight is what was published with one answer awaited.
type flight struct {
	id       uint64
	msg      nats.Msg
	count    int // messages
	cost     int // octets of them
	done     func(result)
	deadline time.Time
	resendAt time.Time
	patience time.Duration
	conn     uint64 // reconnects when it was sent last
	again    bool   // sent more than once: a refusal may be our own first copy
	missing  bool   // nothing listened
	settling bool   // done is called, or about to be
}

// result is what became of a flight.
type result struct {
	seq   uint64
	again bool
	err   error
}

const (
	tickEvery = 100 * time.Millisecond
	mendPause = 200 * time.Millisecond
	// An answer is waited for this long, then twice as long, before the message is sent again.
	firstPatience = 3 * time.Second
	unsentConn    = ^uint64(0)
)

func (t *Transit) newWindow(m *mender, count, bytes int) *window {
	return &window{
		t: t, mender: m, maxCount: count, maxBytes: bytes, timeout: t.cfg.PublishTimeout,
		flights: map[uint64]*flight{}, changed: make(chan struct{}),
		wake: make(chan struct{}, 1), mended: make(chan error, 1),
	}
}

// send publishes a message and returns; done gets the outcome. It waits for room as long as ctx
// allows. The data is the window's until done is called. After an error done is not called.
func (w *window) send(ctx context.Context, subject string, hdr nats.Header, data []byte, cost int, done func(result)) error {
	if err := w.reserve(ctx, cost); err != nil {
		return err
	}
	f := &flight{msg: nats.Msg{Subject: subject, Header: hdr, Data: data}, count: 1, cost: cost, done: done}
	if err := w.publish(f); err != nil && w.withdraw(f) {
		return err
	}
	return nil // or its time is over: done was called
}

// launch publishes what has room reserved; done gets the outcome whatever becomes of it, from the goroutine of the window.
func (w *window) launch(f *flight) {
	if err := w.publish(f); err != nil {
		w.push(reply{f.id, nil, err})
	}
}

// publish sends a flight for the first time. An error is one that would be the same after a reconnect.
func (w *window) publish(f *flight) error {
	w.admit(f)
	err := w.t.nc.PublishMsg(&f.msg)
	if err != nil && !hopeless(err) {
		// The connection breaks or its buffer is full: the message is sent after the reconnect.
		w.mu.Lock()
		f.conn = unsentConn
		f.again = f.again || !errors.Is(err, nats.ErrReconnectBufExceeded)
		w.mu.Unlock()
		return nil
	}
	return err
}

// hopeless reports whether an error of a publish would be the same after a reconnect.
func hopeless(err error) bool {
	for _, e := range []error{
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload, nats.ErrBadSubject,
		nats.ErrHeadersNotSupported, nats.ErrInvalidConnection, nats.ErrInvalidMsg,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reserve waits until there is room for one more message, and takes it.
func (w *window) reserve(ctx context.Context, cost int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.count > 0 && (w.full(cost) || w.ordered && w.behind()) {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.aborted {
		return errAbandoned
	}
	if w.t.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	w.count++
	w.bytes += cost
	return nil
}

// admit makes a flight known; its room is reserved.
func (w *window) admit(f *flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		w.running, w.id = true, w.t.acks.join(w)
		go w.run()
	}
	w.last++
	f.id = w.last
	f.msg.Reply = w.t.acks.prefix + w.id + "." + strconv.FormatUint(f.id, 36)
	now := time.Now()
	f.deadline, f.resendAt, f.patience = now.Add(w.timeout), now.Add(firstPatience), firstPatience
	f.conn = w.t.nc.Stats().Reconnects
	w.flights[f.id] = f
}

func (w *window) full(cost int) bool {
	return w.count >= w.maxCount || w.bytes+cost > w.maxBytes
}

// behind reports whether something has to be sent again; the lock is held.
func (w *window) behind() bool {
	if !w.t.nc.IsConnected() {
		return true
	}
	conn := w.t.nc.Stats().Reconnects
	for _, f := range w.flights {
		if f.missing || f.conn != conn {
			return true
		}
	}
	return false
}

// wait waits for a change; the lock is held before and after.
func (w *window) wait(ctx context.Context) error {
	ch := w.changed
	w.waiters++
	w.mu.Unlock()
	var err error
	select {
	case <-ch:
	case <-ctx.Done():
		err = ctx.Err()
	}
	w.mu.Lock()
	w.waiters--
	return err
}

// withdraw takes back a flight that could not be sent at all.
func (w *window) withdraw(f *flight) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.settling {
		return false
	}
	w.remove(f)
	w.poke()
	return true
}

// remove forgets a flight; the lock is held.
func (w *window) remove(f *flight) {
	delete(w.flights, f.id)
	w.count -= f.count
	w.bytes -= f.cost
	w.notify()
}

// notify wakes who waits for a change; the lock is held.
func (w *window) notify() {
	if w.waiters > 0 {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// flush waits until every done was called.
func (w *window) flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.count > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// abort fails what is in flight and waits until that is done.
func (w *window) abort() {
	w.mu.Lock()
	w.aborted = true
	w.poke()
	w.mu.Unlock()
	_ = w.flush(context.Background())
}

func (w *window) push(r reply) {
	w.mu.Lock()
	w.replies = append(w.replies, r)
	w.poke()
	w.mu.Unlock()
}

func (w *window) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
