package lmtp

import (
	"bytes"
	"io"

	"github.com/mailferry/mailferry/pkg/local"
)

// small holds a small message while it is handed over, or what was read of one that is larger than it said.
type small struct {
	raw   []byte
	whole bool
}

// read takes what there is of a message that says it is small. What was read of another is in front of it again.
func (s *small) read(msg *local.Message) error {
	s.raw, s.whole = s.raw[:0], false
	if msg.Size > smallMessage {
		return nil
	}
	for empty := 0; empty < 100; empty++ {
		if len(s.raw) == cap(s.raw) {
			s.raw = append(s.raw, make([]byte, max(4<<10, len(s.raw)))...)[:len(s.raw)]
		}
		n, err := msg.Body.Read(s.raw[len(s.raw):min(cap(s.raw), smallMessage+1)])
		s.raw = s.raw[:len(s.raw)+n]
		switch {
		case err == io.EOF:
			s.whole = len(s.raw) <= smallMessage
			msg.Body = bytes.NewReader(s.raw)
			return nil
		case err != nil:
			return err
		case len(s.raw) > smallMessage:
			msg.Body = io.MultiReader(bytes.NewReader(s.raw), msg.Body)
			return nil
		case n > 0:
			empty = 0
		}
	}
	return io.ErrNoProgress
}
