package imap

import (
	"bytes"
	"errors"
	"io"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/fault"
)

// spoolOctets is how large a body may be that is kept in memory until its UID comes.
const spoolOctets = 512 << 10

// message is what the server sent of one message, up to its body.
type message struct {
	uid   goimap.UID
	date  time.Time
	flags []string
	body  *body         // nil: it came without one
	done  chan struct{} // closed when the body has been read
}

// note keeps an item other than the body.
func (m *message) note(d imapclient.FetchItemData) {
	switch d := d.(type) {
	case imapclient.FetchItemDataUID:
		m.uid = d.UID
	case imapclient.FetchItemDataInternalDate:
		m.date = d.Time
	case imapclient.FetchItemDataFlags:
		for _, f := range d.Flags {
			m.flags = append(m.flags, string(f))
		}
	}
}

// arrive hands m to the loop and waits until it is done with.
func (f *fetch) arrive(m message) {
	m.done = make(chan struct{})
	f.arrived <- m
	<-m.done
}

// direct gives a message to who fetches, if anybody does, and waits until it is done with. The guard calls it where the UID
// came before the body, as it does from nearly all servers: imapclient sees nothing of such an answer.
func (s *session) direct(m message, literal io.Reader, size int64) {
	f := s.fetch.Load()
	if f == nil || !f.enter() {
		return
	}
	defer f.leave()
	m.body = &body{wire: s.wire, lit: literal, left: size}
	f.arrive(m)
}

// unasked reads an answer that imapclient could not match: the UID came after the body, or in another
// answer before it, or nobody asked. imapclient calls it in a goroutine of its own.
func (s *session) unasked(data *imapclient.FetchMessageData) {
	f := s.fetch.Load()
	if f == nil || !f.enter() {
		for data.Next() != nil {
			continue
		}
		return
	}
	defer f.leave()
	_ = f.read(data) // it is the wire's
}

// read reads an answer. Before the UID is known a body can go nowhere: a small one is kept, one at a time;
// a larger one is passed over and its message asked for again, alone, where there is but one that it can
// be.
//
// After an error nothing of the command may be touched any more: imapclient would read the body again, at
// the same time as its own reader does.
func (f *fetch) read(data *imapclient.FetchMessageData) error {
	var m message
	kept := false // until the end of the answer
	for d := data.Next(); d != nil; d = data.Next() {
		b, ok := d.(imapclient.FetchItemDataBodySection)
		if !ok {
			m.note(d)
			continue
		}
		only := f.getOnly()
		switch {
		case b.Literal == nil:
			kept = true
		case m.uid != 0:
			m.body = f.s.body(b.Literal, nil)
			f.arrive(m)
		case only != 0:
			m.uid = only
			m.body = f.s.body(b.Literal, func() error { return confirm(data, only) })
			f.arrive(m)
		case b.Literal.Size() <= spoolOctets:
			f.spool.Lock()
			defer f.spool.Unlock()
			m.body, kept = f.s.body(b.Literal, nil).keep(), true
		default:
			f.setLate()
		}
		if m.body != nil && m.body.lost {
			return m.body.err
		}
	}
	if kept && m.uid != 0 {
		f.arrive(m)
	}
	return nil
}

// confirm reads the rest of an answer and fails unless it names the message.
func confirm(data *imapclient.FetchMessageData, uid goimap.UID) error {
	for d := data.Next(); d != nil; d = data.Next() {
		if d, ok := d.(imapclient.FetchItemDataUID); ok && d.UID == uid {
			return nil
		}
	}
	return fault.Errorf(fault.Protocol, "imap fetch", "a body came that does not say whose it is")
}

// body returns the reader of a literal. end, if not nil, has the last word before io.EOF.
func (s *session) body(lit goimap.LiteralReader, end func() error) *body {
	return &body{wire: s.wire, lit: lit, left: lit.Size(), end: end}
}

// body reads a literal. imapclient ends a cut one with io.EOF; body ends so only after its last octet.
type body struct {
	wire *wire
	lit  io.Reader
	left int64
	end  func() error
	err  error
	lost bool // the connection is
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.lit.Read(p)
	b.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF) || b.left > 0:
		b.lost = true
		if cause := b.wire.failure(); cause != nil {
			err = cause
		} else if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.err = fault.Wrap(fault.Network, "imap fetch", err)
		return n, b.err
	case b.end != nil:
		b.err = b.end()
	}
	if b.err == nil {
		b.err = io.EOF
	}
	return n, b.err
}

// keep reads all of b and returns the same from memory.
func (b *body) keep() *body {
	all, err := io.ReadAll(b)
	if err != nil {
		return b
	}
	return &body{wire: b.wire, lit: bytes.NewReader(all), left: int64(len(all))}
}

// expire makes the reader useless: what it reads from belongs to the next message.
func (b *body) expire() {
	if b.err == nil {
		b.err = fault.Errorf(fault.Internal, "imap fetch", "the body is read after its time")
	}
}

// enter says whether a stray may be read, and counts it.
func (f *fetch) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	f.strays++
	return true
}

func (f *fetch) leave() {
	f.mu.Lock()
	f.strays--
	waits := f.waits
	f.mu.Unlock()
	if !waits {
		return
	}
	select {
	case f.left <- struct{}{}:
	default:
	}
}

// setOnly names the one message that is asked for, or none.
func (f *fetch) setOnly(uid goimap.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.only = uid
}

func (f *fetch) getOnly() goimap.UID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.only
}

func (f *fetch) setLate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = true
}
