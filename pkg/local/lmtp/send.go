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
	if tx.commit != nil {
		if err := tx.commit(ctx); err != nil {
			return fmt.Errorf("lmtp commit: %w", err)
		}
	}
	if !stop() {
		return fault.Wrap(fault.Canceled, "lmtp data", context.Cause(ctx))
	}
	err := w.end()
	if err == nil {
		err = cn.emit([]byte(".\r\n"))
	}
	if err != nil {
		return tx.unsent(ctx, cn, err)
	}
	whole, err := cn.write()
	switch {
	case err != nil && whole:
		return &local.UncertainError{Err: fault.New(fault.DestinationTemporary, "lmtp data", err)}
	case err != nil:
		return tx.unsent(ctx, cn, err)
	}
	return nil
}

// copy sends trace and body but for what the buffer still holds.
func (tx *transaction) copy(ctx context.Context, cn *conn, w *canon) error {
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
			return fmt.Errorf("lmtp body: %w", err)
		}
	}
	return fmt.Errorf("lmtp body: %w", io.ErrNoProgress)
}

// unsent is the error for octets the server did not take. A server that hangs up in the middle of a
// message may have said why.
func (tx *transaction) unsent(ctx context.Context, cn *conn, err error) error {
	if ctx.Err() == nil {
		r, rerr := cn.answer(min(cn.limits.Command, time.Second), nil)
		if rerr == nil && r.code >= 400 {
			return fmt.Errorf("lmtp data: %w", local.Reply{Code: r.code, Text: r.String()}.Fault())
		}
	}
	return failure(ctx, "lmtp data", err)
}

// finish reads an answer for each recipient the server had accepted (RFC 2033 §4.2). Recipients without
// one may have the message all the same.
func (tx *transaction) finish(cn *conn) error {
	end, leaving := time.Now().Add(cn.limits.Final), false
	for _, i := range tx.taken {
		r, err := cn.answer(time.Until(end), nil)
		if err == nil && r.code/100 == 3 {
			err = fmt.Errorf("the destination answered %d %s", r.code, r)
		}
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		if err != nil {
			return &local.UncertainError{Err: fault.New(fault.DestinationTemporary, "lmtp answer", err)}
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
