package transit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	defaultWindow = 256
	windowBytes   = 8 << 20
	// cleanTimeout bounds the removal of a body that was stored in vain; the sweep takes what is left.
	cleanTimeout = 3 * time.Second
	// firstBuffer is what a message without advice about its size gets.
	firstBuffer = 4 << 10
	// metaRoom is what a message needs beside its body, mostly.
	metaRoom = 1 << 10
	// maxEmptyReads bounds the reads of a body that bring nothing.
	maxEmptyReads = 100
)

// Publisher puts messages into transit without waiting for each answer; small ones that come while an answer is awaited travel
// together.
type Publisher struct {
	t *Transit
	w *window

	mu   sync.Mutex
	open *bundle // takes more messages
	away int     // bundles whose answer is awaited
}

// Publisher returns a publisher that has at most window messages, and 8 MiB of them, on their way;
// 256 where window is not positive. It needs no closing: what it owns lives while something is in flight.
func (t *Transit) Publisher(window int) *Publisher {
	if window <= 0 {
		window = defaultWindow
	}
	return &Publisher{t: t, w: t.newWindow(t.transit, window, windowBytes)}
}

// Put reads body to its end and publishes m with it. It fills size and digest of m, the latter
// where no seal says as much, and the name of the object where the body went to the object store; an inline body is not left in m. It waits while
// the window is full.
//
// If Put returns nil, done is called exactly once, from the goroutine of the publisher, with nil,
// [ErrHeld], [ErrFull] or what else went wrong; it must not call Put or Flush. If Put returns an error
// nothing is published, done is never called, and what was stored of the body is removed; an error of
// body is returned as it is.
func (p *Publisher) Put(ctx context.Context, m *Message, body io.Reader, done func(err error)) error {
	prefix, err := mailPrefixOf(m)
	if err != nil {
		return err
	}
	m.Content, m.Size, m.Digest, m.BodyKey = nil, 0, nil, nil
	buf, whole, err := p.readInline(ctx, m, body)
	if err != nil {
		p.t.pool.put(buf)
		return err
	}
	if !whole {
		h := sha256.New()
		h.Write(buf[headRoom:])
		err = p.t.putBody(ctx, m, io.MultiReader(bytes.NewReader(buf[headRoom:]), io.TeeReader(body, h)))
		p.t.pool.put(buf)
		if err != nil {
			return err
		}
		buf, m.Digest = p.t.pool.get(firstBuffer)[:headRoom], h.Sum(nil)
	} else {
		m.Size = int64(len(buf) - headRoom)
	}
	if err := p.publish(ctx, prefix, m, buf, done); err != nil {
		p.t.dropBody(ctx, m.GetObject())
		return failure("transit publish", err)
	}
	return nil
}

// publish sends m; buf is the head room with the inline body, if there is one.
func (p *Publisher) publish(ctx context.Context, prefix string, m *Message, buf []byte, done func(error)) error {
	t, object := p.t, m.GetObject()
	at := headRoom
	if t.cfg.Bodies != nil && object == "" {
		buf, at = t.sealInline(m, buf), tagRoom
	} else if object == "" {
		sum := sha256.Sum256(buf[headRoom:])
		m.Digest = sum[:]
	}
	payload, start, err := t.payload(m, buf, at)
	if err != nil {
		return err
	}
	if size := len(payload) - start; object == "" && size <= p.bundleBytes()/2 {
		if err := p.w.reserve(ctx, size); err != nil {
			t.pool.put(payload)
			return err
		}
		p.add(prefix, bundled{m.GetKey(), payload, start, done})
		return nil
	}
	return p.w.send(ctx, prefix+m.GetKey(), nil, payload[start:], cap(payload), func(r result) {
		t.pool.put(payload)
		if r.err != nil && !r.again && object != "" {
			t.dropBody(context.Background(), object)
		}
		done(failure("transit publish", r.err))
	})
}

// sealInline seals the body behind the head room in its place.
func (t *Transit) sealInline(m *Message, buf []byte) []byte {
	buf = t.pool.grow(buf, len(buf)+vault.TagRoom)
	m.BodyKey = t.cfg.Bodies.Key()
	return buf[:tagRoom+len(t.cfg.Bodies.Seal(buf[tagRoom:], sealContext(m)))]
}

// payload makes the payload of a message in buf, whose inline body, if it has one, begins at at.
func (t *Transit) payload(m *Message, buf []byte, at int) (payload []byte, start int, err error) {
	if m.GetObject() == "" {
		return inlinePayload(t.pool, buf, at, m)
	}
	payload, err = appendMessage(t.pool, buf, m)
	return payload, headRoom, err
}

// readInline reads a body behind the head room of a pooled buffer, at most one byte more than the
// inline limit; whole says whether that was its end.
func (p *Publisher) readInline(ctx context.Context, m *Message, body io.Reader) (buf []byte, whole bool, err error) {
	want := firstBuffer
	if advice := m.GetListedSize(); advice > 0 && advice <= int64(p.t.cfg.Inline) {
		want = headRoom + int(advice) + 1 + metaRoom
	}
	buf = p.t.pool.get(want)[:headRoom]
	most := headRoom + p.t.cfg.Inline + 1
	for empty := 0; len(buf) < most; {
		if err := ctx.Err(); err != nil {
			return buf, false, failure("transit put", err)
		}
		if len(buf) == cap(buf) {
			buf = p.t.pool.grow(buf, min(2*cap(buf), most))
		}
		n, err := body.Read(buf[len(buf):min(cap(buf), most)])
		buf = buf[:len(buf)+n]
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is an error of the source
			return buf, len(buf) < most, nil
		case err != nil:
			return buf, false, err
		case n > 0:
			empty = 0
		default:
			if empty++; empty > maxEmptyReads {
				return buf, false, io.ErrNoProgress
			}
		}
	}
	return buf, false, nil
}

// Republish publishes a message again as it was, inline body included, and waits for the answer:
// nil, [ErrHeld], [ErrFull], or [ErrBodyGone] where its body is in the object store no more, or it never
// had one. Nobody else may use m while it runs.
func (t *Transit) Republish(ctx context.Context, m *Message) error {
	const op = "transit republish"
	prefix, err := mailPrefixOf(m)
	if err != nil {
		return err
	}
	if m.Content == nil {
		return bodyGone(op)
	}
	buf := make([]byte, headRoom, headRoom+len(m.GetInline())+metaRoom)
	if m.GetObject() != "" {
		if err := t.findBody(ctx, m); err != nil {
			return failure(op, err)
		}
	} else {
		buf = append(buf, m.GetInline()...)
		defer func(c *mailferryv1.FetchedMessage_Inline) { m.Content = c }(&mailferryv1.FetchedMessage_Inline{Inline: m.GetInline()})
		m.Content = nil
	}
	payload, start, err := t.payload(m, buf, headRoom)
	if err != nil {
		return failure(op, err)
	}
	return failure(op, t.publishOne(ctx, t.transit, prefix+m.GetKey(), payload[start:]))
}

// publishOne publishes one message and waits for its answer.
func (t *Transit) publishOne(ctx context.Context, m *mender, subject string, payload []byte) error {
	w := t.newWindow(m, 1, len(payload))
	answer := make(chan error, 1)
	if err := w.send(ctx, subject, nil, payload, len(payload), func(r result) { answer <- r.err }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		w.abort()
		return ctx.Err()
	}
}
