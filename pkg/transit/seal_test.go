package transit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// canary is content that is easy to find.
func canary(n int) []byte { return bytes.Repeat([]byte("secret-canary "), n/14+1)[:n] }

// stored returns everything that the three streams hold.
func (h *house) stored() []byte {
	h.t.Helper()
	var all []byte
	for _, name := range []string{transitStream, bodiesStream, deadStream} {
		s, err := h.nats.JS.Stream(h.ctx, name)
		if err != nil {
			h.t.Fatal(err)
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
			m, err := s.GetMsg(h.ctx, seq)
			if err == nil {
				all = append(all, m.Data...)
			}
		}
	}
	return all
}

// TestBodiesRestSealed: TRANSIT, BODIES and DEAD hold no content in the clear, and what they hold is delivered, buried
// and delivered again as it was.
func TestBodiesRestSealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	for _, size := range []int{0, 999, 1001, 300_000} {
		key := fmt.Sprint("p", size)
		h.mustPut(message("acc", key), canary(size))
		p := h.next(in)
		if got := h.body(p); !bytes.Equal(got, canary(size)) || p.GetSize() != int64(size) {
			t.Fatalf("%d octets: read %d", size, len(got))
		}
		if head, err := p.Head(h.ctx, 1000); err != nil || !bytes.Equal(head, canary(size)[:min(size, 1000)]) {
			t.Fatalf("%d octets: head of %d, %v", size, len(head), err)
		}
		h.bury(&mailferryv1.DeadLetter{Message: p.Message})
		if bytes.Contains(h.stored(), []byte("canary")) {
			t.Fatalf("%d octets: the content lies open", size)
		}
		h.ack(p)
		e, err := h.GetDead(h.ctx, "acc/"+key)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Republish(h.ctx, e.GetLetter().GetMessage()); err != nil {
			t.Fatal(err)
		}
		p = h.next(in)
		if got := h.body(p); !bytes.Equal(got, canary(size)) {
			t.Fatalf("%d octets after a retry: read %d", size, len(got))
		}
		h.ack(p)
	}
}

// TestKeyFileIsMissing: what another key file sealed is refused, not taken for damaged, so that nobody drops it.
func TestKeyFileIsMissing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000, BodyWait: 200 * time.Millisecond})
	in := h.intake(0)
	strange, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{500, 300_000} {
		h.mustPut(message("acc", fmt.Sprint("p", i)), canary(size))
		p := h.next(in)
		mine := h.cfg.Bodies
		for why, other := range map[string]func(){
			"another": func() { h.cfg.Bodies = newBodies(t, strange) },
			"none":    func() { h.cfg.Bodies = nil },
		} {
			other()
			_, err := p.Open(h.ctx)
			if fault.KindOf(err) != fault.Internal || errors.Is(err, ErrBodyDamaged) || errors.Is(err, ErrBodyGone) {
				t.Errorf("%d octets, %s key file: %v", size, why, err)
			}
		}
		h.cfg.Bodies = mine
		p.Key += "x" // of another message
		r, err := p.Open(h.ctx)
		if err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		if !errors.Is(err, ErrBodyDamaged) {
			t.Errorf("%d octets of another message: %v", size, err)
		}
		p.Key = p.Key[:len(p.Key)-1]
		h.ack(p)
	}
}

// TestOpenBodiesOfAnOlderVersion are read, and sealed where they are buried.
func TestOpenBodiesOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	mine := h.cfg.Bodies
	for i, size := range []int{0, 500, 300_000} {
		h.cfg.Bodies = nil
		h.mustPut(message("acc", fmt.Sprint("p", i)), canary(size))
		h.cfg.Bodies = mine
		p := h.next(in)
		if got := h.body(p); !bytes.Equal(got, canary(size)) {
			t.Fatalf("%d octets: read %d", size, len(got))
		}
		if head, err := p.Head(h.ctx, 1000); err != nil || !bytes.Equal(head, canary(size)[:min(size, 1000)]) {
			t.Fatalf("%d octets: head of %d, %v", size, len(head), err)
		}
		h.bury(&mailferryv1.DeadLetter{Message: p.Message})
		e, err := h.GetDead(h.ctx, fmt.Sprint("acc/p", i))
		if err != nil {
			t.Fatal(err)
		}
		if m := e.GetLetter().GetMessage(); bytes.Contains(m.GetInline(), []byte("canary")) {
			t.Errorf("%d octets lie open in DEAD", size)
		}
		h.ack(p)
	}
}
