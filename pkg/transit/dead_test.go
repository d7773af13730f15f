package transit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func (h *house) bury(letter *mailferryv1.DeadLetter) {
	h.t.Helper()
	if err := h.Bury(h.ctx, letter); err != nil {
		h.t.Fatal("bury:", err)
	}
}

// die brings a message to DEAD as delivery does.
func (h *house) die(in *Intake, m *Message, body []byte) {
	h.t.Helper()
	h.mustPut(m, body)
	p := h.next(in)
	h.bury(&mailferryv1.DeadLetter{Message: p.Message, AccountUid: p.GetAccountUid(), Recipients: []string{"bob@example.com"}})
	h.ack(p)
}

func TestDeadLetterIsRetried(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	for _, size := range []int{0, 500, 300_000} {
		body := bodyOf(size, 1)
		key := fmt.Sprint("p", size)
		h.die(in, message("acc", key), body)
		e, err := h.GetDead(h.ctx, "acc/"+key)
		if err != nil {
			t.Fatal(err)
		}
		m := e.GetLetter().GetMessage()
		was := proto.CloneOf(m)
		if err := h.Republish(h.ctx, m); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(m, was) {
			t.Fatal("Republish changed the message")
		}
		if err := h.Republish(h.ctx, m); !errors.Is(err, ErrHeld) {
			t.Fatal(err)
		}
		p := h.next(in)
		if !proto.Equal(p.Message, was) {
			t.Fatalf("got %v, want %v", p.Message, was)
		}
		if !bytes.Equal(h.body(p), body) {
			t.Fatal("another body")
		}
		// Either order of the last two steps keeps the body as long as one of them needs it.
		if size == 500 {
			h.ack(p)
		}
		if err := h.DropDead(h.ctx, e); err != nil {
			t.Fatal(err)
		}
		if size != 500 {
			if !bytes.Equal(h.body(p), body) {
				t.Fatal("the body went with the letter")
			}
			h.ack(p)
		}
		if n := h.chunks(); n != 0 {
			t.Fatalf("%d messages are left in the bucket", n)
		}
		if err := h.DropDead(h.ctx, e); !errors.Is(err, ErrNotFound) || fault.KindOf(err) != fault.NotFound {
			t.Fatal(err)
		}
		if _, err := h.GetDead(h.ctx, e.GetId()); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// TestLetterWithoutBodyIsNotRetried has a message that was given up before its body was fetched: an empty
// mail must not come of it.
func TestLetterWithoutBodyIsNotRetried(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.bury(&mailferryv1.DeadLetter{Message: message("acc", "p1")})
	e, err := h.GetDead(h.ctx, "acc/p1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Republish(h.ctx, e.GetLetter().GetMessage()); !errors.Is(err, ErrBodyGone) {
		t.Fatal(err)
	}
	if held, err := h.Held(h.ctx, "acc"); err != nil || len(held) != 0 {
		t.Fatal(held, err)
	}
}

func TestDeadListsNewestFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	const count = 300
	for i := range count {
		uid := "many"
		if i%50 == 0 {
			uid = "few"
		}
		m := message(uid, fmt.Sprintf("p%d", i))
		m.Content = &mailferryv1.FetchedMessage_Inline{Inline: bodyOf(20_000, 1)}
		h.bury(&mailferryv1.DeadLetter{Message: m})
	}
	h.bury(&mailferryv1.DeadLetter{AccountUid: "few", JobId: "j1"})
	list := func(uid string, limit int) string {
		t.Helper()
		es, err := h.Dead(h.ctx, uid, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range es {
			if e.GetLetter().GetMessage().GetInline() != nil {
				t.Fatal("the list has bodies")
			}
			ids = append(ids, e.GetId())
		}
		return strings.Join(ids, " ")
	}
	for _, c := range []struct {
		uid   string
		limit int
		want  string
	}{
		{"", 3, "few/job-j1 many/p299 many/p298"},
		{"few", 2, "few/job-j1 few/p250"},
		{"few", 100, "few/job-j1 few/p250 few/p200 few/p150 few/p100 few/p50 few/p0"},
		{"none", 10, ""},
		{"", 0, ""},
	} {
		if got := list(c.uid, c.limit); got != c.want {
			t.Errorf("%q, %d: %s, want %s", c.uid, c.limit, got, c.want)
		}
	}
	if n := len(strings.Fields(list("many", 1000))); n != count-6 {
		t.Errorf("%d of many", n)
	}
	if s, err := h.Stats(h.ctx); err != nil || s.Dead != count+1 {
		t.Error(s, err)
	}
	if _, err := h.Dead(h.ctx, "a.b", 1); err == nil {
		t.Error("a uid with a dot")
	}
}

func TestBuryRefusesAndLightens(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, letter := range []*mailferryv1.DeadLetter{
		{}, {AccountUid: "acc"}, {Message: message("acc", "a.b")}, {AccountUid: "a*", JobId: "j"},
	} {
		if err := h.Bury(h.ctx, letter); err == nil {
			t.Fatal(letter)
		}
	}
	body := bodyOf(500_000, 1)
	m := message("acc", "p1")
	m.Content, m.Size = &mailferryv1.FetchedMessage_Inline{Inline: body}, int64(len(body))
	sum := sha256.Sum256(body)
	m.Digest = sum[:]
	letter := &mailferryv1.DeadLetter{Message: m}
	for i := range 20_000 {
		letter.Recipients = append(letter.Recipients, fmt.Sprintf("recipient-%020d@example.com", i))
	}
	h.bury(letter)
	if m.GetInline() == nil {
		t.Fatal("Bury changed the letter")
	}
	e, err := h.GetDead(h.ctx, "acc/p1")
	if err != nil || e.GetLetter().GetMessage().GetObject() == "" || e.GetLetter().GetMessage().GetSize() != int64(len(body)) {
		t.Fatal(err)
	}
	h.mustPut(message("acc", "p2"), body)
	letter.Message = h.next(h.intake(0)).Message // sealed, without a digest
	h.bury(letter)
	if e, err = h.GetDead(h.ctx, "acc/p2"); err != nil || e.GetLetter().GetMessage().GetObject() == "" {
		t.Fatal(err)
	}
	r, err := h.OpenBody(h.ctx, e.GetLetter().GetMessage())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Fatal("another body", err)
	}
}

func TestDeadStreamIsMadeAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	if err := h.nats.JS.DeleteStream(h.ctx, deadStream); err != nil {
		t.Fatal(err)
	}
	if es, err := h.Dead(h.ctx, "", 10); err != nil || len(es) != 0 {
		t.Fatal(es, err)
	}
	if _, err := h.GetDead(h.ctx, "acc/p1"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	h.bury(&mailferryv1.DeadLetter{Message: message("acc", "p1")})
	if _, err := h.GetDead(h.ctx, "acc/p1"); err != nil {
		t.Fatal(err)
	}
}

// TestALetterBuriedSinceStays: a message that is retried is given up again before the first letter is dropped.
func TestALetterBuriedSinceStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	body := bodyOf(300_000, 1)
	h.mustPut(message("acc", "p1"), body)
	p := h.next(in)
	at := time.Now()
	h.bury(&mailferryv1.DeadLetter{Message: p.Message, BuriedAt: timestamppb.New(at)})
	h.ack(p)
	first, err := h.GetDead(h.ctx, "acc/p1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Republish(h.ctx, first.GetLetter().GetMessage()); err != nil {
		t.Fatal(err)
	}
	p = h.next(in)
	h.bury(&mailferryv1.DeadLetter{Message: p.Message, BuriedAt: timestamppb.New(at.Add(time.Second))})
	h.ack(p)
	if err := h.DropDead(h.ctx, first); err != nil {
		t.Fatal(err)
	}
	second, err := h.GetDead(h.ctx, "acc/p1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Republish(h.ctx, second.GetLetter().GetMessage()); err != nil {
		t.Fatal(err)
	}
	if p = h.next(in); !bytes.Equal(h.body(p), body) {
		t.Fatal("another body")
	}
}

func TestUnreadableLetterCanBeDropped(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	if _, err := h.nats.JS.Publish(h.ctx, deadSubject("acc", "p1"), []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	es, err := h.Dead(h.ctx, "acc", 10)
	if err != nil || len(es) != 1 || es[0].GetLetter().GetFault() == nil {
		t.Fatal(es, err)
	}
	if err := h.DropDead(h.ctx, es[0]); err != nil {
		t.Fatal(err)
	}
}

func TestEraseAccount(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(0)
	h.die(in, message("acc", "p1"), bodyOf(300_000, 1))
	h.die(in, message("other", "p1"), bodyOf(300_000, 1))
	for _, uid := range []string{"acc", "other"} {
		h.mustPut(message(uid, "p2"), bodyOf(300_000, 1))
		h.mustPut(message(uid, "p3"), bodyOf(100, 1))
	}
	if err := h.EraseAccount(h.ctx, "acc"); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]int{"acc": 0, "other": 1} {
		held, err := h.Held(h.ctx, uid)
		if err != nil || len(held) != 2*want {
			t.Fatal(uid, held, err)
		}
		dead, err := h.Dead(h.ctx, uid, 10)
		if err != nil || len(dead) != want {
			t.Fatal(uid, dead, err)
		}
		bodies, err := h.bodyNames(h.ctx, chunkPrefix+uid+".>")
		if err != nil || len(bodies) != 2*want {
			t.Fatal(uid, bodies, err)
		}
	}
	// Both bodies with their chunks and a description each.
	if n := h.chunks(); n != 2*((300_000+chunkSize-1)/chunkSize+1) {
		t.Fatal(n)
	}
	if err := h.EraseAccount(h.ctx, "*"); err == nil {
		t.Fatal("every account was erased")
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	got, stop, err := h.Receipts(h.ctx, "acc")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := h.SendReceipt("other", Receipt{Key: "p9"}); err != nil {
		t.Fatal(err)
	}
	if err := h.SendReceipt("acc", Receipt{"p1", "envelope"}, Receipt{"p2", ""}); err != nil {
		t.Fatal(err)
	}
	if keys := <-got; !slices.Equal(keys, []Receipt{{"p1", "envelope"}, {"p2", ""}}) {
		t.Fatal(keys)
	}
	// Of what a reader leaves for a while nothing is lost, one key to a receipt or many; of more than the buffer
	// holds the newest stay.
	for i := range 2000 {
		if err := h.SendReceipt("acc", Receipt{Key: fmt.Sprint("q", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if keys := receiptsUntil(t, got, "q1999"); len(keys) != 2000 || keys[0].Key != "q0" {
		t.Fatalf("%d keys, the first is %s", len(keys), keys[0].Key)
	}
	many := make([]Receipt, receiptBuffer+10*receiptKeys)
	for i := range many {
		many[i].Key = fmt.Sprint("p", i)
	}
	if err := h.SendReceipt("acc", many...); err != nil {
		t.Fatal(err)
	}
	receiptsUntil(t, got, many[len(many)-1].Key)
	if err := h.SendReceipt("a.b", Receipt{Key: "p"}); err == nil {
		t.Fatal("a uid with a dot")
	}
	stop()
	stop()
	if _, open := <-got; open {
		t.Fatal("the channel is open after stop")
	}
	ctx, cancel := context.WithCancel(h.ctx)
	got, stop, err = h.Receipts(ctx, "acc")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cancel()
	if _, open := <-got; open {
		t.Fatal("the channel is open after the context")
	}
}

// receiptsUntil reads receipts, with pauses, until the last key came.
func receiptsUntil(t *testing.T, got <-chan []Receipt, last string) (all []Receipt) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, last+" arrives", func() bool {
		select {
		case keys := <-got:
			all = append(all, keys...)
		default:
		}
		return len(all) > 0 && all[len(all)-1].Key == last
	})
	return all
}
