package ledger

import (
	"context"

	"github.com/mailferry/mailferry/pkg/fault"
)

// OpenEpoch starts the index of an account that has none.
func (h *Hold) OpenEpoch(ctx context.Context, epoch string) error {
	if !word(epoch) {
		return fault.Errorf(fault.Internal, "ledger open", "not an epoch: %q", epoch)
	}
	if _, err := h.run(ctx, "open", epoch); err != nil {
		return err
	}
	h.mu.Lock()
	h.epoch = epoch
	h.mu.Unlock()
	return nil
}

// MarkRequest asks to mark a message before it is fetched.
type MarkRequest struct {
	Key Key
	// Size is what counts as in flight, Listed what the server listed.
	Size, Listed int64
	// Seen is Mark.Raw of the mark that was read, "" for none.
	Seen string
}

// MarkResult says what became of a MarkRequest.
type MarkResult uint8

// The results of Mark. Only a Marked message may be fetched.
const (
	Marked MarkResult = iota + 1
	Collected
	Skipped
	Parked
	Deferred
	Leased  // a delivery is at work on it
	Changed // the mark is not the one that was read
	TooMany // too many attempts: it is parked now
)

var markResults = map[string]MarkResult{
	"marked": Marked, "collected": Collected, "skipped": Skipped, "parked": Parked, "deferred": Deferred,
	"leased": Leased, "changed": Changed, "too-many": TooMany,
}

// String returns the word of a result.
func (r MarkResult) String() string {
	for word, v := range markResults {
		if v == r {
			return word
		}
	}
	return "unknown"
}

// Mark marks messages that are about to be fetched and answers for each, in order. Marking with another
// UIDVALIDITY than the index has of a mailbox starts its UID sets anew. On an error the first results are those of the
// batches that were done.
func (h *Hold) Mark(ctx context.Context, reqs []MarkRequest) ([]MarkResult, error) {
	results := make([]MarkResult, 0, len(reqs))
	by := nonce()
	err := batches(len(reqs), maxBatch, func(from, to int) error {
		args := make([]any, 0, 2+4*(to-from))
		args = append(args, by, h.l.cfg.MaxAttempts)
		for _, r := range reqs[from:to] {
			raw, err := rawOf("ledger mark", r.Key)
			if err != nil {
				return err
			}
			args = append(args, raw, max(r.Size, 0), max(r.Listed, 0), r.Seen)
		}
		reply, err := h.run(ctx, "mark", args...)
		if err != nil {
			return err
		}
		for i := range to - from {
			results = append(results, markResults[text(reply, 1+i)])
		}
		return nil
	})
	return results, err
}

// Unmark takes marks back whose message is not in TRANSIT: fetch or publish failed.
func (h *Hold) Unmark(ctx context.Context, keys []Key) error {
	by := nonce()
	return batches(len(keys), maxBatch, func(from, to int) error {
		args := []any{by}
		for _, k := range keys[from:to] {
			raw, err := rawOf("ledger unmark", k)
			if err != nil {
				return err
			}
			args = append(args, raw)
		}
		_, err := h.run(ctx, "unmark", args...)
		return err
	})
}

// Item is a message as the remote lists it.
type Item struct {
	Key    Key
	Listed int64
}

// Skip passes messages over on purpose. What is collected, parked or marked stays what it is.
func (h *Hold) Skip(ctx context.Context, items []Item) error {
	return h.pass(ctx, "skip", items)
}

// pass runs a script for the keys and folded sizes of items.
func (h *Hold) pass(ctx context.Context, script string, items []Item) error {
	return batches(len(items), maxBatch, func(from, to int) error {
		var args []any
		for _, it := range items[from:to] {
			raw, err := rawOf("ledger "+script, it.Key)
			if err != nil {
				return err
			}
			args = append(args, raw, FoldSize(it.Listed))
		}
		_, err := h.run(ctx, script, args...)
		return err
	})
}

func rawOf(op string, k Key) (string, error) {
	raw := k.raw()
	if raw == "" {
		return "", fault.Errorf(fault.Internal, op, "not a message key: %q", fault.Clean(string(k)))
	}
	return raw, nil
}

// names refuses what may not stand in a key name.
func names(op string, slot Slot, account string) error {
	if !slot.valid() || !word(account) {
		return fault.Errorf(fault.Internal, op, "not a slot and an account: %q, %q", fault.Clean(string(slot)), fault.Clean(account))
	}
	return nil
}
