package imap

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// phase says which FETCH answers are wanted.
type phase int

const (
	noFetch  phase = iota // none: they are dropped
	listing               // UID and RFC822.SIZE
	fetching              // a body
	heading               // a header
	idling                // none: the server says what happens (RFC 2177)
)

// expectation is what a command may bring.
type expectation struct {
	phase   phase
	octets  int64
	answers int // untagged ones
	found   *found
	silence time.Duration // of a server that idles
}

// chatter is what a server may say unasked.
var chatter = expectation{octets: 1 << 20, answers: 10_000}

const (
	// bodyProgress is how much of a body must come within Limits.Idle: a server that drips it octet by
	// octet is silent.
	bodyProgress = 4 << 10
	// betweenCommands is how long the server may be silent when nothing is due.
	betweenCommands = 24 * time.Hour
)

// wire reads the server's octets as lines and literals. It bounds how long the server may be silent while
// an answer is due, and how many octets and answers it may send. Its first error is final.
type wire struct {
	conn    *remote.Conn
	limits  remote.Limits
	secrets secrets
	r       *bufio.Reader // for the reading goroutine only

	mu       sync.Mutex
	err      error
	due      int           // commands whose answers are due
	phase    phase         // of the last command
	found    *found        // what it asks of mailboxes, or nil
	octets   int64         // the server may still send
	answers  int           // untagged ones, it may still send
	limit    time.Duration // patience at the last progress
	patience time.Duration // what is left of it; it runs out only while we wait
	since    time.Time     // we have been waiting
	dripped  int64         // octets since the last progress
	bye      error         // what the server gave as its reason to close
	leaving  bool          // LOGOUT was sent: a BYE is the answer to it
	caps     goimap.CapSet // as the server said last
	lists    int           // of capabilities that came
	exists   bool          // a number of messages came since the last begin
	searched int           // numbers of a SEARCH since then
	messages uint32        // in the mailbox that is selected
	news     chan struct{} // holds one once messages were added
	silence  time.Duration // of a server that idles
	awaited  bool          // IDLE was sent and not answered yet
	idles    bool          // the server has said that it does, and was not told to end it
}

func newWire(conn *remote.Conn, s secrets) *wire {
	w := &wire{conn: conn, limits: conn.Limits(), secrets: s, news: make(chan struct{}, 1)}
	w.octets, w.answers = chatter.octets, chatter.answers
	w.r = bufio.NewReaderSize(wireReader{w}, 32<<10)
	return w
}

// begin says that an answer is due from now on.
func (w *wire) begin(e expectation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due++
	w.phase, w.exists, w.searched, w.found = e.phase, false, 0, e.found
	w.awaited, w.silence = e.phase == idling, e.silence
	w.octets += e.octets
	w.answers += e.answers
	w.renew(w.limits.Command)
	w.since = time.Now()
	w.conn.SilentFor(w.patience) // for a read that waits already
}

// end says that the answer has come.
func (w *wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.due--; w.due == 0 {
		w.phase, w.octets, w.answers, w.found = noFetch, chatter.octets, chatter.answers, nil
		w.conn.SilentFor(betweenCommands)
	}
}

func (w *wire) renew(d time.Duration) { w.limit, w.patience, w.dripped = d, d, 0 }

// progress grants the server its full time again.
func (w *wire) progress(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renew(d)
}

// answer counts an untagged answer and returns which FETCH answers are wanted.
func (w *wire) answer() (phase, error) {
	w.mu.Lock()
	w.answers--
	p, over := w.phase, w.answers < 0
	w.mu.Unlock()
	if over {
		return p, w.fail(fault.Errorf(fault.Protocol, "imap read", "more answers than were asked for"))
	}
	return p, nil
}

// leave says that the session ends: why the server closes is known.
func (w *wire) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving = true
}

func (w *wire) isLeaving() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leaving
}

// said keeps the reason of a BYE.
func (w *wire) said(bye error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bye = bye
}

// learn keeps a list of capabilities.
func (w *wire) learn(caps []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.caps = goimap.CapSet{}
	for _, c := range caps {
		if c == "IMAP4REV2" {
			c = string(goimap.CapIMAP4rev2) // the one that implies others
		}
		w.caps[goimap.Cap(c)] = struct{}{}
	}
	w.lists++
}

// capabilities returns the last list of capabilities, which is not changed any more, and how many came.
func (w *wire) capabilities() (goimap.CapSet, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.caps, w.lists
}

// counted says that the number of messages came.
func (w *wire) counted(n uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > w.messages {
		w.tellNews()
	}
	w.exists, w.messages = true, n
}

// expunged says that a message went.
func (w *wire) expunged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.messages > 0 {
		w.messages--
	}
}

// find adds to what a SEARCH found and returns the sum.
func (w *wire) find(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.searched += n
	return w.searched
}

// wasCounted says whether it came with the answer to the last command.
func (w *wire) wasCounted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exists
}

// fail ends the connection for the reason err and returns the first reason.
func (w *wire) fail(err error) error {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	err = w.err
	w.mu.Unlock()
	w.conn.Abort()
	return err
}

// failure returns the reason for which the connection ended, or nil.
func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.conn.Err()
}

// wireReader is what wire.r reads from.
type wireReader struct{ w *wire }

func (r wireReader) Read(p []byte) (int, error) {
	w := r.w
	if err := w.arm(); err != nil {
		return 0, err
	}
	n, err := w.conn.Read(p)
	return w.received(n, err)
}

// arm sets the limit of the next read.
func (w *wire) arm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.since = time.Now()
	if w.due > 0 {
		w.conn.SilentFor(w.patience)
	}
	return nil
}

// received accounts for a read.
func (w *wire) received(n int, err error) (int, error) {
	w.mu.Lock()
	w.octets -= int64(n)
	w.dripped += int64(n)
	if w.due > 0 {
		w.patience -= time.Since(w.since)
	}
	over, limit, bye := w.octets < 0, w.limit, w.bye
	w.mu.Unlock()
	switch {
	case over:
		err = fault.Errorf(fault.Protocol, "imap read", "more octets than were asked for")
	case err == nil:
		return n, nil
	case fault.KindOf(err) == fault.Timeout:
		err = fault.Errorf(fault.Timeout, "imap read", "no answer from the server within %s", fault.Span(limit))
	case fault.KindOf(err) == fault.Network && bye != nil:
		err = bye
	}
	return n, w.fail(err)
}

// line returns the next line without its end; it is valid until the next read.
func (w *wire) line() ([]byte, error) {
	part, err := w.r.ReadSlice('\n')
	line := part
	if errors.Is(err, bufio.ErrBufferFull) {
		line = append(make([]byte, 0, 2*len(part)), part...)
		for errors.Is(err, bufio.ErrBufferFull) && len(line) <= w.limits.Line {
			part, err = w.r.ReadSlice('\n')
			line = append(line, part...)
		}
	}
	if len(line) > w.limits.Line {
		return nil, w.fail(fault.Errorf(fault.Protocol, "imap read", "a line of more than %d octets", w.limits.Line))
	}
	if err != nil {
		return nil, w.fail(err)
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// literal reads octets of a body, at most left of them.
func (w *wire) literal(p []byte, left int64) (int, error) {
	if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := w.r.Read(p)
	w.mu.Lock()
	if w.dripped >= bodyProgress {
		w.renew(w.limits.Idle)
	}
	w.mu.Unlock()
	if err != nil {
		err = w.fail(err)
	}
	return n, err
}

// octets reads a literal, or the rest of one.
type octets struct {
	wire *wire
	left int64
}

func (o *octets) Read(p []byte) (int, error) {
	if o.left == 0 {
		return 0, io.EOF
	}
	n, err := o.wire.literal(p, o.left)
	o.left -= int64(n)
	return n, err
}
