package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/transit"
)

// flight follows the messages of an account between being marked and being accepted: it bounds them, and
// it knows what a run still waits for. Receipts are hints; the index is read when none comes.
type flight struct {
	r        *run
	receipts <-chan []transit.Receipt
	stop     func()

	mu      sync.Mutex
	waiting map[ledger.Key]flying
	bytes   int64
	undo    []ledger.Key // marked, and known not to be in TRANSIT
	err     error        // TRANSIT does not take more
}

// flying is a message in flight.
type flying struct {
	octets int64
	mine   bool // fetched by this run
}

// follow starts to follow what is in flight of the account.
func (r *run) follow(ctx context.Context) (*flight, error) {
	ch, stop, err := r.w.Transit.Receipts(ctx, r.acc.UID)
	if err != nil {
		return nil, err
	}
	f := &flight{r: r, receipts: ch, stop: stop, waiting: map[ledger.Key]flying{}}
	for k, m := range r.index.Marks() {
		if r.held[string(k)] { // what an attempt left and TRANSIT has not never lands
			f.waiting[k] = flying{octets: m.Size}
			f.bytes += m.Size
		}
	}
	return f, nil
}

// room says how many of the candidates may be taken in flight now, beside those that are marked and not fetched yet, with
// their octets.
func (f *flight) room(fresh []candidate, most, marked int, octets int64) int {
	f.poll()
	f.mu.Lock()
	defer f.mu.Unlock()
	n, bytes, waiting := 0, f.bytes+octets, len(f.waiting)+marked
	for n < min(most, len(fresh)) && waiting+n < f.r.w.cfg.InFlight {
		c := fresh[n]
		if bytes+c.octets() > f.r.w.cfg.InFlightBytes && waiting+n > 0 {
			break
		}
		if c.notice != fresh[0].notice {
			break // headers are read apart from messages
		}
		if c.seen != "" && n > 0 {
			break // an earlier attempt did not end: alone, so that a poison message takes no other with it
		}
		bytes += c.octets()
		n++
		if c.seen != "" {
			break
		}
	}
	return n
}

// takeOff counts a message as in flight.
func (f *flight) takeOff(key ledger.Key, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += size - f.waiting[key].octets
	f.waiting[key] = flying{size, true}
}

// lost says that the message is not in TRANSIT because its body did not come; its mark stays, as an attempt.
func (f *flight) lost(key ledger.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.land(key)
}

// published is told of every PubAck.
func (f *flight) published(key ledger.Key, size int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, transit.ErrHeld):
		f.r.report.Fetched++
		f.r.report.Bytes += size
		f.r.w.metrics.fetched.Inc()
		f.r.w.metrics.bytes.Add(float64(size))
		f.r.show.fetched(size)
	case errors.Is(err, transit.ErrFull):
		f.undo = append(f.undo, key)
		f.land(key)
		f.err = err
	default: // nobody knows whether it was stored: the mark stays, and the next run asks TRANSIT
		f.land(key)
		f.err = fault.Wrap(fault.BackPressure, "publish to transit", err)
	}
}

// octets are those that the run has published.
func (f *flight) octets() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.r.report.Bytes
}

// land takes a message that is in flight, if it is, out of it.
func (f *flight) land(key ledger.Key) (m flying, ok bool) {
	if m, ok = f.waiting[key]; ok {
		f.bytes -= m.octets
		delete(f.waiting, key)
	}
	return m, ok
}

// refused returns why TRANSIT takes no more.
func (f *flight) refused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// unpublished returns the marked messages that are known not to be in TRANSIT.
func (f *flight) unpublished() []ledger.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.undo
}

// poll takes the receipts that have come.
func (f *flight) poll() {
	for {
		select {
		case keys, ok := <-f.receipts:
			if !ok {
				f.receipts = nil
				return
			}
			f.accepted(keys)
		default:
			return
		}
	}
}

// accepted takes receipts; it answers whether one was waited for.
func (f *flight) accepted(receipts []transit.Receipt) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, any := int64(0), false
	for _, receipt := range receipts {
		m, ok := f.land(ledger.Key(receipt.Key))
		any = ok || any
		if m.mine {
			f.r.count(receipt.Fate)
			n++
		}
	}
	f.r.report.Delivered += n
	if n > 0 {
		f.r.show.delivered(n)
	}
	return any
}

func (f *flight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting)
}

// errNoReceipts ends a wait in which nothing happened.
var errNoReceipts = fault.Errorf(fault.BackPressure, "wait for receipts", "the destination has accepted nothing for a while")

// waitForRoom waits until half a batch landed, or half of what is in flight: each batch is a question to the server.
func (f *flight) waitForRoom(ctx context.Context) error {
	was := f.count()
	enough := max(1, min(f.r.w.cfg.Batch, was)/2)
	return f.wait(ctx, func() bool { return f.count() <= was-enough })
}

// waitForAll waits until nothing is in flight any more.
func (f *flight) waitForAll(ctx context.Context) error {
	return f.wait(ctx, func() bool { return f.count() == 0 })
}

// wait returns nil when done, and [errNoReceipts] when nothing landed for as long as the run's patience.
func (f *flight) wait(ctx context.Context, done func() bool) error {
	patience := time.NewTimer(f.r.w.cfg.Patience)
	defer patience.Stop()
	recheck := time.NewTicker(f.r.w.cfg.Recheck)
	defer recheck.Stop()
	for !done() {
		landed := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience.C:
			return errNoReceipts
		case keys, ok := <-f.receipts:
			if !ok {
				f.receipts = nil
				continue
			}
			landed = f.accepted(keys)
		case <-recheck.C:
			var err error
			if landed, err = f.reread(ctx); err != nil {
				return err
			}
		}
		if landed {
			patience.Reset(f.r.w.cfg.Patience)
		}
	}
	return nil
}

// reread asks the index what has landed: a receipt may have been lost.
func (f *flight) reread(ctx context.Context) (landed bool, err error) {
	ix, err := f.r.hold.Reload(ctx)
	if err != nil {
		return false, err
	}
	f.r.index = ix
	f.mu.Lock()
	var gone []string
	var collected []transit.Receipt
	for k := range f.waiting {
		switch ix.State(k) {
		case ledger.StateNew: // marked
		case ledger.StateCollected, ledger.StateDeleting:
			collected = append(collected, transit.Receipt{Key: string(k)})
		default: // parked or deferred: it will not land in this run
			gone = append(gone, string(k))
		}
	}
	for _, k := range gone {
		f.land(ledger.Key(k))
	}
	f.mu.Unlock()
	return f.accepted(collected) || len(gone) > 0, nil
}

// maxTiers bounds the tiers of a report.
const maxTiers = 16

// count adds a delivered message to the report by its fate; what an index that was read again says has none.
func (r *run) count(fate string) {
	switch fate {
	case "":
	case "duplicate":
		r.report.Duplicates++
	case "discarded":
		r.report.Discarded++
	default:
		if r.report.Tiers == nil {
			r.report.Tiers = map[string]int64{}
		}
		if _, ok := r.report.Tiers[fate]; ok || len(r.report.Tiers) < maxTiers {
			r.report.Tiers[fate]++
		}
	}
}
