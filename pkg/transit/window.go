package transit

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// window publishes messages of one stream without waiting for each answer, bounded in number and
// bytes. It sends a message again after a reconnect, and after the stream, found missing, was made
// again; one that has no answer when its time is over fails.
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
	bytes    int
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
}

// flight is a message whose answer is awaited.
type flight struct {
	id       uint64
	msg      nats.Msg
	cost     int
	done     func(result)
	deadline time.Time
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
	tickEvery  = 100 * time.Millisecond
	mendPause  = 200 * time.Millisecond
	unsentConn = ^uint64(0)
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
	f := &flight{msg: nats.Msg{Subject: subject, Header: hdr, Data: data}, cost: cost, done: done}
	if err := w.admit(ctx, f); err != nil {
		return err
	}
	err := w.t.nc.PublishMsg(&f.msg)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		w.mu.Lock()
		f.conn = unsentConn
		w.mu.Unlock()
		return nil
	}
	if !w.withdraw(f) {
		return nil // its time is over: done was called
	}
	return err
}

func (w *window) admit(ctx context.Context, f *flight) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.flights) > 0 && (w.full(f.cost) || w.ordered && w.behind()) {
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
	if !w.running {
		w.running, w.id = true, w.t.acks.join(w)
		go w.run()
	}
	w.last++
	f.id = w.last
	f.msg.Reply = w.t.acks.prefix + w.id + "." + strconv.FormatUint(f.id, 36)
	f.deadline = time.Now().Add(w.timeout)
	f.conn = w.t.nc.Stats().Reconnects
	w.flights[f.id] = f
	w.bytes += f.cost
	return nil
}

func (w *window) full(cost int) bool {
	return len(w.flights) >= w.maxCount || w.bytes+cost > w.maxBytes
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
	for len(w.flights) > 0 {
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

// run settles flights until none is left.
func (w *window) run() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-w.wake:
			w.answer()
		case <-tick.C:
			w.patrol(time.Now())
		case err := <-w.mended:
			w.afterMend(err)
		}
		w.startMend(ctx)
		if w.rest(cancel) {
			return
		}
	}
}

// rest ends the goroutine when nothing is left to do.
func (w *window) rest(cancel func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flights) > 0 {
		return false
	}
	if w.mending {
		cancel() // its answer ends this goroutine
		return false
	}
	w.t.acks.leave(w.id)
	w.replies, w.running = nil, false
	return true
}

// answer settles what has been answered.
func (w *window) answer() {
	w.mu.Lock()
	replies, aborted := w.replies, w.aborted
	w.replies = nil
	w.mu.Unlock()
	for _, r := range replies {
		w.mu.Lock()
		f := w.flights[r.id]
		missing := len(r.msg.Data) == 0 && r.msg.Header.Get("Status") == "503"
		if f != nil && missing {
			f.missing, w.missing = true, true
		}
		w.mu.Unlock()
		if f == nil || missing {
			continue
		}
		seq, err := readAck(r.msg.Data)
		w.settle(f, result{seq, f.again, err})
	}
	if aborted {
		for _, f := range w.inOrder(func(*flight) bool { return true }) {
			w.settle(f, result{err: errAbandoned, again: true})
		}
	}
}

func (w *window) settle(f *flight, r result) {
	w.mu.Lock()
	live := w.flights[f.id] == f
	f.settling = live
	w.mu.Unlock()
	if !live {
		return // withdrawn in the meantime
	}
	f.done(r)
	w.mu.Lock()
	w.remove(f)
	w.mu.Unlock()
}

// patrol fails what waited too long and sends again what a lost connection may have swallowed.
func (w *window) patrol(now time.Time) {
	closed := w.t.nc.IsClosed()
	for _, f := range w.inOrder(func(f *flight) bool { return closed || now.After(f.deadline) }) {
		err := errNoAnswer
		switch {
		case closed:
			err = nats.ErrConnectionClosed
		case f.missing:
			err = errNoStream
		}
		w.settle(f, result{again: true, err: err})
	}
	if !w.t.nc.IsConnected() {
		return
	}
	conn := w.t.nc.Stats().Reconnects
	w.resend(conn, w.inOrder(func(f *flight) bool { return f.conn != conn && !f.missing }))
}

// resend publishes flights once more; only the goroutine of the window does so.
func (w *window) resend(conn uint64, fs []*flight) {
	for _, f := range fs {
		err := w.t.nc.PublishMsg(&f.msg)
		w.mu.Lock()
		f.again = f.again || f.conn != unsentConn
		f.conn, f.missing = conn, false
		if err != nil {
			f.conn = unsentConn
		}
		w.notify()
		w.mu.Unlock()
	}
}

// startMend has a missing stream made again, while the window goes on.
func (w *window) startMend(ctx context.Context) {
	if !w.missing || w.mending || time.Now().Before(w.mendFrom) {
		return
	}
	w.missing, w.mending = false, true
	go func() { w.mended <- w.mender.mend(ctx) }()
}

// afterMend sends again what found no stream. After a failed attempt it does so too: another process
// may have succeeded.
func (w *window) afterMend(error) {
	w.mending, w.mendFrom, w.missing = false, time.Now().Add(mendPause), false
	w.resend(w.t.nc.Stats().Reconnects, w.inOrder(func(f *flight) bool { return f.missing }))
}

// inOrder returns the flights that match, oldest first.
func (w *window) inOrder(match func(*flight) bool) []*flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	var fs []*flight
	for _, f := range w.flights {
		if match(f) {
			fs = append(fs, f)
		}
	}
	slices.SortFunc(fs, func(a, b *flight) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return fs
}

// readAck reads a PubAck.
func readAck(data []byte) (uint64, error) {
	var ack struct {
		apiResponse
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
	}
	if err := json.Unmarshal(data, &ack); err != nil || ack.Error == nil && ack.Stream == "" {
		return 0, jetstream.ErrInvalidJSAck
	}
	if ack.Error != nil {
		return 0, refusal(ack.Error)
	}
	return ack.Seq, nil
}
