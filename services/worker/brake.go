package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"go.uber.org/zap"
)

const (
	// maxStorm is how many runs in a row may fail to get through a UID storm; then what is left counts as new.
	maxStorm = 5
	// maxResized is how many messages with another size than once are looked at in a run.
	maxResized = 100
	// maxDrift is how many sizes may be others at once, though they are most, without the server's being taken for one
	// whose sizes drift: there, a header that tells nothing decides nothing.
	maxDrift = 3
)

var errStorm = errors.New("the server numbers its messages anew; what is under way under the old numbers comes first")

// brake is the UID storm brake: where most known unique-ids vanished at once, or UIDVALIDITY changed, what is
// listed is compared by header with what was collected. A match is collected; the rest is new, and so is what the
// header does not tell. What is in flight under an old key has no identity in the index yet: it is waited for.
// Nothing is fetched before that, and a storm that a run leaves behind is gone on with.
func (r *run) brake(ctx context.Context) error {
	at := r.renumbered()
	if len(at) == 0 && (!r.index.Storm() || !r.listing.Complete) {
		return nil
	}
	if err := r.askInFlight(ctx); err != nil {
		return err
	}
	if at = r.renumbered(); r.oldUnderWay() {
		return fault.New(fault.BackPressure, "uid storm", errStorm)
	}
	runs, known, err := r.hold.Storm(ctx)
	if err != nil {
		return err
	}
	over := runs > maxStorm
	if over {
		r.note("the server numbered its messages anew, and %d runs could not compare them: %d count as new", maxStorm, len(at))
		r.log.Warn("UID storm: given up comparing; what is left counts as new", zap.Int("runs", runs))
	} else if err := r.match(ctx, known, at); err != nil {
		return err
	} else {
		over = r.listing.Complete && r.report.Matched == 0
	}
	if err := r.hold.Calm(ctx, over); err != nil {
		return err
	}
	r.index, err = r.hold.Reload(ctx)
	return err
}

// renumbered returns the positions of what may be known under another name: also of what has one of another form now,
// since the server began to give UIDVALIDITY, or gives it no more.
func (r *run) renumbered() []int {
	at, byContent := r.index.Renumbered(r.keys, r.held), r.index.ByContent()
	for i, it := range r.listing.Items {
		k := r.keys[i]
		if !unnumbered(it) && !byContent || it.Mailbox == "" || k == "" || r.held[string(k)] || r.index.State(k) != ledger.StateNew {
			continue
		}
		if m, _ := r.index.Mark(k); m.Leased {
			continue
		}
		knows := r.index.Validity(r.w.Keyer.IMAP(it.Mailbox, 0, 0)) != 0 // by number
		if unnumbered(it) == knows {
			at = append(at, i)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// oldUnderWay says that a message is in flight whose key is not listed.
func (r *run) oldUnderWay() bool {
	listed := make(map[string]bool, len(r.keys))
	for _, k := range r.keys {
		listed[string(k)] = true
	}
	for k := range r.held {
		if !listed[k] {
			return true
		}
	}
	for k, m := range r.index.Marks() {
		if m.Leased && !listed[string(k)] {
			return true
		}
	}
	return false
}

// match compares what is listed at these positions with what was collected. A header that more messages have
// than were collected with it tells nothing of them.
func (r *run) match(ctx context.Context, known ledger.Digests, at []int) error {
	var news, olds []int
	for _, i := range at {
		if r.index.State(r.keys[i]) == ledger.StateNew {
			news = append(news, i)
		} else if r.listing.Items[i].UniqueID != "" {
			olds = append(olds, i)
		}
	}
	have := make(map[string]int)
	there, err := r.probe(ctx, olds)
	if err != nil {
		return err
	}
	for _, p := range there {
		have[string(p.id)]++
	}
	there, err = r.certain(ctx, known, olds, there)
	if err == nil {
		err = r.usedByOthers(ctx, known, there)
	}
	if err != nil {
		return err
	}
	found, err := r.probe(ctx, news) // what was found before an error counts
	for _, p := range found {
		have[string(p.id)]++
	}
	var same, unlike []ledger.Item
	for _, p := range found {
		item := ledger.Item{Key: r.keys[p.at], Listed: r.listing.Items[p.at].Size}
		switch n, alike := known.Of(p.id, item.Listed); {
		case n == 0 || n < have[string(p.id)] || anonymous(p.id) || p.weak && !alike:
		case alike:
			same = append(same, item)
		default:
			unlike = append(unlike, item)
		}
	}
	return errors.Join(err, r.matched(ctx, same, unlike, len(found)))
}

// certain returns those of the probed messages of which their headers tell whether they were collected. The names
// of the others among the messages at these positions are not to be trusted any more, by this run or a later one:
// they are not collected again, and never deleted.
func (r *run) certain(ctx context.Context, known ledger.Digests, at []int, found []probed) ([]probed, error) {
	tells := make(map[int]bool)
	certain := slices.DeleteFunc(found, func(p probed) bool {
		n, _ := known.Of(p.id, 0)
		tells[p.at] = !anonymous(p.id) && (n > 0 || known.Covers(r.index))
		return !tells[p.at]
	})
	var doubtful []ledger.Item
	for _, i := range at {
		if !tells[i] {
			doubtful = append(doubtful, ledger.Item{Key: r.keys[i], Listed: r.listing.Items[i].Size})
		}
	}
	if len(doubtful) == 0 {
		return certain, nil
	}
	r.note("the server numbered its messages anew, and %d that kept their unique-ids may be others: they stay at the remote server", len(doubtful))
	r.log.Warn("messages that kept their unique-ids in a UID storm, and whose headers do not tell, stay", zap.Int("messages", len(doubtful)))
	return certain, r.hold.Doubt(ctx, doubtful)
}

func anonymous(id []byte) bool { return string(id) == string(make([]byte, len(id))) }

// matched records what is known again. What has another size than once is skipped: it is never deleted.
func (r *run) matched(ctx context.Context, same, unlike []ledger.Item, of int) error {
	n := len(same) + len(unlike)
	if n == 0 {
		return nil
	}
	if err := errors.Join(r.hold.Match(ctx, same), r.hold.Skip(ctx, unlike)); err != nil {
		return err
	}
	r.report.Matched = int64(n)
	r.w.metrics.messages.WithLabelValues("matched").Add(float64(n))
	r.note("the server numbered its messages anew: %d of %d are known again by their headers and not collected twice", n, of)
	if len(unlike) > 0 {
		r.note("%d of them have another size than when they were collected: they stay at the remote server", len(unlike))
	}
	r.log.Warn("the server numbered its messages anew", zap.Int("messages", of), zap.Int("matched", n), zap.Int("of another size", len(unlike)))
	return nil
}

// resized returns the positions of the collected messages that are listed with another size than once, and how
// many are not. A name that was made of the content stands for it, whatever its size.
func (r *run) resized(at []int) (other []int, same int) {
	for _, i := range at {
		it := r.listing.Items[i]
		if it.UniqueID == "" || r.index.State(r.keys[i]) != ledger.StateCollected {
			continue
		}
		if was, ok := r.index.Listed(r.keys[i]); !ok || was == 0 || it.Size == 0 || was == ledger.FoldSize(it.Size) {
			same++
			continue
		}
		other = append(other, i)
	}
	return other, same
}

// usedAgain looks at the headers of collected messages that have another size than once: either the server
// counts otherwise now, or it gave the unique-id to another message, which is new. Where the index does not know
// all that it collected, nothing is decided: such a message is neither collected nor deleted.
func (r *run) usedAgain(ctx context.Context) error {
	all := make([]int, len(r.keys))
	for i := range all {
		all[i] = i
	}
	at, same := r.resized(all)
	if len(at) == 0 {
		return nil
	}
	known, err := r.hold.Digests(ctx)
	if err != nil || !known.Covers(r.index) {
		return err
	}
	drift := len(at) > max(same, maxDrift)
	turn := int(r.index.Time().UnixMilli() % int64(len(at))) // so that each has its turn
	at = slices.Concat(at[turn:], at[:turn])
	found, err := r.probe(ctx, at[:min(len(at), maxResized)])
	if err != nil {
		return err
	}
	if drift {
		found = slices.DeleteFunc(found, func(p probed) bool { return anonymous(p.id) })
	}
	if err := r.usedByOthers(ctx, known, found); err != nil {
		return err
	}
	r.index, err = r.hold.Reload(ctx)
	return err
}

// usedByOthers makes those collected keys new whose messages were never collected, as far as their headers tell,
// and puts the sizes of the others right.
func (r *run) usedByOthers(ctx context.Context, known ledger.Digests, found []probed) error {
	var again []ledger.Key
	var same []ledger.Item
	for _, p := range found {
		size := r.listing.Items[p.at].Size
		was, _ := r.index.Listed(r.keys[p.at])
		moved := was != ledger.FoldSize(size)
		n, _ := known.Of(p.id, size)
		switch {
		case n == 0 || moved && anonymous(p.id):
			again = append(again, r.keys[p.at])
		case moved:
			same = append(same, ledger.Item{Key: r.keys[p.at], Listed: size})
		}
	}
	if len(again) > 0 {
		r.note("the server uses %d unique-ids again for other messages, which are new", len(again))
		r.log.Warn("the server uses unique-ids again for other messages", zap.Int("messages", len(again)))
	}
	return errors.Join(r.hold.Reused(ctx, again), r.hold.Match(ctx, same))
}

// strangers are those of the messages at these positions, all collected, that may be others than those that were
// collected: of another size, and not known by their header. They are not deleted.
func (r *run) strangers(ctx context.Context, at []int) (map[int]bool, error) {
	other, _ := r.resized(at)
	other = slices.DeleteFunc(other, func(i int) bool { _, asked := r.strange[i]; return asked })
	if len(other) == 0 {
		return r.strange, nil
	}
	known, err := r.hold.Digests(ctx)
	if err != nil {
		return nil, err
	}
	if r.strange == nil {
		r.strange = make(map[int]bool)
	}
	for _, i := range other {
		r.strange[i] = true
	}
	stay := len(other)
	found, err := r.probe(ctx, other)
	for _, p := range found {
		if n, _ := known.Of(p.id, 0); n > 0 && !anonymous(p.id) {
			r.strange[p.at] = false
			stay--
		}
	}
	if stay > 0 {
		r.note("%d messages have another size than when they were collected: they are not deleted", stay)
		r.log.Warn("messages of another size than collected are not deleted", zap.Int("messages", stay))
	}
	return r.strange, err
}
