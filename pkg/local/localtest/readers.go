package localtest

import "io"

// lines is an endless message of lines that differ, some of them with a leading dot.
type lines struct{ n int }

func (l *lines) Read(p []byte) (int, error) {
	const line = ".abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"
	for i := range p {
		p[i] = line[l.n%len(line)]
		l.n++
		if l.n%len(line) == 0 {
			l.n += l.n / len(line) % 2 // every second line is without its dot
		}
	}
	return len(p), nil
}

// counter counts what is read, and calls at after every so many octets.
type counter struct {
	r           io.Reader
	n           int64
	every, next int64
	at          func()
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.at != nil && c.n >= c.next {
		c.next += c.every
		c.at()
	}
	return n, err
}
