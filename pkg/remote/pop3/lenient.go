package pop3

import (
	"bytes"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// lenient reads the body of a message from a server that does not always send the end mark: Exchange 2000
// glues the dot to a last line without an end, others end lines in a bare LF (Target.LenientDot).
//
// The end mark ends a body as ever. Besides, a body is over where all of this holds: what has come ends with
// a dot and CRLF or LF; then the server is silent for Limits.Quiet; NOOP, sent then, is answered by a status
// line and nothing more. So whoever can send mail to the maildrop gains nothing by putting such dots into
// it: as long as the body goes on, or the server does not answer, they are text. The dot goes, and a last
// line that it was glued to gets its CRLF.
//
// Its errors are final.
type lenient struct {
	b     *body
	s     *session
	out   []byte // to be handed out
	buf   []byte // of out
	held  []byte // a dot and perhaps a line end, the last that came
	last  byte   // octet before held; LF at the beginning
	waits bool   // the server has fallen silent, which was not the end
	asked bool   // NOOP is under way
	err   error
}

func newLenient(s *session, b *body) *lenient { return &lenient{b: b, s: s, last: '\n'} }

// Read reads octets of the body.
func (l *lenient) Read(p []byte) (int, error) {
	for len(l.out) == 0 && l.err == nil {
		l.fill()
	}
	if l.b.n > l.b.limit {
		return 0, l.b.tooLarge()
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	if n == 0 && len(p) > 0 {
		return 0, l.err
	}
	return n, nil
}

// drain passes over what is left of the body, and lets nobody read from l any more.
func (l *lenient) drain(limit int64) error {
	for l.err == nil && l.b.n <= limit {
		l.fill()
	}
	end := l.err
	l.out, l.err = nil, errStale
	switch {
	case end == nil:
		return l.b.endless(limit)
	case errors.Is(end, io.EOF):
		return nil
	}
	return end
}

// fill takes the next octets of the body, or notes why there are none.
func (l *lenient) fill() {
	l.out = nil
	if !l.waits && !l.asked {
		l.s.t.QuietAfter(l.s.t.limits.Quiet)
	}
	chunk, err := l.b.step(l.b.r.Size())
	switch {
	case err == nil:
		l.take(chunk)
	case errors.Is(err, remote.ErrQuiet):
		l.silence()
	case errors.Is(err, io.EOF) && l.asked:
		l.out, l.err = l.held, err
		if err := l.s.t.takeStatus(); err != nil { // NOOP's
			l.err = err
		}
	case errors.Is(err, io.EOF):
		l.out, l.err = l.held, err
	default:
		l.err = err
	}
}

// take puts chunk behind what was held back, and holds back a dot at its end.
func (l *lenient) take(chunk []byte) {
	l.waits = false
	l.buf = append(append(l.buf[:0], l.held...), chunk...)
	n := len(l.buf) - dotted(l.buf)
	if n > 0 {
		l.last = l.buf[n-1]
	}
	l.out, l.held = l.buf[:n], append(l.held[:0], l.buf[n:]...)
}

// dotted is the length of a dot at the end of b, with its line end if it has one.
func dotted(b []byte) int {
	for _, end := range []string{".", ".\r", ".\n", ".\r\n"} {
		if bytes.HasSuffix(b, []byte(end)) {
			return len(end)
		}
	}
	return 0
}

// silence asks whether the body is over, if it looks like that; otherwise the server has Limits.Idle.
func (l *lenient) silence() {
	l.waits = true
	ahead := 0
	if rest, _ := l.b.r.Peek(l.b.r.Buffered()); l.b.bol && string(rest) == ".\n" {
		ahead = len(rest) // not taken: it was no end mark
	} else if len(l.held) < 2 || l.held[len(l.held)-1] != '\n' {
		l.s.t.SilentFor(l.s.t.limits.Idle)
		return
	}
	l.asked = true
	over, err := l.s.bodyOver(ahead)
	switch {
	case err != nil:
		l.err = err
	case over:
		l.err = io.EOF
		if ahead > 0 {
			l.out = l.held
		} else if l.last != '\n' {
			l.out = []byte("\r\n")
		}
	default:
		l.s.t.SilentFor(l.s.t.limits.Idle)
	}
}

// bodyOver sends NOOP and says whether a status line answers it behind the next ahead octets, and nothing
// more.
func (s *session) bodyOver(ahead int) (bool, error) {
	if _, err := s.t.Conn.Write([]byte("NOOP\r\n")); err != nil {
		return false, err
	}
	s.t.AnswerWithin(s.t.limits.Command)
	next, err := s.t.r.Peek(ahead + len("-ERR"))
	if err != nil {
		return false, err
	}
	if word := next[ahead:]; !bytes.HasPrefix(word, []byte("+OK")) && !bytes.Equal(word, []byte("-ERR")) {
		return false, nil
	}
	_, _ = s.t.r.Discard(ahead)
	if err := s.t.takeStatus(); err != nil {
		return false, err
	}
	if s.t.r.Buffered() > 0 {
		return false, fault.Errorf(fault.Protocol, "pop3 retr", "a message goes on behind what looks like its end")
	}
	return true, nil
}

// takeStatus reads a status line of a command that the library knows nothing of.
func (t *transport) takeStatus() error {
	err := t.readStatus()
	t.pending = t.pending[:0]
	return err
}
