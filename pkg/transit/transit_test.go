package transit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/vault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// nats-server leaves these behind for good.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*ipQueue[...]).push"),
	)
}

// house is a Transit on a server of the test's own.
type house struct {
	*Transit
	t    testing.TB
	nats *testenv.NATS
	ctx  context.Context
}

func newHouse(t testing.TB, cfg Config) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	n := testenv.NewNATS(t)
	cfg.Bodies = newBodies(t, houseKeys())
	tr, err := Open(ctx, n.Conn, n.JS, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return &house{tr, t, n, ctx}
}

// houseKeys is the key file of the houses of this process, and of its helpers.
var houseKeys = sync.OnceValue(func() []byte {
	if keys := os.Getenv("TRANSIT_KEYS"); keys != "" {
		return []byte(keys)
	}
	keys, _ := vault.Generate()
	return keys
})

// newBodies returns a sealer with that key file.
func newBodies(t testing.TB, keys []byte) *vault.Bodies {
	t.Helper()
	v, err := vault.Parse(keys)
	if err != nil {
		t.Fatal(err)
	}
	b, err := v.Bodies()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func message(uid, key string) *Message {
	return &Message{
		AccountUid: uid, Domain: "example.com", Name: "gmail", Key: key, Epoch: "e1",
		Slot: "pop3:host:110:alice", RunId: "run", Revision: 7,
	}
}

// bodyOf returns n octets that differ from seed to seed.
func bodyOf(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// put publishes one message and returns what became of it.
func (h *house) put(m *Message, body []byte) error {
	h.t.Helper()
	p := h.Publisher(0)
	var outcome error
	calls := 0
	if err := p.Put(h.ctx, m, bytes.NewReader(body), func(err error) { outcome = err; calls++ }); err != nil {
		h.t.Fatal("put:", err)
	}
	if err := p.Flush(h.ctx); err != nil {
		h.t.Fatal("flush:", err)
	}
	if calls != 1 {
		h.t.Fatalf("done was called %d times", calls)
	}
	return outcome
}

func (h *house) mustPut(m *Message, body []byte) {
	h.t.Helper()
	if err := h.put(m, body); err != nil {
		h.t.Fatal("put:", err)
	}
}

func (h *house) intake(prefetch int) *Intake {
	h.t.Helper()
	i, err := h.Lanes(h.ctx, LaneConfig{Prefetch: prefetch})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(i.Stop)
	return i
}

func (h *house) next(i *Intake) *Parcel {
	h.t.Helper()
	p, err := i.Next(h.ctx)
	if err != nil {
		h.t.Fatal("next:", err)
	}
	if p.Err != nil {
		h.t.Fatal("parcel:", p.Err)
	}
	return p
}

func (h *house) ack(p *Parcel) {
	h.t.Helper()
	if err := p.Ack(h.ctx); err != nil {
		h.t.Fatal("ack:", err)
	}
}

func (h *house) body(p *Parcel) []byte {
	h.t.Helper()
	r, err := p.Open(h.ctx)
	if err != nil {
		h.t.Fatal("open:", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		h.t.Fatal("read:", err)
	}
	return b
}

// chunks counts the chunks in the object store.
func (h *house) chunks() int {
	h.t.Helper()
	s, err := h.state(h.ctx, bodiesStream)
	if err != nil {
		h.t.Fatal(err)
	}
	return int(s.Msgs)
}

func TestMessagePassesWithItsBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 64 << 10})
	in := h.intake(0)
	for i, size := range []int{0, 1, 2000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 300_000, 2 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			body := bodyOf(size, uint64(i))
			sum := sha256.Sum256(body)
			digest := sum[:]
			if size <= 64<<10 {
				digest = nil // its seal says as much
			}
			m := message("acc", fmt.Sprintf("p%014x", i))
			m.ListedSize = int64(size)
			h.mustPut(m, body)
			if m.Size != int64(size) || !bytes.Equal(m.Digest, digest) {
				t.Fatalf("size %d, digest %x", m.Size, m.Digest)
			}
			if large := size > 64<<10; large != (m.GetObject() != "") {
				t.Fatalf("object %q", m.GetObject())
			}
			p := h.next(in)
			if p.GetKey() != m.GetKey() || p.GetRevision() != 7 || p.GetDomain() != "example.com" || p.Delivered != 1 {
				t.Fatalf("got %v", p.Message)
			}
			if !bytes.Equal(h.body(p), body) {
				t.Fatal("another body")
			}
			h.ack(p)
			if n := h.chunks(); n != 0 {
				t.Fatalf("%d messages of the body are left", n)
			}
		})
	}
}

func TestRepeatIsRefusedWhileHeld(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	for _, size := range []int{10, 5000} {
		key := fmt.Sprintf("p%d", size)
		h.mustPut(message("acc", key), bodyOf(size, 1))
		before := h.chunks()
		refused := func() {
			t.Helper()
			if err := h.put(message("acc", key), bodyOf(size, 2)); !errors.Is(err, ErrHeld) {
				t.Fatalf("got %v", err)
			}
			if h.chunks() != before {
				t.Fatal("the body of the refused copy is left")
			}
		}
		refused()
		p := h.next(in)
		refused() // handed out and unacked: held
		other := message("acc", key)
		other.Epoch = "e2"
		h.mustPut(other, []byte("x")) // another epoch is another message
		h.ack(h.next(in))
		h.ack(p)
		h.mustPut(message("acc", key), bodyOf(size, 3))
		h.ack(h.next(in))
	}
}

func TestHeldNamesKeysExactly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	for i := range 10 {
		h.mustPut(message("acc", fmt.Sprintf("p%d", i)), []byte("x"))
	}
	h.mustPut(message("other", "p99"), []byte("x"))
	held := func(want int) map[string]bool {
		t.Helper()
		keys, err := h.Held(h.ctx, "acc")
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) != want {
			t.Fatalf("held %v, want %d", keys, want)
		}
		return keys
	}
	held(10)
	var parcels []*Parcel
	for len(parcels) < 11 {
		parcels = append(parcels, h.next(in))
	}
	held(10) // all are handed out, none is acked
	acked := 0
	for _, p := range parcels {
		if p.GetAccountUid() != "acc" || acked == 4 {
			continue
		}
		h.ack(p)
		acked++
		if held(10 - acked)[p.GetKey()] {
			t.Fatal("an acked key is held")
		}
	}
	h.nats.Stop()
	ctx, cancel := context.WithTimeout(h.ctx, 300*time.Millisecond)
	defer cancel()
	if keys, err := h.Held(ctx, "acc"); err == nil {
		t.Fatalf("without NATS: %v, no error", keys)
	}
	h.nats.Start()
}

// TestHeldOfMoreThanOnePage holds more keys than the server tells at once.
func TestHeldOfMoreThanOnePage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	count := 100_500
	if raceFactor > 1 {
		count = 1_000 // the race detector has nothing to find in a second page
	}
	h.fill("example.com", "acc", count, 0)
	held, err := h.Held(h.ctx, "acc")
	if err != nil || len(held) != count {
		t.Fatal(len(held), err)
	}
}

// collect gathers outcomes by key.
type collect struct {
	mu  sync.Mutex
	got map[string][]error
}

func (c *collect) done(key string) func(error) {
	return func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.got == nil {
			c.got = map[string][]error{}
		}
		c.got[key] = append(c.got[key], err)
	}
}
