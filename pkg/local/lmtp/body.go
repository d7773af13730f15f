package lmtp

import "bytes"

// canon turns octets into canonical lines, with their leading dots doubled unless it is raw. It holds back a CR until
// it has seen what follows, and nothing else.
type canon struct {
	emit  func(p []byte) error
	raw   bool
	inner bool // inside a line: not at its start
	cr    bool // a CR is held back
}

// The line end, and the dot that is put in front of a leading one.
var (
	crlf = []byte("\r\n")
	dot  = []byte(".")
)

// Write takes the next octets. Its cost is linear whatever they are.
func (c *canon) Write(p []byte) (int, error) {
	size := len(p)
	if c.cr && size > 0 {
		c.cr = false
		if p[0] == '\n' {
			p = p[1:]
		}
		if err := c.emit(crlf); err != nil {
			return 0, err
		}
	}
	lf := -1 // index of the next LF, len(p) if there is none
	for i := 0; i < len(p); {
		if lf < i {
			if lf = bytes.IndexByte(p[i:], '\n'); lf < 0 {
				lf = len(p)
			} else {
				lf += i
			}
		}
		next, err := c.line(p, i, lf)
		if err != nil {
			return 0, err
		}
		i = next
	}
	return size, nil
}

// line emits p from i up to the next line end or the end of p, where lf is the index of the next LF, and
// returns the index behind.
func (c *canon) line(p []byte, i, lf int) (int, error) {
	if !c.inner && !c.raw && p[i] == '.' {
		if err := c.emit(dot); err != nil {
			return 0, err
		}
	}
	end, next, ended := lf, lf+1, lf < len(p)
	if cr := bytes.IndexByte(p[i:lf], '\r'); cr >= 0 {
		end, ended = i+cr, true
		switch {
		case end == lf-1 && lf < len(p): // CRLF: one piece with its line
			c.inner = false
			return lf + 1, c.emit(p[i : lf+1])
		case end == len(p)-1: // the next octet decides
			c.inner, c.cr = false, true
			return len(p), c.emit(p[i:end])
		}
		next = end + 1
	}
	if err := c.emit(p[i:end]); err != nil {
		return 0, err
	}
	c.inner = !ended
	if !ended {
		return len(p), nil
	}
	return next, c.emit(crlf)
}

// end completes the last line, so that the final dot can follow.
func (c *canon) end() error {
	if !c.inner && !c.cr {
		return nil
	}
	c.inner, c.cr = false, false
	return c.emit(crlf)
}
