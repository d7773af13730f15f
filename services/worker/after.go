package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	if r.acts() {
		return errors.Join(ferr, r.afterCollection(ctx, f))
	}
	if ferr == nil && r.report.Fetched == int64(len(fresh)) {
		r.remember(ctx, fresh)
	}
	if r.session.Info().Consumes {
		// The server drops what was fetched when the session ends well: only if all of it was accepted.
		if err := f.waitForAll(ctx); err != nil || r.consumes() {
			r.session.Abort()
			return errors.Join(ferr, err)
		}
	}
	if err := r.endSession(ctx); err != nil && r.session.Info().Consumes {
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

// acts says whether something is to be done at the remote server with what is collected.
func (r *run) acts() bool {
	return len(r.whole()) > 0 && (r.acc.After.Removes() || r.acc.MarkSeen)
}

// afterCollection is steps 6 and 7 of an account that does something with what is collected.
func (r *run) afterCollection(ctx context.Context, f *flight) error {
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
	if err := r.markSeen(ctx); err != nil {
		return err
	}
	at, err := r.leaving(ctx)
	if err != nil {
		return err
	}
	n, err := r.remove(ctx, at)
	if err != nil {
		return err
	}
	killpoint.Reach("worker.deleted")
	if err := r.endSession(ctx); err != nil {
		if n > 0 {
			return err // the deletions are not confirmed; their keys stay in state deleting, and the next run does it again
		}
		return waited
	}
	if n > 0 {
		r.hold.Confirm()
	}
	if r.acc.After == account.Move {
		r.report.Moved = int64(n)
	} else {
		r.report.Deleted = int64(n)
	}
	killpoint.Reach("worker.closed")
	return waited
}

// leaving returns the positions of the messages that are to go at the remote server now.
func (r *run) leaving(ctx context.Context) ([]int, error) {
	if !r.acc.After.Removes() {
		return nil, nil
	}
	m := r.mailbox()
	collected := m.collected()
	old, err := m.age(ctx, r.session, r.acc, collected)
	if err != nil {
		return nil, err
	}
	if n := len(slices.DeleteFunc(m.items(collected), func(it remote.Item) bool { return !unnumbered(it) })); n > 0 {
		r.note("%d collected messages stay at the remote server: it gives their mailbox no UIDVALIDITY, so that their numbers may be those of others", n)
	}
	at := m.leaving(r.acc, collected, old)
	strange, err := r.strangers(ctx, at)
	return slices.DeleteFunc(at, func(i int) bool { return strange[i] }), err
}

func (r *run) mailbox() mailbox { return mailbox{listing: r.listing, keys: r.keys, index: r.index} }

// removeBatch bounds what one look at the lock allows to remove.
const removeBatch = 128

// remove deletes or moves messages at the remote server, in batches. Redis is asked before each: is the lock
// still ours, is the key collected in this epoch, by every active account on this mailbox? And whoever runs
// the fleet may have stopped it all.
func (r *run) remove(ctx context.Context, at []int) (int, error) {
	n := 0
	m := r.mailbox()
	for len(at) > 0 {
		if r.w.settings.Load().NoRemoteDeletion {
			r.note("remote deletion is switched off (setting remote_deletion): %d collected messages stay", len(at))
			return n, nil
		}
		name := m.listing.Items[at[0]].Mailbox
		elsewhere := func(i int) bool { return m.listing.Items[i].Mailbox != name }
		size := min(r.w.cfg.Batch, removeBatch, len(at))
		if i := slices.IndexFunc(at[:size], elsewhere); i > 0 {
			size = i
		}
		batch, err := r.doom(ctx, m, at[:size])
		if err != nil {
			return n, err
		}
		killpoint.Reach("worker.doomed")
		err = r.take(ctx, batch)
		switch {
		case err == nil:
			n += len(batch)
			at = at[size:]
		case name == "" || !refused(err):
			return n, err
		default: // this mailbox does not keep the others
			r.failures = cmp.Or(r.failures, fmt.Errorf("mailbox %s: %w", fault.Clean(name), err))
			at = slices.DeleteFunc(at, func(i int) bool { return !elsewhere(i) })
		}
	}
	return n, nil
}

// refused says whether an error may be about one mailbox alone.
func refused(err error) bool {
	switch fault.KindOf(err) {
	case fault.Auth, fault.InUse, fault.NotFound, fault.Unavailable:
		return true
	}
	return false
}

// doom returns the messages that may go.
func (r *run) doom(ctx context.Context, m mailbox, at []int) ([]remote.Item, error) {
	doomed := make([]ledger.Doomed, len(at))
	for j, i := range at {
		doomed[j] = ledger.Doomed{Key: m.keys[i], Listed: m.listing.Items[i].Size}
	}
	allowed, err := r.hold.Doom(ctx, doomed)
	if err != nil {
		return nil, err
	}
	may := make(map[ledger.Key]bool, len(allowed))
	for _, k := range allowed {
		may[k] = true
	}
	var batch []remote.Item
	for j, d := range doomed {
		if may[d.Key] {
			batch = append(batch, m.listing.Items[at[j]])
		}
	}
	return batch, nil
}

// take deletes or moves a batch.
func (r *run) take(ctx context.Context, batch []remote.Item) error {
	if r.acc.After != account.Move {
		return r.session.Delete(ctx, batch)
	}
	mover, ok := r.session.(remote.Mover)
	if !ok {
		return fault.Errorf(fault.Policy, "move", "this protocol moves nothing")
	}
	return mover.Move(ctx, batch, r.acc.MoveTo)
}

// markSeen flags what is collected and not seen yet. A refusal does not hold up the rest.
func (r *run) markSeen(ctx context.Context) error {
	m := r.mailbox()
	marker, ok := r.session.(remote.Marker)
	at := slices.DeleteFunc(m.collected(), func(i int) bool { return unnumbered(m.listing.Items[i]) })
	if !r.acc.MarkSeen || !ok || len(at) == 0 {
		return nil
	}
	unseen, err := choose(ctx, r.session, m.items(at), remote.Criteria{Unseen: true})
	if err != nil {
		return err
	}
	return marker.MarkSeen(ctx, unseen)
}

// note tells the reader of the report something; there is a bound to it.
func (r *run) note(format string, args ...any) {
	if len(r.report.Notes) < maxNotes {
		r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
	}
}

const maxNotes = 20
