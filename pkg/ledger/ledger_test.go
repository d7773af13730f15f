package ledger

import (
	"context"
	"testing"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(h *house) Key{
		"unique-id": func(h *house) Key { return h.uid(1) },
		"content":   func(h *house) Key { return h.keyer.Content([]byte("digest")) },
		"imap":      func(h *house) Key { return h.keyer.IMAP("INBOX", 7, 42) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			h := newHouse(t, Config{})
			hold := h.open("a1", "e1")
			k := key(h)
			if got := h.mark(hold, k, 10); got != Marked {
				t.Fatalf("mark: %v", got)
			}
			le := h.deliver("a1", k)
			h.ok(h.Renew(ctx, le))
			h.ok(h.Record(ctx, le, []byte("route"), []string{"bob@example.com"}))
			if !h.commit(le) {
				t.Fatal("the first commit wrote nothing")
			}
			if h.commit(le) {
				t.Fatal("the second commit wrote")
			}
			if got := h.state(hold, k); got != StateCollected {
				t.Fatalf("state: %v", got)
			}
			if _, marked := hold.Index().Mark(k); marked {
				t.Fatal("still marked")
			}
			if got := h.take("a1", k).Verdict; got != Repeat {
				t.Fatalf("taken again: %v", got)
			}
			allowed, err := hold.Doom(ctx, []Doomed{{Key: k, Listed: 10, Digest: []byte{1}}})
			h.ok(err)
			if len(allowed) != 1 || allowed[0] != k || h.state(hold, k) != StateDeleting {
				t.Fatalf("doom: %v, %v", allowed, h.state(hold, k))
			}
			h.ok(hold.Seen(ctx, nil, k.Mailbox()))
			if got := h.state(hold, k); len(k.raw()) == 7 && got != StateNew || len(k.raw()) == 12 && got != StateCollected {
				t.Fatalf("gone: %v", got)
			}
			if got := h.take("a1", k).Verdict; got != Repeat {
				t.Fatalf("a late copy: %v", got)
			}
			h.ok(hold.Finish(ctx))
			h.release(hold)
		})
	}
}
