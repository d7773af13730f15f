package transit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestCutBodyPublishesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	cut := errors.New("the remote hung up")
	for _, size := range []int{0, 10, 1000, 5000, 300_000, 2 << 20} {
		for _, err := range []error{cut, io.ErrUnexpectedEOF, fmt.Errorf("wrapped: %w", io.EOF)} {
			p := h.Publisher(0)
			body := io.MultiReader(bytes.NewReader(bodyOf(size, 1)), iotest.ErrReader(err))
			got := p.Put(h.ctx, message("acc", "p1"), body, func(error) { t.Error("done was called") })
			if got != err { //nolint:errorlint // unchanged is the promise
				t.Fatalf("size %d: got %v, want %v", size, got, err)
			}
			if err := p.Flush(h.ctx); err != nil {
				t.Fatal(err)
			}
			if n := h.chunks(); n != 0 {
				t.Fatalf("size %d: %d chunks are left", size, n)
			}
		}
	}
	s, err := h.Stats(h.ctx)
	if err != nil || s.Messages != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestPutRefusesWhatCannotBeASubject(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, m := range []*Message{
		nil, message("", "p1"), message("acc", ""), message("acc", "a.b"), message("a*", "p1"), message("acc", "p >"),
	} {
		err := h.Publisher(0).Put(h.ctx, m, bytes.NewReader(nil), func(error) { t.Error("done was called") })
		if fault.KindOf(err) != fault.Internal {
			t.Fatalf("%v: %v", m, err)
		}
	}
}

func TestEndlessEmptyReadsEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	for _, size := range []int{0, 5000} {
		body := io.MultiReader(bytes.NewReader(bodyOf(size, 1)), emptyReader{})
		err := h.Publisher(0).Put(h.ctx, message("acc", "p1"), body, func(error) { t.Error("done was called") })
		if !errors.Is(err, io.ErrNoProgress) {
			t.Fatal(err)
		}
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

// TestRestartInMidPublish stops and starts NATS while messages flow: each of them has one outcome, and
// all that were accepted are there.
func TestRestartInMidPublish(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 4000, PublishTimeout: 20 * time.Second})
	const count = 3000
	p := h.Publisher(64)
	var c collect
	half := make(chan struct{})
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-half
		for range 2 {
			h.nats.Stop()
			h.nats.Start()
		}
	}()
	for i := range count {
		if i == count/3 {
			close(half)
		}
		size := 500
		if i%50 == 49 {
			size = 200_000
		}
		key := fmt.Sprintf("p%d", i)
		if err := p.Put(h.ctx, message("acc", key), bytes.NewReader(bodyOf(size, 1)), c.done(key)); err != nil {
			// A body may fail with the connection it is written to; its done is never called.
			if size < 4000 {
				t.Fatal(i, err)
			}
			c.done(key)(err)
		}
	}
	<-restarted
	if err := p.Flush(h.ctx); err != nil {
		t.Fatal(err)
	}
	held, err := h.Held(h.ctx, "acc")
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range count {
		key := fmt.Sprintf("p%d", i)
		if len(c.got[key]) != 1 {
			t.Fatalf("%s has outcomes %v", key, c.got[key])
		}
		err := c.got[key][0]
		if err == nil || errors.Is(err, ErrHeld) {
			if !held[key] {
				t.Fatalf("%s was accepted and is not there", key)
			}
			continue
		}
		failed++
	}
	if failed > 5 {
		t.Fatalf("%d failed; the connection came back at once", failed)
	}
}

func TestNoAnswerIsAnError(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{PublishTimeout: 500 * time.Millisecond})
	h.nats.Stop()
	if err := h.put(message("acc", "p1"), []byte("x")); fault.KindOf(err) != fault.Internal {
		t.Fatal(err)
	}
	p := h.Publisher(1)
	var c collect
	if err := p.Put(h.ctx, message("acc", "p2"), bytes.NewReader(nil), c.done("p2")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	err := p.Put(ctx, message("acc", "p3"), bytes.NewReader(nil), func(error) { t.Error("done was called") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a full window does not honour the context: %v", err)
	}
	if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("flush does not honour the context: %v", err)
	}
	if err := p.Flush(h.ctx); err != nil {
		t.Fatal(err)
	}
	if len(c.got["p2"]) != 1 || c.got["p2"][0] == nil {
		t.Fatal(c.got)
	}
	h.nats.Start()
}

func TestClosedConnectionIsAnError(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	p := h.Publisher(0)
	var c collect
	h.nats.Stop()
	if err := p.Put(h.ctx, message("acc", "p1"), bytes.NewReader(nil), c.done("p1")); err != nil {
		t.Fatal(err)
	}
	h.nats.Conn.Close()
	if err := p.Flush(h.ctx); err != nil {
		t.Fatal(err)
	}
	if len(c.got["p1"]) != 1 || c.got["p1"][0] == nil {
		t.Fatal(c.got)
	}
	if err := p.Put(h.ctx, message("acc", "p2"), bytes.NewReader(nil), c.done("p2")); err == nil {
		t.Fatal("no error")
	}
	if len(c.got["p2"]) != 0 {
		t.Fatal("done was called after an error")
	}
	h.nats.Start()
}

func TestStreamDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	deleteAll := func() {
		for _, name := range []string{transitStream, deadStream, bodiesStream} {
			err := h.nats.JS.DeleteStream(h.ctx, name)
			if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Fatal(err)
			}
		}
	}
	for round := range 2 {
		deleteAll()
		for _, size := range []int{100, 400_000} {
			body := bodyOf(size, uint64(round))
			h.mustPut(message("acc", fmt.Sprintf("p%d", size)), body)
			p := h.next(in)
			if !bytes.Equal(h.body(p), body) {
				t.Fatal("another body")
			}
			h.ack(p)
		}
	}
	deleteAll()
	if held, err := h.Held(h.ctx, "acc"); err != nil || len(held) != 0 {
		t.Fatal(held, err)
	}
	if s, err := h.Stats(h.ctx); err != nil || s != (Stats{}) {
		t.Fatal(s, err)
	}
}

// TestLateAckHitsNothing acks a parcel of a stream that was deleted and made again.
func TestLateAckHitsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	late := h.next(in)
	if err := h.nats.JS.DeleteStream(h.ctx, transitStream); err != nil {
		t.Fatal(err)
	}
	h.mustPut(message("acc", "p2"), nil)
	p := h.next(in)
	ctx, cancel := context.WithTimeout(h.ctx, time.Second)
	defer cancel()
	_ = late.Ack(ctx)
	if held, err := h.Held(h.ctx, "acc"); err != nil || !held["p2"] {
		t.Fatal("the late ack removed another message", held, err)
	}
	h.ack(p)
}

func TestFullStreamIsBackPressure(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"bytes":    {MaxBytes: 64 << 10},
		"messages": {MaxMessages: 10},
		"bodies":   {MaxBodiesBytes: 300 << 10, Inline: 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, cfg)
			in := h.intake(0)
			size := 5000
			if name == "bodies" {
				size = 100_000
			}
			var err error
			n := 0
			for ; n < 100 && err == nil; n++ {
				p := h.Publisher(0)
				put := p.Put(h.ctx, message("acc", fmt.Sprintf("p%d", n)), bytes.NewReader(bodyOf(size, 1)), func(e error) { err = e })
				if put != nil {
					err = put
				} else if err := p.Flush(h.ctx); err != nil {
					t.Fatal(err)
				}
			}
			if !errors.Is(err, ErrFull) || fault.KindOf(err) != fault.BackPressure {
				t.Fatalf("after %d: %v", n, err)
			}
			h.ack(h.next(in))
			h.mustPut(message("acc", "again"), bodyOf(size, 1))
		})
	}
}

func TestWindowIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{PublishTimeout: 10 * time.Second})
	h.nats.Stop()
	p := h.Publisher(1000)
	var c collect
	put := func(i int) error {
		ctx, cancel := context.WithTimeout(h.ctx, 500*time.Millisecond)
		defer cancel()
		key := fmt.Sprintf("p%d", i)
		return p.Put(ctx, message("acc", key), bytes.NewReader(bodyOf(400_000, 1)), c.done(key))
	}
	n := 0
	for ; n < 50; n++ {
		if err := put(n); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if n < 2 || n > 20 {
		t.Fatalf("%d messages of 400 kB are in the window of 8 MiB", n)
	}
	h.nats.Start()
	if err := p.Flush(h.ctx); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if got := c.got[fmt.Sprintf("p%d", i)]; len(got) != 1 || got[0] != nil && !errors.Is(got[0], ErrHeld) {
			t.Fatal(i, got)
		}
	}
}

func TestObjectStoreOfNATSReadsBodies(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	h.cfg.Bodies = nil // NATS reads what is stored, sealed or not
	body := bodyOf(700_000, 1)
	m := message("acc", "p1")
	h.mustPut(m, body)
	store, err := h.nats.JS.ObjectStore(h.ctx, bodiesBucket)
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.GetBytes(h.ctx, m.GetObject())
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d octets, %v", len(got), err)
	}
	if list, err := store.List(h.ctx); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	h.ack(h.next(h.intake(0)))
	if _, err := store.List(h.ctx); !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Fatal("something is left:", err)
	}
}

func TestWholeStoreEmptied(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	h.nats.Stop()
	emptyDir(t, h.nats.StoreDir())
	h.nats.Start()
	testenv.Eventually(t, 30*time.Second, "the connection is back", h.nats.Conn.IsConnected)
	body := bodyOf(300_000, 1)
	h.mustPut(message("acc", "p2"), body)
	for {
		p := h.next(in)
		if p.GetKey() == "p2" {
			if !bytes.Equal(h.body(p), body) {
				t.Fatal("another body")
			}
			h.ack(p)
			return
		}
	}
}
