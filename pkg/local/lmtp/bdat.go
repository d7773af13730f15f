package lmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

const (
	// smallMessage is the largest body, in octets, that goes out in one write with its commands.
	smallMessage = 32 << 10
	// freshFor is how long after its last use a kept connection is surely not given up by the server. On an older one
	// nothing of a message is sent before the server has answered: a server that is gone must not leave a doubt.
	freshFor = time.Second
)

// small holds a message that is sent in one write, and what was read of a larger one.
type small struct {
	raw  []byte
	text []byte // as canonical lines
}

// atOnce sends commands and message in one write (BDAT, RFC 3030) and waits once for all answers, where that is possible:
// the server offers it, one recipient is left, and the message is small. done is false where nothing was said yet; what was
// read of the message is then in front of it again.
func (tx *transaction) atOnce(ctx context.Context, cn *conn, stop func() bool) (done bool, err error) {
	tx.downgrade(cn)
	fresh := !cn.kept || time.Since(cn.usedAt) < freshFor
	if !cn.ext.chunking || cn.noBDAT.Load() || !cn.ext.pipelining || !fresh || len(tx.todo) != 1 || tx.msg.Size > smallMessage {
		return false, nil
	}
	tx.sending = true // read is as good as sent: the message cannot be begun again
	whole, err := cn.small.read(tx.msg.Body)
	if err != nil {
		return true, tx.ours("body", cn, err)
	}
	if !whole {
		tx.msg.Body = io.MultiReader(bytes.NewReader(cn.small.raw), tx.msg.Body)
		return false, nil
	}
	cn.small.format(tx.msg.Trace, cn.octets())
	cmds := tx.commands(cn)
	if !cn.octets() {
		cmds = cmds[:len(cmds)-1] // but DATA
	}
	for _, c := range cmds {
		if err := c.write(cn, tx); err != nil {
			return true, cn.failure(ctx, c.op(), err)
		}
	}
	if err := cn.command("BDAT ", strconv.Itoa(len(cn.small.text)), " LAST"); err != nil {
		return true, cn.failure(ctx, "bdat", err)
	}
	if tx.commit != nil {
		if err := tx.commit(ctx); err != nil {
			return true, tx.ours("commit", cn, err)
		}
	}
	if !stop() {
		return true, fault.Wrap(fault.Canceled, cn.op("bdat"), context.Cause(ctx))
	}
	cn.dirty = true
	return true, tx.writeAtOnce(ctx, cn, cmds)
}

// writeAtOnce writes what atOnce has made ready, and reads the answers.
func (tx *transaction) writeAtOnce(ctx context.Context, cn *conn, cmds []command) error {
	if err := cn.SetWriteDeadline(time.Now().Add(cn.limits.Write)); err != nil {
		return cn.failure(ctx, "bdat", err)
	}
	out, size := net.Buffers{cn.out, cn.small.text}, len(cn.out)+len(cn.small.text)
	n, err := out.WriteTo(cn.Conn)
	cn.out = cn.out[:0]
	if err != nil && n < int64(size) {
		return tx.unsent(ctx, cn, err)
	}
	for _, c := range cmds {
		if err == nil {
			var r reply
			if r, err = cn.answer(cn.limits.Command, nil); err == nil {
				if err := tx.note(cn, c, r); err != nil {
					return err // the session ends before the message: it is not taken
				}
			}
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		return &local.UncertainError{Err: fault.New(fault.DestinationTemporary, cn.op("bdat"), err)}
	}
	if len(tx.taken) > 0 {
		return tx.finishBDAT(cn)
	}
	// The chunk is refused with the recipient. How a server reads on then differs too much to rely on.
	return nil
}

// finishBDAT is finish where the answer may be about the command: a server that offers BDAT and has none is not asked again.
func (tx *transaction) finishBDAT(cn *conn) error {
	to := tx.taken[0]
	if err := tx.finish(cn); err != nil {
		return err
	}
	if r := tx.replies[to]; noBDAT(r.Code) {
		tx.replies[to] = local.Reply{}
		cn.broken = true
		cn.noBDAT.Store(true)
		return cn.unwilling("bdat", reply{code: r.Code, text: []byte(r.Text)})
	}
	return nil
}

// noBDAT says that a code refuses the command, not the message.
func noBDAT(code int) bool { return code != 421 && (code == 500 || code == 504 || aboutUs(code)) }

// read reads the body, and says whether it is small.
func (s *small) read(body io.Reader) (whole bool, err error) {
	if cap(s.raw) < smallMessage+1 {
		s.raw = make([]byte, smallMessage+1)
	}
	s.raw = s.raw[:smallMessage+1]
	n, err := io.ReadFull(body, s.raw)
	s.raw = s.raw[:n]
	switch err { //nolint:errorlint // as io.ReadFull returns them; a wrapped one is of the source
	case nil:
		return false, nil
	case io.EOF, io.ErrUnexpectedEOF:
		return true, nil
	}
	return true, err
}

// format joins trace and body, as canonical lines unless the octets are taken as they are.
func (s *small) format(trace []byte, octets bool) {
	s.text = s.text[:0]
	if octets {
		s.text = append(append(s.text, trace...), s.raw...)
		return
	}
	w := canon{raw: true, emit: func(p []byte) error {
		s.text = append(s.text, p...)
		return nil
	}}
	_, _ = w.Write(trace)
	_, _ = w.Write(s.raw)
	_ = w.end()
}
