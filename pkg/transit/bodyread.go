package transit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/vault"
)

const (
	// readBatch chunks are asked for at once: a quarter of a MiB.
	readBatch = 4
	// A body that is not there is looked for again after readPause, then after twice of it, up to maxReadPause.
	readPause    = 20 * time.Millisecond
	maxReadPause = 2 * time.Second
)

// OpenBody returns the body of a message, inline or not, as [Parcel.Open] does.
func (t *Transit) OpenBody(ctx context.Context, m *Message) (io.ReadCloser, error) {
	if m.GetObject() == "" {
		inline, err := t.openInline(m)
		if err != nil {
			return nil, err
		}
		return verified(m, inline), nil
	}
	sealed, err := t.isSealed(m)
	if err != nil {
		return nil, err
	}
	d, err := t.newDirectReader(bodiesStream)
	if err != nil {
		return nil, failure("transit open body", err)
	}
	r := &bodyReader{ctx: ctx, direct: d, subject: chunkSubject(m.GetObject()), left: m.GetSize(), next: 1}
	v := &verifier{r: r, c: r, size: m.GetSize(), digest: m.GetDigest(), h: sha256.New()}
	if sealed {
		r.left = vault.StreamSize(m.GetSize())
	}
	if err = r.fill(); err == nil && sealed {
		v.r, err = t.cfg.Bodies.OpenStream(r, m.GetBodyKey(), sealContext(m))
	}
	if err != nil {
		_ = r.Close()
		return nil, unsealed(err)
	}
	return v, nil
}

// isSealed says whether the body of a message is; the key file must be there then.
func (t *Transit) isSealed(m *Message) (bool, error) {
	sealed := len(m.GetBodyKey()) > 0
	if sealed && t.cfg.Bodies == nil {
		return false, fault.Errorf(fault.Internal, "transit open body", "the body is sealed, and there is no key file")
	}
	return sealed, nil
}

// openInline returns an inline body as it was before it was sealed.
func (t *Transit) openInline(m *Message) ([]byte, error) {
	sealed, err := t.isSealed(m)
	if err != nil || !sealed {
		return m.GetInline(), err
	}
	inline, err := t.cfg.Bodies.Open(m.GetInline(), m.GetBodyKey(), sealContext(m))
	return inline, unsealed(err)
}

// verified reads an inline body and looks whether it is the one that was sent; one that was sealed has been found to be.
func verified(m *Message, inline []byte) *verifier {
	v := &verifier{r: bytes.NewReader(inline), c: io.NopCloser(nil), size: m.GetSize(), digest: m.GetDigest()}
	if len(m.GetBodyKey()) == 0 {
		v.h = sha256.New()
	}
	return v
}

// unsealed tells a body that was altered, which can be fetched again, from one whose key is missing.
func unsealed(err error) error {
	if errors.Is(err, vault.ErrAltered) {
		return fault.Errorf(fault.Internal, "transit body", "%w: %w", ErrBodyDamaged, err)
	}
	return err
}

// verifier reads a body and turns its end into ErrBodyDamaged if it is not what was sent.
type verifier struct {
	r      io.Reader
	c      io.Closer
	size   int64
	digest []byte
	read   int64
	h      hash.Hash // nil: the seal has spoken for the digest
}

func (v *verifier) Read(b []byte) (int, error) {
	n, err := v.r.Read(b)
	if v.h != nil {
		v.h.Write(b[:n])
	}
	v.read += int64(n)
	if err != io.EOF { //nolint:errorlint // a reader returns it bare
		return n, unsealed(err)
	}
	if v.read != v.size {
		return n, fault.Errorf(fault.Internal, "transit body", "%w: %d octets of %d", ErrBodyDamaged, v.read, v.size)
	}
	if v.h != nil && !bytes.Equal(v.h.Sum(nil), v.digest) {
		return n, fault.Errorf(fault.Internal, "transit body", "%w: another digest", ErrBodyDamaged)
	}
	return n, io.EOF
}

func (v *verifier) Close() error { return v.c.Close() }

// bodyReader reads the chunks of a body in batches.
type bodyReader struct {
	ctx     context.Context //nolint:containedctx // a reader is one call that goes on
	direct  *directReader
	subject string
	left    int64  // octets still to come
	next    uint64 // sequence to go on from
	queue   [][]byte
	err     error
}

// Close gives up what was not read.
func (r *bodyReader) Close() error {
	r.queue, r.err = nil, fault.New(fault.Canceled, "transit body", errors.New("read after close"))
	r.direct.close()
	return nil
}

func (r *bodyReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for len(r.queue) == 0 {
		if r.err == nil {
			r.err = r.fill()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(b, r.queue[0])
	if r.queue[0] = r.queue[0][n:]; len(r.queue[0]) == 0 {
		r.queue[0] = nil
		r.queue = r.queue[1:]
	}
	return n, nil
}

// fill gets at least one chunk more, or io.EOF behind the last one. It looks for what is not there for
// as long as the configuration says.
func (r *bodyReader) fill() error {
	if r.left <= 0 {
		return io.EOF
	}
	const op = "transit read body"
	ctx, cancel := context.WithTimeout(r.ctx, r.direct.t.cfg.BodyWait)
	defer cancel()
	empty := false // what the last answer said; the end of the wait may cut one off
	for pause := readPause; ; pause = min(2*pause, maxReadPause) {
		err := r.get(ctx)
		if err != nil && ctx.Err() != nil && empty {
			err = nil
		}
		if len(r.queue) > 0 {
			return nil // what broke the batch off, if anything, shows at the next one
		}
		if errors.Is(err, errNoStream) {
			if mended := r.direct.t.bodies.mend(ctx); mended == nil {
				err = nil // and empty
			}
		}
		empty = err == nil
		select {
		case <-ctx.Done():
			switch {
			case r.ctx.Err() != nil:
				return failure(op, r.ctx.Err())
			case err == nil:
				return bodyGone(op)
			}
			return fault.New(fault.Internal, op, err)
		case <-time.After(pause):
		}
	}
}

// get asks for one batch; nothing found is no error.
func (r *bodyReader) get(ctx context.Context) error {
	req := directRequest{Seq: r.next, Next: r.subject, Batch: readBatch}
	return r.direct.get(ctx, req, func(s stored) error {
		if s.subject != r.subject || s.seq < r.next {
			return errors.New("direct get answers another message")
		}
		r.next = s.seq + 1
		r.left -= int64(len(s.data))
		r.queue = append(r.queue, s.data)
		return nil
	})
}
