package lmtp

import (
	"context"
	"errors"
	"strconv"
)

// chunkWindow is how many chunks are sent before the answers to them are read (RFC 3030 §4.2).
const chunkWindow = 16

// errChunk ends the sending of a message whose recipients have their answer already.
var errChunk = errors.New("a chunk is refused")

// sendChunks sends the message as it is, octet for octet, and its end (BDAT with BINARYMIME, RFC 3030 §3). A chunk that
// is refused is the end of it: the answer is that of all recipients.
func (tx *transaction) sendChunks(ctx context.Context, cn *conn, stop func() bool) error {
	w := &chunks{ctx: ctx, cn: cn, tx: tx}
	err := tx.copy(ctx, cn, w)
	if err == nil {
		err = w.settle()
	}
	if errors.Is(err, errChunk) {
		return nil // the connection is not kept
	}
	if err != nil {
		return err
	}
	if err := tx.last(ctx, cn, stop); err != nil {
		return err
	}
	if err := cn.command("BDAT 0 LAST"); err != nil {
		return tx.unsent(ctx, cn, err)
	}
	return tx.close(ctx, cn)
}

// chunks makes a chunk of each write.
type chunks struct {
	ctx  context.Context //nolint:containedctx // of the one message, for the errors of Write
	cn   *conn
	tx   *transaction
	owed int // answers
}

func (w *chunks) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.cn.command("BDAT ", strconv.Itoa(len(p))); err != nil {
		return 0, err
	}
	if err := w.cn.emit(p); err != nil {
		return 0, err
	}
	w.owed++
	if w.owed < chunkWindow && w.cn.ext.pipelining {
		return len(p), nil
	}
	return len(p), w.settle()
}

// settle reads the answers that are owed.
func (w *chunks) settle() error {
	if w.owed == 0 {
		return nil
	}
	if err := w.cn.flush(); err != nil {
		return w.tx.unsent(w.ctx, w.cn, err)
	}
	for ; w.owed > 0; w.owed-- {
		r, err := w.cn.answer(w.cn.limits.Command, nil)
		switch {
		case err != nil:
			return w.cn.failure(w.ctx, "bdat", err)
		case noBDAT(r.code):
			w.cn.server.noBDAT.Store(true)
			return w.cn.unwilling("bdat", r)
		case aboutUs(r.code) || r.code/100 == 3:
			return w.cn.unwilling("bdat", r)
		case !r.ok():
			w.tx.refuse(w.tx.taken, r)
			return errChunk
		}
	}
	return nil
}
