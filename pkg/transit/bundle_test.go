package transit

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// bundled puts n small messages, p0 on, so that all but the first travel together, and returns their bodies.
func (h *house) bundled(n int) map[string][]byte {
	h.t.Helper()
	bodies := map[string][]byte{}
	p := h.Publisher(0)
	p.away = 1 // as if an answer were awaited
	for i := range n {
		key := fmt.Sprintf("p%d", i)
		bodies[key] = bodyOf(100+i, uint64(i))
		err := p.Put(h.ctx, message("acc", key), bytes.NewReader(bodies[key]), func(err error) {
			if err != nil {
				h.t.Error(key, err)
			}
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	if err := p.Flush(h.ctx); err != nil {
		h.t.Fatal(err)
	}
	return bodies
}

func (h *house) messages() int64 {
	h.t.Helper()
	s, err := h.Stats(h.ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Messages
}

func TestBundle(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	bodies := h.bundled(bundleMost + 4)
	if n := h.messages(); n != 2 {
		t.Fatalf("they travel in %d messages", n)
	}
	held, err := h.Held(h.ctx, "acc")
	if err != nil || len(held) != len(bodies) {
		t.Fatalf("%d are held, %v", len(held), err)
	}
	in := h.intake(0)
	for range bodies {
		p := h.next(in)
		if !held[p.GetKey()] || !bytes.Equal(h.body(p), bodies[p.GetKey()]) {
			t.Fatalf("%s is not what was put", p.GetKey())
		}
		delete(held, p.GetKey())
		if err := p.AckAsync(h.ctx); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 30*time.Second, "nothing is in transit", func() bool { return h.messages() == 0 })
}

// TestBundleGivenBack: one message of a bundle is given back. All of them come again, and not before its time.
func TestBundleGivenBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	bodies := h.bundled(5)
	in := h.intake(0)
	var until time.Time
	for range bodies {
		switch p := h.next(in); p.GetKey() {
		case "p1":
			until = time.Now().Add(time.Second)
			if err := p.NakAsync(time.Second); err != nil {
				t.Fatal(err)
			}
		default:
			h.ack(p)
		}
	}
	if n := h.messages(); n != 1 {
		t.Fatalf("%d messages", n)
	}
	for range len(bodies) {
		p := h.next(in)
		if now := time.Now(); now.Before(until) || p.Delivered != 2 {
			t.Fatalf("%s before its time, delivered %d times", until.Sub(now), p.Delivered)
		}
		delete(bodies, p.GetKey())
		h.ack(p)
	}
	if n := h.messages(); n != 0 || len(bodies) != 0 {
		t.Fatalf("%d messages; %d did not come again", n, len(bodies))
	}
}

// TestBundleIsKept: while one message of a bundle is worked on, the others wait for their turn and are not handed out twice.
func TestBundleIsKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: 2 * time.Second})
	bodies := h.bundled(3)
	in := h.intake(0)
	first := h.next(in)
	first.Keep(h.ctx)
	other := h.intake(0)
	for wait := first.crate.arrived.Add(5 * time.Second); time.Now().Before(wait); {
		if m, _ := other.take(time.Now()); m != nil {
			t.Fatal("handed out to another as well:", m.key)
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.ack(first)
	delete(bodies, first.GetKey())
	for range 2 {
		p := h.next(in)
		delete(bodies, p.GetKey())
		h.ack(p)
	}
	if n := h.messages(); n != 0 || len(bodies) != 0 {
		t.Fatalf("%d messages, %d keys are left", n, len(bodies))
	}
}

// TestBundleWhenStopped: an intake that stops gives the rest of a bundle back once what it has handed out is settled.
func TestBundleWhenStopped(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	bodies := h.bundled(6)
	in := h.intake(0)
	a, b := h.next(in), h.next(in)
	in.Stop()
	h.ack(a)
	h.ack(b)
	other := h.intake(0)
	for range 6 {
		p := h.next(other)
		delete(bodies, p.GetKey())
		h.ack(p)
	}
	if n := h.messages(); n != 0 || len(bodies) != 0 {
		t.Fatalf("%d messages, %d keys are left", n, len(bodies))
	}
}

func TestBundlePayloadIsAnOrdinaryFetchedBundle(t *testing.T) {
	t.Parallel()
	want := &mailferryv1.FetchedBundle{}
	b := &bundle{prefix: mailPrefix + "6.acc.e1."}
	for i := range 3 {
		m := message("acc", fmt.Sprint("p", i))
		m.Size = int64(i)
		data := encoded(t, m, bodyOf(i, 1))
		b.items, b.bytes = append(b.items, bundled{key: m.GetKey(), buf: data}), b.bytes+len(data)
		m.Content = &mailferryv1.FetchedMessage_Inline{Inline: bodyOf(i, 1)}
		want.Messages = append(want.Messages, m)
	}
	data := b.join(newPool(1 << 20))
	got := &mailferryv1.FetchedBundle{}
	if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
		t.Fatal("protobuf reads it otherwise", err)
	}
	if s := b.subject(); s != mailPrefix+"6.acc.e1.p0~p1~p2" {
		t.Fatal(s)
	}
	for end := range data { // a part of it is none
		if _, err := cutBundle(data[:end], 3); err == nil {
			t.Fatalf("the first %d octets are taken for all", end)
		}
	}
	if _, err := cutBundle(data, 2); err == nil {
		t.Fatal("a message without a key is taken")
	}
}

// TestBrokenBundle: of a bundle that cannot be read each message is a parcel that says so.
func TestBrokenBundle(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	if _, err := h.nats.JS.Publish(h.ctx, mailPrefix+"5.acc.e1.p7~p8", []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"p7", "p8"} {
		p, err := in.Next(h.ctx)
		if err != nil || p.Err == nil || p.GetKey() != key || p.GetAccountUid() != "acc" {
			t.Fatalf("%v, %v, %v", p, p.Err, err)
		}
		if err := p.Term(h.ctx, "poison"); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.messages(); n != 0 {
		t.Fatalf("%d messages are left", n)
	}
}
