package imap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Bounds of what a server may send.
const (
	maxLine    = 16 << 10 // octets of a line, and of a literal
	maxOctets  = 4 << 20  // of all answers to one command
	outSize    = 32 << 10
	maxQuoted  = 400 // octets of a server's text that are kept; fault.Clean cuts further
	maxAnswers = 20_000
)

// wire sends commands and reads answers. One goroutine uses it at a time.
type wire struct {
	net.Conn
	limits Timeouts
	r      *bufio.Reader
	out    []byte // not yet written; its capacity is outSize
	tag    int
	left   int // octets that the server may still send, and
	lines  int // lines
	bye    string
}

func newWire(c net.Conn, limits Timeouts) *wire {
	return &wire{Conn: c, limits: limits, r: bufio.NewReaderSize(c, maxLine), out: make([]byte, 0, outSize)}
}

// result is a tagged answer, a greeting, or a request to go on ("+").
type result struct {
	kind string // OK, NO, BAD, PREAUTH or +
	code string // of the response code, in upper case
	args string // of the response code
	text string // cleaned
}

func (r result) ok() bool { return r.kind == "OK" }

// overQuota says that there is no room (RFC 9208 §4.3.1), also by a server that knows no response codes.
func (r result) overQuota() bool {
	return r.kind == "NO" && (r.code == "OVERQUOTA" || r.code == "" && strings.Contains(strings.ToLower(r.text), "quota"))
}

// String returns the answer for an error.
func (r result) String() string {
	if r.code != "" {
		return r.kind + " [" + fault.Clean(r.code) + "] " + r.text
	}
	return strings.TrimSpace(r.kind + " " + r.text)
}

// command adds the beginning of a command to what is written next.
func (w *wire) command(text string) error {
	w.tag++
	w.left, w.lines = maxOctets, maxAnswers
	return w.emit([]byte("M" + strconv.Itoa(w.tag) + " " + text))
}

// emit adds octets to what is written next; it writes when the buffer is full.
func (w *wire) emit(p []byte) error {
	for len(p) > 0 {
		if len(w.out) == cap(w.out) {
			if _, err := w.flush(); err != nil {
				return err
			}
		}
		n := min(len(p), cap(w.out)-len(w.out))
		w.out = append(w.out, p[:n]...)
		p = p[n:]
	}
	return nil
}

// flush writes what is there, and says whether all of it left.
func (w *wire) flush() (whole bool, err error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.limits.Write)); err != nil {
		return false, err
	}
	n, err := w.Write(w.out)
	whole = n == len(w.out)
	w.out = w.out[:0]
	return whole, err
}

// ask sends a command and reads up to its answer. each, if not nil, gets the untagged ones.
func (w *wire) ask(text string, each func(line []byte)) (result, error) {
	if err := w.command(text + "\r\n"); err != nil {
		return result{}, err
	}
	if _, err := w.flush(); err != nil {
		return result{}, err
	}
	r, err := w.answer(w.limits.Command, each)
	if err == nil && r.kind == "+" {
		err = errors.New("the server wants more of a command that is whole")
	}
	return r, err
}

// answer reads up to the answer of the last command within limit, however slowly it comes.
func (w *wire) answer(limit time.Duration, each func(line []byte)) (result, error) {
	if err := w.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return result{}, err
	}
	tag := []byte("M" + strconv.Itoa(w.tag) + " ")
	for {
		line, err := w.line()
		if err != nil {
			return result{}, err
		}
		switch {
		case bytes.HasPrefix(line, tag):
			r := parseResult(line[len(tag):])
			if r.kind != "OK" && r.kind != "NO" && r.kind != "BAD" {
				return result{}, errAnswer
			}
			return r, nil
		case len(line) > 0 && line[0] == '+':
			return result{kind: "+"}, nil
		case !bytes.HasPrefix(line, []byte("* ")):
			return result{}, errAnswer
		}
		line = line[2:]
		if r := parseResult(line); r.kind == "BYE" {
			w.bye = r.text
		}
		if each != nil {
			each(line)
		}
	}
}

var (
	errAnswer = errors.New("the server sent something that is no answer")
	errLong   = errors.New("the server sent a line or a literal that is too long")
	errMany   = errors.New("the server sent more than was asked for")
)

// line returns the next line with its literals, each as a quoted string, without its end.
func (w *wire) line() ([]byte, error) {
	var whole []byte
	for {
		part, err := w.r.ReadSlice('\n')
		w.left -= len(part)
		w.lines--
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(whole) > maxLine:
			return nil, errLong
		case err != nil:
			return nil, w.ended(err)
		case w.left < 0 || w.lines < 0:
			return nil, errMany
		}
		part = bytes.TrimSuffix(part[:len(part)-1], []byte("\r"))
		n, at, ok := literal(part)
		if !ok {
			if whole == nil {
				return part, nil
			}
			return append(whole, part...), nil
		}
		if n > maxLine {
			return nil, errLong
		}
		whole = append(whole, part[:at]...)
		value := make([]byte, n)
		if _, err := io.ReadFull(w.r, value); err != nil {
			return nil, w.ended(err)
		}
		w.left -= n
		whole = append(whole, escape(string(value))...)
	}
}

// ended is the error of a connection that came to its end.
func (w *wire) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the destination hung up")
	}
	if w.bye != "" {
		err = fmt.Errorf("%w after it said: %s", err, w.bye)
	}
	return err
}

// literal returns the size of the literal that a line ends with, and where it is announced.
func literal(line []byte) (n, at int, ok bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return 0, 0, false
	}
	at = bytes.LastIndexByte(line, '{')
	if at < 0 {
		return 0, 0, false
	}
	size, err := strconv.ParseUint(string(line[at+1:len(line)-1]), 10, 31)
	return int(size), at, err == nil
}

// parseResult reads a status response (RFC 9051 §7.1).
func parseResult(b []byte) result {
	kind, rest, _ := strings.Cut(string(b), " ")
	r := result{kind: strings.ToUpper(kind)}
	if code, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(code, "[") {
		word, args, _ := strings.Cut(code[1:], " ")
		r.code, r.args, rest = strings.ToUpper(word), args, strings.TrimLeft(after, " ")
	}
	r.text = fault.Clean(rest[:min(len(rest), maxQuoted)])
	return r
}

// quote returns s as a quoted string (RFC 9051 §4.3). What cannot stand in one is left out.
func quote(s string) string {
	return escape(strings.NewReplacer("\x00", "", "\r", "", "\n", "").Replace(s))
}

// escape returns s between quotes, as unquote reads it.
func escape(s string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s) + `"`
}

// unquote returns the quoted string or the atom that s begins with, and what follows it.
func unquote(s string) (value, rest string) {
	s = strings.TrimLeft(s, " ")
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, " ()")
		if n < 0 {
			return s, ""
		}
		return s[:n], s[n:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
