package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// body reads a multi-line response (RFC 1939 §3) as the bytes it stands for: the dot that begins a line is
// removed, everything else stays as it is, bare LF and NUL included. Lines begin after CRLF only, and only
// CRLF "." CRLF ends the response: whoever can send mail to the maildrop cannot end it early with LF "." LF.
//
// It returns io.EOF only at that end. Its errors are final.
type body struct {
	r     *bufio.Reader
	limit int64 // octets handed out
	n     int64 // octets of the response so far
	bol   bool  // at the beginning of a line
	cr    bool  // the octet before was CR
	end   error // why the response is over: io.EOF, or what broke the connection
	err   error // why nothing more is handed out
}

var (
	errStale = errors.New("pop3: a body was read after its time")
	stuffed  = []byte("\r\n.")
	endMark  = []byte(".\r\n")
)

// newBody returns the response that begins with the next octet of r.
func newBody(r *bufio.Reader, limit int64) *body {
	return &body{r: r, limit: limit, bol: true}
}

// Read reads octets of the response.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	chunk, err := b.next(len(p))
	return copy(p, chunk), err
}

// WriteTo writes the rest of the response in slices of the connection's buffer.
func (b *body) WriteTo(w io.Writer) (n int64, err error) {
	for {
		chunk, err := b.next(b.r.Size())
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		k, err := w.Write(chunk)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

// next returns up to size octets, valid until the next call, or an error and nothing.
func (b *body) next(size int) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	chunk, err := b.step(size)
	if err == nil && b.n > b.limit {
		err = b.tooLarge()
	}
	if err != nil {
		if !errors.Is(err, remote.ErrQuiet) {
			b.err = err
		}
		return nil, err
	}
	return chunk, nil
}

func (b *body) tooLarge() error {
	return fault.Errorf(fault.Policy, "pop3 retr", "the message is larger than the limit of %d octets", b.limit)
}

func (b *body) endless(limit int64) error {
	return fault.Errorf(fault.Policy, "pop3 retr", "the message does not end within %d octets", limit)
}

// drain passes over what is left of the response, as long as it has no more than limit octets in all, and
// lets nobody read from b any more. Without an error the next octet of the connection begins a reply.
func (b *body) drain(limit int64) error {
	b.err = errStale
	for b.end == nil && b.n <= limit {
		_, _ = b.step(b.r.Size())
	}
	if b.end == nil {
		return b.endless(limit)
	}
	if errors.Is(b.end, io.EOF) {
		return nil
	}
	return b.end
}

// step takes up to size octets of the response from the connection. Silence, where it is told apart
// (remote.ErrQuiet), ends nothing.
func (b *body) step(size int) ([]byte, error) {
	if b.end != nil {
		return nil, b.end
	}
	var err error
	if b.bol {
		err = b.lineStart()
	}
	if err == nil {
		_, err = b.r.Peek(1)
		err = notEOF(err)
	}
	if err != nil {
		if !errors.Is(err, remote.ErrQuiet) {
			b.end = err
		}
		return nil, err
	}
	chunk, _ := b.r.Peek(min(b.r.Buffered(), size))
	chunk = b.cut(chunk)
	b.n += int64(len(chunk))
	_, _ = b.r.Discard(len(chunk))
	return chunk, nil
}

// lineStart looks at the beginning of a line: a dot is removed, the end mark is io.EOF.
func (b *body) lineStart() error {
	first, err := b.r.Peek(1)
	if err != nil {
		return notEOF(err)
	}
	if first[0] == '.' {
		mark, err := b.r.Peek(len(endMark)) // a dot is followed by two more octets at least: CRLF, or a line and the end
		if err != nil {
			return notEOF(err)
		}
		if bytes.Equal(mark, endMark) {
			_, _ = b.r.Discard(len(endMark))
			return io.EOF
		}
		_, _ = b.r.Discard(1)
	}
	b.bol, b.cr = false, false
	return nil
}

// cut shortens chunk to what is handed out as it is, and notes where in a line it ends.
func (b *body) cut(chunk []byte) []byte {
	if b.cr && chunk[0] == '\n' {
		b.bol, b.cr = true, false
		return chunk[:1]
	}
	if i := bytes.Index(chunk, stuffed); i >= 0 {
		chunk = chunk[:i+2]
	}
	b.bol, b.cr = bytes.HasSuffix(chunk, stuffed[:2]), chunk[len(chunk)-1] == '\r'
	return chunk
}

// notEOF keeps the end of the connection apart from the end of a response.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fault.Errorf(fault.Network, "pop3 read", "the connection ended within a response")
	}
	return err
}
