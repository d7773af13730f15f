package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Conn is the connection of a session. It keeps the session's limits whatever the library on top of it
// does: deadlines are its own, and those that a library sets or clears are ignored; Dialer.Trusted is
// asked before anything is written, TLS records included; the first failure is final, and every later
// call returns it.
//
// Errors carry a kind. The end of the stream is an error of kind network that is not io.EOF: no answer of
// either protocol ends with the connection.
type Conn struct {
	wire *wire
	conn net.Conn // wire, or TLS on it
	d    Dialer
	t    Target

	limits Limits
	secure *tls.ConnectionState
}

// newConn takes over raw.
func newConn(raw net.Conn, d Dialer, t Target, limits Limits) *Conn {
	w := &wire{Conn: raw, trusted: d.trusted, write: limits.Command, within: limits.Command}
	w.until = time.Now().Add(limits.Command)
	return &Conn{wire: w, conn: w, d: d, t: t, limits: limits}
}

// Limits returns the session's limits with their defaults.
func (c *Conn) Limits() Limits { return c.limits }

// AnswerWithin gives the server d, from now on, for everything that is read until the next call of
// AnswerWithin or SilentFor: it bounds an answer as a whole, however slowly it drips.
func (c *Conn) AnswerWithin(d time.Duration) { c.wire.expect(d, false) }

// SilentFor gives the server d for each read from now on: it bounds silence, not the whole.
func (c *Conn) SilentFor(d time.Duration) { c.wire.expect(d, true) }

// QuietAfter makes a read to which nothing comes within d return ErrQuiet, until the next call of
// AnswerWithin or SilentFor. The connection lives on, and the next read goes on where this one waited.
func (c *Conn) QuietAfter(d time.Duration) { c.wire.listen(d) }

// ErrQuiet says that the server fell silent; see [Conn.QuietAfter]. It ends nothing.
var ErrQuiet = errors.New("remote read: nothing came for a while")

// Watch drops the connection when ctx ends, until the function it returns is called; that one waits until
// nothing of Watch is left running. Reads and writes then fail with the cause of ctx.
func (c *Conn) Watch(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.wire.fail(fault.Wrap(fault.Canceled, "remote", context.Cause(ctx)))
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// Abort drops the connection at once, without a word to the server. It may be called at any time, from
// any goroutine.
func (c *Conn) Abort() { _ = c.wire.fail(errAborted) }

var errAborted error = &fault.Error{Kind: fault.Canceled, Op: "remote", Err: net.ErrClosed}

// Close ends the connection, with TLS's own goodbye where there is TLS.
func (c *Conn) Close() error {
	err := c.conn.Close()
	_ = c.wire.fail(errAborted)
	return err
}

// Err returns the failure that ended the connection, or nil.
func (c *Conn) Err() error { return c.wire.failure() }

// Read reads from the server, bounded as AnswerWithin or SilentFor said last.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	if err != nil {
		if c.wire.quieted(err) {
			return n, ErrQuiet
		}
		err = c.wire.fail(c.readError(err))
	}
	return n, err
}

// Write writes to the server if Dialer.Trusted says nothing against it.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	if err != nil {
		err = c.wire.fail(c.writeError(err))
	}
	return n, err
}

func (c *Conn) readError(err error) error {
	const op = "remote read"
	var e *fault.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.Errorf(fault.Timeout, op, "nothing came from the server within %s", fault.Span(c.wire.patience()))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Network, op, errCut)
	case isTLS(err):
		return fault.New(fault.TLS, op, err)
	}
	return fault.Wrap(fault.Network, op, err)
}

// errCut is not io.EOF on purpose: a reader that stops at io.EOF must not take a cut answer for a whole one.
var errCut = errors.New("the server closed the connection before its answer was whole")

func (c *Conn) writeError(err error) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Errorf(fault.Timeout, "remote write", "the server took nothing within %s", fault.Span(c.limits.Command))
	}
	return fault.Wrap(fault.Network, "remote write", err)
}

// BytesIn and BytesOut count what went over the wire, TLS included.
func (c *Conn) BytesIn() int64 { return c.wire.in.Load() }

// BytesOut counts what was sent.
func (c *Conn) BytesOut() int64 { return c.wire.out.Load() }

// LocalAddr is net.Conn's.
func (c *Conn) LocalAddr() net.Addr { return c.wire.LocalAddr() }

// RemoteAddr is the address that was dialed.
func (c *Conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }

// SetDeadline does nothing: deadlines are the connection's own.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// wire is the TCP connection below TLS: deadlines, trust, counters and the first failure live here.
type wire struct {
	net.Conn
	trusted func() error
	in, out atomic.Int64
	write   time.Duration // for each write

	mu     sync.Mutex
	within time.Duration // of an answer, or of silence if each
	each   bool
	until  time.Time     // end of the answer unless each
	quiet  time.Duration // silence that ends a read and nothing more; 0: none
	paused bool          // the read before waited for quiet only
	err    error         // the first failure
}

func (w *wire) expect(d time.Duration, each bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.within, w.each, w.until, w.quiet = d, each, time.Now().Add(d), 0
	_ = w.Conn.SetReadDeadline(w.until) // for a read that waits already
}

func (w *wire) listen(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = d
}

// quieted says whether err is the end of a read that waited for quiet only. TLS goes on after such an error.
func (w *wire) quieted(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paused && w.err == nil && errors.Is(err, os.ErrDeadlineExceeded)
}

func (w *wire) patience() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.within
}

func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail ends the connection for the reason err, unless it has ended before, and returns the first reason.
func (w *wire) fail(err error) error {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	err = w.err
	w.mu.Unlock()
	_ = w.Conn.Close()
	return err
}

func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return 0, w.err
	}
	until := w.until
	if w.each {
		until = time.Now().Add(w.within)
	}
	if soon := time.Now().Add(w.quiet); w.quiet > 0 && soon.Before(until) {
		until, w.paused = soon, true
	} else {
		w.paused = false
	}
	_ = w.Conn.SetReadDeadline(until)
	w.mu.Unlock()
	n, err := w.Conn.Read(p)
	w.in.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.failure(); err != nil {
		return 0, err
	}
	if err := w.trusted(); err != nil {
		return 0, w.fail(err)
	}
	_ = w.Conn.SetWriteDeadline(time.Now().Add(w.write))
	n, err := w.Conn.Write(p)
	w.out.Add(int64(n))
	return n, err
}

// Deadlines that TLS sets around its goodbye are ignored too.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
