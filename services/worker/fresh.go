package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	"go.uber.org/zap"
)

// candidate is a listed message that nobody has and nobody is bringing.
type candidate struct {
	item remote.Item
	key  ledger.Key
	// seen is the mark that an earlier attempt left, as it was read; empty if none.
	seen string
	// attempts counts the earlier ones.
	attempts int
	// notice: it is too large, and only a notice of it is handed over.
	notice bool
}

// octets is what the candidate counts as in flight.
func (c candidate) octets() int64 {
	if c.notice {
		return noticeOctets
	}
	return c.item.Size
}

// whatIsNew is step 4: listed − collected − skipped − parked − deferred (see resume) − (marked, and held by TRANSIT or
// under a live lease of a delivery; the last is judged by the script that marks).
func (r *run) whatIsNew(ctx context.Context) ([]candidate, error) {
	if err := r.nameKeys(ctx); err != nil {
		return nil, err
	}
	opened, err := r.openEpoch(ctx)
	if err != nil {
		return nil, err
	}
	resumed, err := r.resume(ctx)
	if err != nil {
		return nil, err
	}
	if opened || resumed || r.index.Counts().Marked > 0 {
		if err := r.askInFlight(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.brake(ctx); err != nil {
		return nil, err
	}
	if err := r.observe(ctx); err != nil {
		return nil, err
	}
	if err := r.usedAgain(ctx); err != nil {
		return nil, err
	}
	return r.mailbox().fresh(r.held), nil
}

// resume has a run that goes on in spite of a pause, or that was asked for by hand, bring what is deferred, too: whoever
// asked has made room, or mended the destination. It says whether it changed the index. What is refused again is deferred again.
func (r *run) resume(ctx context.Context) (bool, error) {
	_, paused := r.index.Pause()
	if !paused && (!r.byHand || r.index.Counts().Deferred == 0) {
		return false, nil
	}
	return true, r.hold.Resume(ctx)
}

// askInFlight asks TRANSIT first, then reads index and marks again: a message that was committed between the two
// is seen as collected; the other way round it would be seen nowhere.
func (r *run) askInFlight(ctx context.Context) error {
	var err error
	if r.held, err = r.w.Transit.Held(ctx, r.acc.UID); err != nil {
		return fault.Wrap(fault.BackPressure, "ask transit what is in flight", err)
	}
	r.index, err = r.hold.Reload(ctx)
	return err
}

// fresh returns what is listed and new, but for what TRANSIT holds. What did not end well before comes last, so
// that it keeps nothing else.
func (m mailbox) fresh(held map[string]bool) []candidate {
	var fresh []candidate
	var known map[ledger.Key]bool
	for i, k := range m.keys {
		if k == "" || held[string(k)] || known[k] || m.index.State(k) != ledger.StateNew {
			continue
		}
		if left := len(m.keys) - i; known == nil {
			known, fresh = make(map[ledger.Key]bool, left), make([]candidate, 0, left)
		}
		mark, _ := m.index.Mark(k)
		known[k] = true
		fresh = append(fresh, candidate{item: m.listing.Items[i], key: k, seen: mark.Raw, attempts: mark.Attempts})
	}
	slices.SortStableFunc(fresh, byAttempts)
	return fresh
}

func byAttempts(a, b candidate) int { return cmp.Compare(a.attempts, b.attempts) }

// nameKeys finds the key of every listed message.
func (r *run) nameKeys(ctx context.Context) error {
	if nameless := r.nameListed(); len(nameless) > 0 {
		return r.nameByContent(ctx, nameless)
	}
	return nil
}

// nameListed finds the keys that the listing gives, and returns the messages that have none.
func (r *run) nameListed() (nameless []remote.Item) {
	r.keys = make([]ledger.Key, len(r.listing.Items))
	boxes := make(map[string]string) // mailboxes by what the ledger calls them
	var of remote.Item
	var keyOf func(uid uint32) ledger.Key
	for i, it := range r.listing.Items {
		switch {
		case it.UIDValidity != 0:
			if keyOf == nil || it.Mailbox != of.Mailbox || it.UIDValidity != of.UIDValidity {
				keyOf, of = r.w.Keyer.Box(it.Mailbox, it.UIDValidity), it
			}
			k := keyOf(it.UID)
			if m, ok := boxes[k.Mailbox()]; ok && m != it.Mailbox {
				continue // two in 2^32 that are called alike: the index has room for one
			}
			boxes[k.Mailbox()], r.keys[i] = it.Mailbox, k
		case it.UniqueID != "":
			r.keys[i] = r.w.Keyer.UniqueID(it.UniqueID)
		case r.nameless[handle(it)]:
		default:
			nameless = append(nameless, it)
		}
	}
	return nameless
}

// openEpoch makes an index where there is none, and says whether it changed the index. An account whose
// directory record says that it had collected has lost its index: its policy decides. What an account passes
// over when it starts is passed over here. The record comes last: without it, this is done again.
func (r *run) openEpoch(ctx context.Context) (bool, error) {
	c := r.index.Counts()
	epoch := r.hold.Epoch()
	if epoch != "" && c.Collected+c.Marked > 0 {
		return false, nil
	}
	had, err := r.w.Directory.Collection(ctx, r.acc.UID)
	if err != nil || epoch != "" && had.Epoch == epoch {
		return false, err
	}
	opened := epoch == ""
	if opened {
		epoch = rand.Text()
		if had.Epoch != "" {
			r.log.Warn("the UID index of this account is lost", zap.String("policy", string(r.acc.OnIndexLoss)), zap.Time("collecting_since", had.Since))
		}
		if err := r.hold.OpenEpoch(ctx, epoch); err != nil {
			return false, err
		}
		killpoint.Reach("worker.epoch-opened")
	}
	over := passesOver(r.acc, had.Epoch != "")
	if over {
		if err := r.baseline(ctx); err != nil {
			return false, err
		}
	}
	if len(r.listing.Items) == 0 && !over { // nothing came of it yet
		return opened, nil
	}
	return opened || over, r.collecting(ctx, epoch)
}

// passesOver says whether an account that starts, or one that has lost its index, passes over what is
// listed, or a part of it.
func passesOver(a account.Account, lost bool) bool {
	return a.StartDays > 0 || lost && a.OnIndexLoss == account.Baseline || !lost && a.StartDays == account.StartNow
}

// collecting puts on record that the account collects under the epoch.
func (r *run) collecting(ctx context.Context, epoch string) error {
	return r.w.Directory.UpdateCollection(ctx, r.acc.UID, func(c *directory.Collection) { c.Epoch, c.Since = epoch, time.Now() })
}

// whole are the mailboxes that are listed whole, as the ledger calls them.
func (r *run) whole() []string {
	var names []string
	if r.listing.Complete { // also of what IMAP gives no UIDVALIDITY
		names = append(names, ledger.Maildrop)
	}
	for _, m := range r.listing.Mailboxes {
		if m.Whole {
			names = append(names, r.w.boxOf(m.Name))
		}
	}
	return names
}

// baseline passes over everything that is listed now, except the last days that an account starts with. What
// TRANSIT still holds is left out: it is on its way and arrives.
func (r *run) baseline(ctx context.Context) error {
	held, err := r.w.Transit.Held(ctx, r.acc.UID)
	if err != nil {
		return fault.Wrap(fault.BackPressure, "ask transit what is in flight", err)
	}
	wanted, err := r.lastDays(ctx)
	if err != nil {
		return err
	}
	var skips []ledger.Item
	for i, k := range r.keys {
		if k != "" && !held[string(k)] && !wanted[handle(r.listing.Items[i])] {
			skips = append(skips, ledger.Item{Key: k, Listed: r.listing.Items[i].Size})
		}
	}
	if err := r.hold.Skip(ctx, skips); err != nil {
		return err
	}
	r.note("%d of %d messages that were there when the account started are passed over", len(skips), len(r.keys))
	r.log.Info("baseline: what is listed now is passed over", zap.Int("messages", len(skips)))
	return nil
}

// lastDays are the messages of the days that the account starts with.
func (r *run) lastDays(ctx context.Context) (map[itemHandle]bool, error) {
	if r.acc.StartDays <= 0 {
		return nil, nil
	}
	since := r.index.Time().AddDate(0, 0, -r.acc.StartDays)
	items, err := choose(ctx, r.session, r.listing.Items, remote.Criteria{Since: since})
	wanted := make(map[itemHandle]bool, len(items))
	for _, it := range items {
		wanted[handle(it)] = true
	}
	return wanted, err
}

// admit applies the account's limits to what is new: it returns what is fetched in this run.
func (r *run) admit(ctx context.Context, fresh []candidate) ([]candidate, error) {
	today, err := r.today(ctx)
	if err != nil {
		return nil, err
	}
	take, large, left, daily := admitted(r.acc, today, fresh, r.w.cfg.Batch)
	if daily && (len(take) > 0 || r.claim.Trigger == queue.Manual) { // said once a day, and to who asks
		r.note("the account's limit for a day is reached: %d messages are left until %s", left, today.Ends.Format(time.RFC3339))
	}
	if r.acc.Oversize == account.Notice {
		notices, more := noticed(large)
		for _, c := range notices {
			r.note("%s has %d octets, more than the %d of the account's limit: a notice is handed over in its place", nameOf(c.item), c.item.Size, r.acc.MaxMessageSize)
		}
		take, large, left = append(take, notices...), nil, left+more
	}
	var skips []ledger.Item
	for _, c := range large {
		skips = append(skips, ledger.Item{Key: c.key, Listed: c.item.Size})
		r.note("%s has %d octets, more than the %d of the account's limit: it is passed over", nameOf(c.item), c.item.Size, r.acc.MaxMessageSize)
	}
	r.report.Skipped, r.report.Left = int64(len(large)), int64(left)
	return take, r.hold.Skip(ctx, skips)
}

// today is what was fetched today, where the account has a limit of it.
func (r *run) today(ctx context.Context) (ledger.Day, error) {
	if !r.acc.PerDay() {
		return ledger.Day{}, nil
	}
	return r.w.Ledger.Day(ctx, r.acc.UID)
}

// observe tells the ledger what is listed whole, so that it forgets what is gone.
func (r *run) observe(ctx context.Context) error {
	if !r.listing.Complete {
		r.log.Warn("the listing contradicts itself; where it does, nothing is deleted or forgotten in this run", zap.String("note", r.listing.Note))
	}
	whole := r.whole()
	if len(whole) == 0 {
		return nil
	}
	for _, k := range r.keys {
		if k == "" {
			return nil // a message without a name might be any of them
		}
	}
	listed := make([]ledger.Item, len(r.keys))
	for i, k := range r.keys {
		listed[i] = ledger.Item{Key: k, Listed: r.listing.Items[i].Size}
	}
	if err := r.hold.Seen(ctx, listed, whole...); err != nil || r.index.Counts().Deleting == 0 {
		return err
	}
	var err error
	r.index, err = r.hold.Reload(ctx) // what was deleted is forgotten now; what came back with another size is new
	return err
}

// failed notes a failure of one message; the run goes on.
func (r *run) failed(it remote.Item, err error) {
	r.report.Failed++
	r.w.metrics.messages.WithLabelValues("failed").Inc()
	name := nameOf(it)
	r.log.Warn("a message is passed over in this run", zap.String("message", name), zap.Error(err))
	if r.failures == nil {
		r.failures = fmt.Errorf("%s: %w", name, err)
	}
}

// nameOf is how people are told of a message.
func nameOf(it remote.Item) string {
	if it.UID != 0 {
		return fmt.Sprintf("message with UID %d", it.UID)
	}
	return fmt.Sprintf("message %d", it.Number)
}
