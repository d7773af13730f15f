package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
)

// wave is the messages that one call of the session fetches: a batch, and those that are marked while it comes.
type wave struct {
	r     *run
	f     *flight
	fresh []candidate // not taken yet
	err   error       // why there are no more

	keys   map[itemHandle]ledger.Key // marked and not reached
	octets int64                     // of these
	marked int                       // since the call began
}

// next takes candidates for which there is room, at most so many, off what is left.
func (w *wave) next(most int) []candidate {
	n := w.f.room(w.fresh, most, len(w.keys), w.octets)
	batch := w.fresh[:n]
	w.fresh = w.fresh[n:]
	return batch
}

// more marks messages like those before, for which there is room, and returns them. With those that are under way they are
// no more than a batch and a half, mostly: what a run that is cut off leaves marked.
func (w *wave) more(ctx context.Context) []remote.Item {
	for w.err == nil && w.f.refused() == nil && len(w.fresh) > 0 && !w.fresh[0].notice && w.fresh[0].seen == "" {
		batch := w.next(max(1, w.r.w.cfg.Batch/2))
		if len(batch) == 0 {
			return nil
		}
		items, err := w.mark(ctx, batch)
		if w.err = err; err == nil && len(items) > 0 {
			return items
		}
	}
	return nil
}

// mark takes a batch in flight; it returns the messages that may be fetched. What is marked in vain is left, too.
func (w *wave) mark(ctx context.Context, batch []candidate) ([]remote.Item, error) {
	batch, err := w.today(ctx, batch)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	reqs := make([]ledger.MarkRequest, len(batch))
	for i, c := range batch {
		reqs[i] = ledger.MarkRequest{Key: c.key, Size: c.octets(), Listed: c.item.Size, Seen: c.seen}
	}
	results, err := w.r.hold.Mark(ctx, reqs)
	if err != nil {
		return nil, err
	}
	if w.keys == nil {
		w.keys = make(map[itemHandle]ledger.Key, len(batch))
	}
	var items []remote.Item
	for i, res := range results {
		switch c := batch[i]; res {
		case ledger.Marked:
			items = append(items, c.item)
			w.keys[handle(c.item)] = c.key
			w.octets += c.item.Size
			w.marked++
		case ledger.TooMany:
			if err := w.r.park(ctx, c); err != nil {
				return nil, err
			}
		default: // somebody has it or brings it: nothing to do
		}
	}
	if !batch[0].notice && len(items) > 0 {
		err = w.r.spend(ctx, items)
	}
	return items, err
}

// reach says whose message came; false where it is none of these, or came before.
func (w *wave) reach(it remote.Item) (ledger.Key, bool) {
	key, ok := w.keys[handle(it)]
	if ok {
		delete(w.keys, handle(it))
		w.octets -= it.Size
	}
	return key, ok
}

// left are the messages that were marked and not reached; they are forgotten.
func (w *wave) left() []ledger.Key {
	left := slices.Collect(maps.Values(w.keys))
	w.keys, w.octets, w.marked = nil, 0, 0
	return left
}

// itemHandle tells the messages of one session apart.
type itemHandle struct {
	mailbox string
	uid     uint32
	number  int
}

func handle(it remote.Item) itemHandle {
	if it.UID != 0 {
		return itemHandle{mailbox: it.Mailbox, uid: it.UID}
	}
	return itemHandle{number: it.Number}
}

// spend counts messages against the account's limits of a day, before they are fetched.
func (r *run) spend(ctx context.Context, items []remote.Item) error {
	if !r.acc.PerDay() {
		return nil
	}
	var octets int64
	for _, it := range items {
		octets += it.Size
	}
	_, err := r.w.Ledger.Spend(ctx, r.acc.UID, int64(len(items)), octets)
	return err
}
