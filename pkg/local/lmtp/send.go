package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// send sends the message and its final dot. Whatever fails before the dot has left leaves the server
// with a message that never ends. stop takes the connection out of the hands of ctx, and says whether
// it was in time.
func (tx *transaction) send(ctx context.Context, cn *conn, stop func() bool) error {
	w := canon{emit: cn.emit}
	if err := tx.copy(ctx, cn, &w); err != nil {
		return err
	}
	if err := tx.last(ctx, cn, stop); err != nil {
		return err
	}
	err := w.end()
	if err == nil {
		err = cn.emit([]byte(".\r\n"))
	}
	if err != nil {
		return tx.unsent(ctx, cn, err)
	}
	return tx.close(ctx, cn)
}

// last asks whether the last octets may be sent, and takes the connection out of the hands of ctx for them.
func (tx *transaction) last(ctx context.Context, cn *conn, stop func() bool) error {
	if tx.commit != nil {
		if err := tx.commit(ctx); err != nil {
			return tx.ours("commit", cn, err)
		}
	}
	if !stop() {
		return fault.Wrap(fault.Canceled, cn.op("data"), context.Cause(ctx))
	}
	return nil
}

// close writes the last octets.
func (tx *transaction) close(ctx context.Context, cn *conn) error {
	whole, err := cn.write()
	switch {
	case err != nil && whole:
		return &local.UncertainError{Err: fault.New(fault.DestinationTemporary, cn.op("data"), err)}
	case err != nil:
		return tx.unsent(ctx, cn, err)
	}
	return nil
}

// copy sends trace and body but for what the buffer still holds.
func (tx *transaction) copy(ctx context.Context, cn *conn, w io.Writer) error {
	if _, err := w.Write(tx.msg.Trace); err != nil {
		return tx.unsent(ctx, cn, err)
	}
	for empty := 0; empty < 100; empty++ {
		n, err := tx.msg.Body.Read(cn.chunk)
		if n > 0 {
			empty = 0
			if _, err := w.Write(cn.chunk[:n]); err != nil {
				return tx.unsent(ctx, cn, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return tx.ours("body", cn, err)
		}
	}
	return tx.ours("body", cn, io.ErrNoProgress)
}

// ours is the error of a step that the server has no part in.
func (tx *transaction) ours(step string, cn *conn, err error) error {
	tx.blameless = true
	return fmt.Errorf("%s: %w", cn.op(step), err)
}

// unsent is the error for octets the server did not take. A server that hangs up in the middle of a
// message may have said why.
func (tx *transaction) unsent(ctx context.Context, cn *conn, err error) error {
	var done *fault.Error
	if errors.Is(err, errChunk) || errors.As(err, &done) { // the server has said why
		return err
	}
	if ctx.Err() == nil {
		r, rerr := cn.answer(min(cn.limits.Command, time.Second), nil)
		if rerr == nil && r.code >= 400 {
			return fmt.Errorf("%s: %w", cn.op("data"), local.Reply{Code: r.code, Text: r.String()}.Fault())
		}
	}
	return cn.failure(ctx, "data", err)
}

// finish reads an answer for each recipient the server had accepted (RFC 2033 §4.2), or by SMTP one for all of them.
// Recipients without one may have the message all the same.
func (tx *transaction) finish(cn *conn) error {
	end, leaving := time.Now().Add(cn.limits.Final), false
	for n, i := range tx.taken {
		if cn.proto == SMTP && n > 0 {
			tx.replies[i] = tx.replies[tx.taken[0]]
			tx.replies[i].Recipient = tx.env.To[i]
			continue
		}
		r, err := cn.answer(time.Until(end), nil)
		if err == nil && r.code/100 == 3 {
			err = fmt.Errorf("the destination answered %d %s", r.code, r)
		}
		if err != nil {
			return cn.uncertain("answer", err)
		}
		tx.answer(i, r)
		leaving = leaving || r.code == 421
	}
	cn.broken, cn.dirty = leaving, false
	return nil
}

var errHungUp = errors.New("the destination hung up without an answer")

// validPath says whether s can stand between the angle brackets of MAIL and RCPT.
func validPath(s string) bool {
	return len(s) <= maxAddress && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == '<' || r == '>'
	}) < 0
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
