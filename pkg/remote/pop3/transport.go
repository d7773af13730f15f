package pop3

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"sync"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// bufferSize is what is read from the network at once; a body is handed out in slices of it.
const bufferSize = 64 << 10

// transport is the connection as go-pop3 sees it. The library reads a reply with bufio.ReadBytes, without
// bounds, and takes an empty line for success; so it is handed one checked status line at a time and never
// holds a byte beyond it. Bodies and lists are read below it, from r.
type transport struct {
	*remote.Conn
	r       *bufio.Reader
	limits  remote.Limits
	pending []byte   // rest of the status line that the library has not taken yet
	status  []byte   // the status line read last, without its CRLF
	held    []byte   // commands that wait for flush
	hold    bool     // collect commands instead of sending each by itself
	secrets []string // never to be quoted
}

func newTransport(c *remote.Conn) *transport {
	limits := c.Limits()
	if limits.Line > bufferSize {
		return &transport{Conn: c, r: bufio.NewReaderSize(c, min(limits.Line, 1<<20)), limits: limits}
	}
	r, _ := readers.Get().(*bufio.Reader)
	r.Reset(c)
	return &transport{Conn: c, r: r, limits: limits}
}

// readers keeps the buffers of sessions that ended in order: a poll without news needs nothing larger.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

// giveReader gives the buffer back when nothing is read any more.
func (t *transport) giveReader() {
	if t.r.Size() != bufferSize {
		return
	}
	r := t.r
	t.r = bufio.NewReaderSize(t.Conn, 16)
	r.Reset(nil)
	readers.Put(r)
}

// Read hands out a status line, or what is left of it.
func (t *transport) Read(p []byte) (int, error) {
	if len(t.pending) == 0 {
		if err := t.readStatus(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.pending)
	t.pending = t.pending[n:]
	return n, nil
}

// readStatus reads one reply line (RFC 1939 §3): "+OK" or "-ERR", then a space or the end, CRLF.
func (t *transport) readStatus() error {
	line, err := t.readLine()
	if err != nil {
		return err
	}
	if !isStatus(line) {
		return t.notAReply(line)
	}
	t.status = append(t.status[:0], line...)
	t.pending = append(append(t.pending[:0], line...), "\r\n"...)
	return nil
}

// challenge reads the answer to a line of AUTH: a challenge (RFC 5034 §4, "+ " and base64), or with more
// false the status that ends the exchange.
func (t *transport) challenge() (octets []byte, more bool, err error) {
	line, err := t.readLine()
	if err != nil {
		return nil, false, err
	}
	if isStatus(line) {
		t.status = append(t.status[:0], line...)
		return nil, false, nil
	}
	text, ok := bytes.CutPrefix(line, []byte("+"))
	if !ok || len(text) > 0 && text[0] != ' ' {
		return nil, false, t.notAReply(line)
	}
	octets, err = base64.StdEncoding.AppendDecode(nil, bytes.TrimSpace(text))
	if err != nil {
		return nil, false, fault.Errorf(fault.Protocol, "pop3 auth", "the server's challenge is not base64: %s", t.quote(string(text)))
	}
	return octets, true, nil
}

func (t *transport) notAReply(line []byte) error {
	return fault.Errorf(fault.Protocol, "pop3 reply", "want +OK or -ERR, the server sent: %s", t.quote(string(line)))
}

// readLine reads a line that ends with CRLF and returns it without; it is valid until the next read.
func (t *transport) readLine() ([]byte, error) {
	if t.r.Buffered() == 0 || !t.lineBuffered() {
		t.AnswerWithin(t.limits.Command)
	}
	line, err := t.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > t.limits.Line {
		return nil, fault.Errorf(fault.Protocol, "pop3 reply", "a line is longer than %d octets", t.limits.Line)
	}
	if err != nil {
		return nil, err
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, t.notAReply(line)
	}
	return text, nil
}

// text is what the status says behind -ERR.
func (t *transport) text() string {
	return strings.TrimSpace(strings.TrimPrefix(string(t.status), "-ERR"))
}

func (t *transport) lineBuffered() bool {
	b, _ := t.r.Peek(t.r.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

func isStatus(line []byte) bool {
	for _, word := range []string{"+OK", "-ERR"} {
		if rest, ok := bytes.CutPrefix(line, []byte(word)); ok && (len(rest) == 0 || rest[0] == ' ') {
			return true
		}
	}
	return false
}

// Write sends a command, or holds it back until flush.
func (t *transport) Write(p []byte) (int, error) {
	if t.hold {
		t.held = append(t.held, p...)
		return len(p), nil
	}
	return t.Conn.Write(p)
}

// flush sends what was held back, in one write.
func (t *transport) flush() error {
	t.hold = false
	if len(t.held) == 0 {
		return nil
	}
	_, err := t.Conn.Write(t.held)
	clear(t.held)
	t.held = t.held[:0]
	return err
}

// quote makes text of the server fit for an error; one that repeats the password is withheld.
func (t *transport) quote(text string) string {
	text = strings.TrimSpace(strings.TrimPrefix(text, "-ERR"))
	if text == "" {
		return "no reason given"
	}
	lower := strings.ToLower(text)
	for _, secret := range t.secrets {
		if secret != "" && strings.Contains(lower, strings.ToLower(secret)) {
			return "(a text that repeats the password is not shown)"
		}
	}
	return fault.Clean(text)
}
