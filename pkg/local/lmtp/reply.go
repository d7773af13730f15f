package lmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Bounds of one answer (RFC 5321 §4.5.3.1.5 asks for lines of 512 octets).
const (
	maxReplyLine  = 4 << 10 // octets, CRLF included
	maxReplyLines = 128
	maxReplyText  = 400 // octets kept; fault.Clean cuts further
)

// What is wrong with an answer that cannot be read.
var (
	errReplyLong  = errors.New("a line of the answer is too long")
	errReplyLines = errors.New("the answer has too many lines")
	errReplyEnd   = errors.New("a line of the answer does not end with CRLF")
	errReplyForm  = errors.New("the answer does not begin with a reply code")
	errReplyMixed = errors.New("the lines of the answer differ in their code")
)

// reply is one answer of the server (RFC 5321 §4.2). Its text is valid until the next one is read.
type reply struct {
	code int
	text []byte
}

// String returns the text without its line ends, escaped and cut.
func (r reply) String() string { return fault.Clean(string(r.text)) }

// ok says that the server did what it was asked (2yz).
func (r reply) ok() bool { return r.code/100 == 2 }

// replyReader reads answers of at most maxReplyLines lines of at most the size of r's buffer.
type replyReader struct {
	r    *bufio.Reader
	text []byte
}

// read returns the next answer and calls each, if not nil, with the text of each of its lines.
func (s *replyReader) read(each func(text []byte)) (reply, error) {
	s.text = s.text[:0]
	code := 0
	for n := 0; n < maxReplyLines; n++ {
		line, err := s.line()
		if err != nil {
			if errors.Is(err, io.EOF) && n > 0 {
				err = io.ErrUnexpectedEOF
			}
			return reply{}, err
		}
		c, more, text, err := parseReplyLine(line)
		switch {
		case err != nil:
			return reply{}, err
		case n > 0 && c != code:
			return reply{}, errReplyMixed
		}
		code = c
		if each != nil {
			each(text)
		}
		s.keep(text)
		if !more {
			return reply{code, s.text}, nil
		}
	}
	return reply{}, errReplyLines
}

// ready says that the next answer is there, in one line.
func (s *replyReader) ready() bool {
	there, _ := s.r.Peek(s.r.Buffered())
	end := bytes.IndexByte(there, '\n')
	return end >= 5 && there[3] == ' '
}

// line returns the next line without its CRLF. A bare LF is no line end: text that the server repeats
// from a message must not pass for an answer.
func (s *replyReader) line() ([]byte, error) {
	line, err := s.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errReplyLong
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case !bytes.HasSuffix(line, []byte("\r\n")):
		return nil, errReplyEnd
	}
	return line[:len(line)-2], nil
}

// keep adds the text of a line, up to what is worth quoting.
func (s *replyReader) keep(text []byte) {
	if len(s.text) > 0 && len(text) > 0 {
		s.text = append(s.text, ' ')
	}
	s.text = append(s.text, text[:min(len(text), max(0, maxReplyText-len(s.text)))]...)
}

// parseReplyLine splits a line into code, text, and whether more lines follow.
func parseReplyLine(line []byte) (code int, more bool, text []byte, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, nil, errReplyForm
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, errReplyForm
	}
	return code, line[3] == '-', line[4:], nil
}

func digit(b byte) bool { return '0' <= b && b <= '9' }
