package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"sync"
	"unicode/utf8"
)

// HeaderReader is a session that can read the header of a message without its body.
type HeaderReader interface {
	// Headers calls each once for every item, as Fetch does; Body begins with the header, and what follows
	// it may be missing or cut short. An item whose Err is set is to be fetched instead: the server may not
	// be able to do it.
	Headers(ctx context.Context, items []Item, each func(Fetched) error) error
}

// ErrAnonymous says that the header of a message does not tell it from others.
var ErrAnonymous = errors.New("remote: the header does not tell the message from others")

// HeaderDigest returns the digest that names a message by its header, or [ErrAnonymous] for one that needs
// the whole: a header names a message if it is well-formed, ends with an empty line within 256 KiB and has a
// Received field, which is new with each transfer of a message (RFC 5321 §4.4). Other errors are of r.
//
// The digest goes over the fields in their order as "name:value" with names in lower case and every run of
// white space, folding included, as one blank (RFC 5322 §2.2.3). Fields that servers write when a message is
// read or listed are left out: Return-Path, Status, X-Status, X-Keywords, X-IMAP, X-IMAPbase, X-UID and what
// begins so, Content-Length, Lines and X-Yahoo-Newman-Property; so is a first line that begins with
// "From ". A size as listed is no part of it: it changes with these fields, and with compression.
func HeaderDigest(r io.Reader) ([]byte, error) {
	d := newDigest(r)
	defer d.free()
	if err := d.header(); err != nil {
		return nil, err
	}
	if !d.named() {
		return nil, ErrAnonymous
	}
	return d.h.Sum(nil), nil
}

// MessageDigest returns the digest that names a whole message: its HeaderDigest, so that a message has the
// same name whichever way it was read, or the digest of all of it, less the fields that are left out there.
func MessageDigest(r io.Reader) ([]byte, error) {
	d := newDigest(r)
	defer d.free()
	if err := d.header(); err != nil {
		return nil, err
	}
	if d.named() {
		return d.h.Sum(nil), nil
	}
	_, _ = io.WriteString(d.h, "\n")
	if _, err := io.Copy(d.h, d.r); err != nil {
		return nil, err
	}
	return d.h.Sum(nil), nil
}

// Identity returns the digest by which a message is known again under another unique-id or UID: that of its
// header as in [HeaderDigest], also of one without a Received field that has a Message-ID (RFC 5322 §3.6.4): it
// is weak then, for a message and what was made of it may share it, and counts only beside an equal size.
// [ErrAnonymous] says that the header is not enough.
func Identity(r io.Reader) (sum []byte, weak bool, err error) {
	d := newDigest(r)
	defer d.free()
	if err := d.header(); err != nil {
		return nil, false, err
	}
	if !d.complete || d.odd || !d.received && !d.id {
		return nil, false, ErrAnonymous
	}
	return d.h.Sum(nil), !d.received, nil
}

// maxHeader bounds what is taken for a header.
const maxHeader = 256 << 10

type digest struct {
	r                       *bufio.Reader
	h                       hash.Hash
	line, field, out        []byte // a line that the reader's buffer does not hold; the field so far, unfolded; what is to be digested
	received, odd, complete bool
	id                      bool // a Message-ID
}

// digests keeps the buffers of digests: every message that is fetched takes one for a moment.
var digests = sync.Pool{New: func() any { return &digest{r: bufio.NewReader(nil), h: sha256.New()} }}

func newDigest(r io.Reader) *digest {
	d, _ := digests.Get().(*digest)
	d.r.Reset(r)
	d.h.Reset()
	d.received, d.odd, d.complete, d.id = false, false, false, false
	return d
}

// free gives the buffers back, but for those that an odd header made large.
func (d *digest) free() {
	if cap(d.line)+cap(d.field)+cap(d.out) > 16<<10 {
		d.line, d.field, d.out = nil, nil, nil
	}
	d.field, d.out = d.field[:0], d.out[:0]
	d.r.Reset(nil)
	digests.Put(d)
}

func (d *digest) named() bool { return d.complete && d.received && !d.odd }

// header digests the fields up to the first empty line, or to maxHeader.
func (d *digest) header() error {
	for n := 0; n <= maxHeader; {
		line, err := d.readLine(maxHeader - n)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		first := n == 0
		n += len(line)
		text := withoutEnd(line)
		if len(text) == 0 && err == nil {
			d.complete = true
			break
		}
		if len(text) == 0 || text[0] != ' ' && text[0] != '\t' {
			d.flush()
		}
		if !first || !bytes.HasPrefix(text, []byte("From ")) {
			d.field = append(append(d.field, text...), ' ')
		}
		if err != nil {
			break
		}
	}
	d.flush()
	d.h.Write(d.out)
	return nil
}

// readLine returns a line with its end, or the first octets of one that has more than room; it is valid until the next
// call.
func (d *digest) readLine(room int) ([]byte, error) {
	b, err := d.r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return b, err
	}
	d.line = append(d.line[:0], b...)
	for len(d.line) <= room {
		b, err = d.r.ReadSlice('\n')
		d.line = append(d.line, b...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return d.line, err
		}
	}
	return d.line, nil
}

// withoutEnd is a line without the CR and LF that it ends with.
func withoutEnd(line []byte) []byte {
	for n := len(line); n > 0 && (line[n-1] == '\n' || line[n-1] == '\r'); n = len(line) {
		line = line[:n-1]
	}
	return line
}

// flush digests the field that has been read.
func (d *digest) flush() {
	if len(d.field) == 0 {
		return
	}
	name, value, ok := bytes.Cut(d.field, []byte(":"))
	defer func() { d.field = d.field[:0] }()
	name = lower(bytes.TrimRight(name, " \t"))
	if !ok || len(name) == 0 || slices.ContainsFunc(name, func(c byte) bool { return c <= ' ' || c > '~' }) {
		d.odd = true
	} else if volatile(name) {
		return
	}
	switch string(name) {
	case "received":
		d.received = true
	case "message-id":
		d.id = true
	}
	d.out = append(append(append(append(d.out, name...), ':'), unfold(value)...), '\n')
}

// lower is bytes.ToLower in place where name is ASCII.
func lower(name []byte) []byte {
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return bytes.ToLower(name)
		}
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c + ('a' - 'A')
		}
	}
	return name
}

// unfold makes one blank of each run of white space within value, and none at its ends; in place where value is ASCII.
func unfold(value []byte) []byte {
	n := 0
	for i, c := range value {
		switch {
		case ' ' < c && c < utf8.RuneSelf, c < '\t', '\r' < c && c < ' ':
			value[n] = c
			n++
		case c >= utf8.RuneSelf:
			return bytes.Join(bytes.Fields(append(value[:n:n], value[i:]...)), []byte(" "))
		case n > 0 && value[n-1] != ' ':
			value[n] = ' '
			n++
		}
	}
	if n > 0 && value[n-1] == ' ' {
		n--
	}
	return value[:n]
}

func volatile(name []byte) bool {
	switch string(name) {
	case "return-path", "status", "x-status", "x-keywords", "x-imap", "x-imapbase", "content-length", "lines",
		"x-yahoo-newman-property":
		return true
	}
	return bytes.HasPrefix(name, []byte("x-uid"))
}
