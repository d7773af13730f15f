package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
)

// fetchAndDelete is steps 5 to 7.
func (r *run) fetchAndDelete(ctx context.Context, fresh []candidate) error {
	f, err := r.follow(ctx)
	if err != nil {
		return fault.Wrap(fault.BackPressure, "follow receipts", err)
	}
	defer f.stop()
	ferr := r.fetch(ctx, fresh, f)
	killpoint.Reach("worker.published")
	if ferr != nil && fault.KindOf(ferr) != fault.BackPressure {
		return ferr // the session cannot be used any more
	}
	if r.acc.After == account.Delete && r.listing.Complete {
		return errors.Join(ferr, r.deleteCollected(ctx, f))
	}
	if r.session.Info().Consumes {
		// The server drops what was fetched when the session ends well: only if all of it was accepted.
		if err := f.waitForAll(ctx); err != nil || r.consumes() {
			r.session.Abort()
			return errors.Join(ferr, err)
		}
	}
	if err := r.session.Close(ctx); err != nil && r.session.Info().Consumes {
		return errors.Join(ferr, err)
	}
	killpoint.Reach("worker.closed")
	if ferr == nil && r.claim.Trigger == queue.Manual {
		_ = f.waitForAll(ctx) // somebody is looking on; what has not arrived by then arrives later
	}
	return ferr
}

// consumes says that the server would drop messages that were read to be named, or in vain, and are not
// collected as far as the index as read last knows. The session must not end well then.
func (r *run) consumes() bool {
	if !r.session.Info().Consumes || !r.readForNames && r.failures == nil {
		return false
	}
	return slices.ContainsFunc(r.keys, func(k ledger.Key) bool {
		return k == "" || r.index.State(k) != ledger.StateCollected && r.index.State(k) != ledger.StateDeleting
	})
}

// deleteCollected is steps 6 and 7 of an account whose messages go once they are collected.
func (r *run) deleteCollected(ctx context.Context, f *flight) error {
	waited := f.waitForAll(ctx)
	if waited != nil && !errors.Is(waited, errNoReceipts) {
		return waited
	}
	killpoint.Reach("worker.receipts")
	var err error
	if r.index, err = r.hold.Reload(ctx); err != nil {
		return err
	}
	if r.session.Info().Consumes && waited != nil || r.consumes() {
		r.session.Abort()
		return waited
	}
	var items []remote.Item
	var doomed []ledger.Doomed
	for i, k := range r.keys {
		if k == "" {
			continue
		}
		if s := r.index.State(k); s == ledger.StateCollected || s == ledger.StateDeleting {
			items = append(items, r.listing.Items[i])
			doomed = append(doomed, ledger.Doomed{Key: k, Listed: r.listing.Items[i].Size})
		}
	}
	n, err := r.delete(ctx, items, doomed)
	if err != nil {
		return err
	}
	killpoint.Reach("worker.deleted")
	if err := r.session.Close(ctx); err != nil {
		if n > 0 {
			return err // the deletions are not confirmed; their keys stay in state deleting, and the next run does it again
		}
		return waited
	}
	r.report.Deleted = int64(n)
	killpoint.Reach("worker.closed")
	return waited
}

// delete removes messages at the remote server, in batches. Redis is asked before each: is the lock still
// ours, is the key collected in this epoch, by every active account on this mailbox?
func (r *run) delete(ctx context.Context, items []remote.Item, doomed []ledger.Doomed) (int, error) {
	n := 0
	for len(items) > 0 {
		size := min(r.w.cfg.Batch, len(items))
		allowed, err := r.hold.Doom(ctx, doomed[:size])
		if err != nil {
			return n, err
		}
		killpoint.Reach("worker.doomed")
		may := make(map[ledger.Key]bool, len(allowed))
		for _, k := range allowed {
			may[k] = true
		}
		var batch []remote.Item
		for i, d := range doomed[:size] {
			if may[d.Key] {
				batch = append(batch, items[i])
			}
		}
		if err := r.session.Delete(ctx, batch); err != nil {
			return n, err
		}
		n += len(batch)
		items, doomed = items[size:], doomed[size:]
	}
	return n, nil
}
