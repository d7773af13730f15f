package transit

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

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
		missing := r.err == nil && len(r.msg.Data) == 0 && r.msg.Header.Get("Status") == "503"
		if f != nil && missing {
			f.missing, w.missing = true, true
		}
		w.mu.Unlock()
		if f == nil || missing {
			continue
		}
		if r.err != nil {
			w.settle(f, result{0, f.again, r.err})
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
	w.resend(conn, w.inOrder(func(f *flight) bool {
		return !f.missing && (f.conn != conn || now.After(f.resendAt))
	}))
}

// resend publishes flights once more; only the goroutine of the window does so.
func (w *window) resend(conn uint64, fs []*flight) {
	for _, f := range fs {
		err := w.t.nc.PublishMsg(&f.msg)
		w.mu.Lock()
		f.again = f.again || f.conn != unsentConn
		f.conn, f.missing = conn, false
		f.patience *= 2
		f.resendAt = time.Now().Add(f.patience)
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
