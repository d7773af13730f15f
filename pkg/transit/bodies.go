package transit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	chunkSize   = 64 << 10
	chunkWindow = 8
)

// bodyName makes the name of a body. Its first parts let the bodies of an account and of a key be
// found; the time says how old it is at most.
func bodyName(m *Message, now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%s.%s.%x-%s", m.GetAccountUid(), m.GetKey(), now.Unix(), hex.EncodeToString(b[:]))
}

// bodyRef is what the name of a body says.
type bodyRef struct {
	name, uid, key string
	begun          time.Time
}

func parseBodyName(name string) (bodyRef, bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || !token(parts[0]) || !token(parts[1]) || !token(parts[2]) {
		return bodyRef{}, false
	}
	stamp, _, ok := strings.Cut(parts[2], "-")
	sec, err := strconv.ParseInt(stamp, 16, 64)
	if !ok || err != nil {
		return bodyRef{}, false
	}
	return bodyRef{name, parts[0], parts[1], time.Unix(sec, 0)}, true
}

func validBodyName(name string) bool {
	_, ok := parseBodyName(name)
	return ok
}

func chunkSubject(name string) string { return chunkPrefix + name }

func metaSubject(name string) string {
	return metaPrefix + base64.URLEncoding.EncodeToString([]byte(name))
}

// upload is one body on its way into the object store.
type upload struct {
	t    *Transit
	w    *window
	name string

	mu   sync.Mutex
	seqs []uint64 // of the chunks, by their order
	err  error
}

// putBody stores body to its end, sealed, and fills size and content of m. If that fails, what was stored is removed
// and an error of body is returned as it is.
func (t *Transit) putBody(ctx context.Context, m *Message, body io.Reader) error {
	u := &upload{t: t, w: t.newWindow(t.bodies, chunkWindow, chunkWindow*chunkSize), name: bodyName(m, time.Now())}
	u.w.ordered = true
	plain := &counter{r: body}
	stored, key := io.Reader(plain), []byte(nil)
	if t.cfg.Bodies != nil {
		var err error
		if stored, err = t.cfg.Bodies.SealStream(plain, sealContext(m)); err != nil {
			return err
		}
		key = t.cfg.Bodies.Key()
	}
	h := sha256.New()
	size, err := u.store(ctx, h, stored)
	if err == nil {
		err = u.finish(ctx, size, h)
	}
	if err != nil {
		u.undo(ctx)
		return err
	}
	m.Size, m.BodyKey = plain.n, key
	m.Content = &mailferryv1.FetchedMessage_Object{Object: u.name}
	return nil
}

// sealContext is what a sealed body belongs to: no other message opens it.
func sealContext(m *Message) string { return m.GetAccountUid() + "/" + m.GetKey() }

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// store publishes the chunks.
func (u *upload) store(ctx context.Context, h hash.Hash, stored io.Reader) (size int64, err error) {
	for end := false; !end; {
		var chunk []byte
		chunk, end, err = fillChunk(ctx, u.t.pool.get(chunkSize), stored, h)
		if err != nil || len(chunk) == 0 {
			u.t.pool.put(chunk)
			return size, err
		}
		size += int64(len(chunk))
		if err = u.send(ctx, chunk); err == nil && size == int64(len(chunk)) {
			err = u.settled(ctx) // the first chunk shows that there is a bucket
		}
		if err != nil {
			return size, failure("transit put body", err)
		}
	}
	return size, nil
}

// fillChunk reads until the chunk is full or r has ended.
func fillChunk(ctx context.Context, chunk []byte, r io.Reader, h hash.Hash) (_ []byte, end bool, err error) {
	for empty := 0; len(chunk) < chunkSize; {
		if err := ctx.Err(); err != nil {
			return chunk, false, failure("transit put", err)
		}
		n, err := r.Read(chunk[len(chunk):chunkSize])
		h.Write(chunk[len(chunk) : len(chunk)+n])
		chunk = chunk[:len(chunk)+n]
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is an error of the source
			return chunk, true, nil
		case err != nil:
			return chunk, false, err
		case n > 0:
			empty = 0
		default:
			if empty++; empty > maxEmptyReads {
				return chunk, false, io.ErrNoProgress
			}
		}
	}
	return chunk, false, nil
}

// send publishes one chunk. Its id makes the server drop what is sent twice.
func (u *upload) send(ctx context.Context, chunk []byte) error {
	u.mu.Lock()
	i, err := len(u.seqs), u.err
	u.seqs = append(u.seqs, 0)
	u.mu.Unlock()
	if err != nil {
		return err
	}
	hdr := nats.Header{jetstream.MsgIDHeader: {u.name + "." + strconv.Itoa(i)}}
	return u.w.send(ctx, chunkSubject(u.name), hdr, chunk, len(chunk), func(r result) {
		u.t.pool.put(chunk)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.seqs[i] = r.seq
		if u.err == nil {
			u.err = r.err
		}
	})
}

// finish waits for the chunks, writes what the object store wants to know of the object, and looks
// whether all is there and in order: a bucket that was lost on the way shows here.
func (u *upload) finish(ctx context.Context, size int64, h hash.Hash) error {
	const op = "transit put body"
	if err := u.settled(ctx); err != nil {
		return failure(op, err)
	}
	for i := 1; i < len(u.seqs); i++ {
		if u.seqs[i] <= u.seqs[i-1] {
			return fault.Errorf(fault.Internal, op, "the chunks were stored out of order")
		}
	}
	meta, err := u.meta(size, h)
	if err != nil {
		return failure(op, err)
	}
	hdr := nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}
	err = u.w.send(ctx, metaSubject(u.name), hdr, meta, len(meta), func(r result) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.err = r.err
	})
	if err == nil {
		err = u.settled(ctx)
	}
	if err != nil {
		return failure(op, err)
	}
	stored, err := u.t.subjects(ctx, bodiesStream, chunkSubject(u.name))
	if err != nil {
		return failure(op, err)
	}
	if n := stored[chunkSubject(u.name)]; n != uint64(len(u.seqs)) {
		return fault.Errorf(fault.Internal, op, "%d of %d chunks are there", n, len(u.seqs))
	}
	return nil
}

func (u *upload) settled(ctx context.Context) error {
	if err := u.w.flush(ctx); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *upload) meta(size int64, h hash.Hash) ([]byte, error) {
	return json.Marshal(jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: u.name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}},
		Bucket:     bodiesBucket,
		NUID:       u.name,
		Size:       uint64(size),
		Chunks:     uint32(len(u.seqs)),
		Digest:     jetstream.GetObjectDigestValue(h),
	})
}

// undo removes what was stored: after the answers to what is on its way, which would else be stored later.
func (u *upload) undo(ctx context.Context) {
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	_ = u.w.flush(wait)
	u.w.abort()
	u.t.dropBody(ctx, u.name)
}

// dropBody removes a body as far as it can in bounded time, whether ctx is over or not; the sweep takes
// what is left.
func (t *Transit) dropBody(ctx context.Context, name string) {
	if name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	_ = t.removeBody(ctx, name)
}

// removeBody removes a body: its description first, so that what is left of an attempt that breaks off
// is found by its chunks.
func (t *Transit) removeBody(ctx context.Context, name string) error {
	if _, err := t.purge(ctx, bodiesStream, metaSubject(name)); err != nil {
		return err
	}
	_, err := t.purge(ctx, bodiesStream, chunkSubject(name))
	return err
}

// findBody returns nil if there are chunks of the body of m.
func (t *Transit) findBody(ctx context.Context, m *Message) error {
	if !validBodyName(m.GetObject()) {
		return bodyGone("transit body")
	}
	stored, err := t.subjects(ctx, bodiesStream, chunkSubject(m.GetObject()))
	switch {
	case isCode(err, jetstream.JSErrCodeStreamNotFound), err == nil && len(stored) == 0:
		return bodyGone("transit body")
	}
	return err
}

func bodyGone(op string) error { return fault.New(fault.Internal, op, ErrBodyGone) }
