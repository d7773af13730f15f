package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// TakeRequest asks for the right to hand a message over.
type TakeRequest struct {
	Slot    Slot
	Account string
	// Epoch the message was fetched under; Size and Listed as they were given to Mark.
	Epoch        string
	Key          Key
	Size, Listed int64
	// Identity is Keyer.Identity of the message, empty if it is not known; the commit keeps it.
	Identity []byte
	// Holder says who asks, for those who look into Redis.
	Holder string
}

// Verdict is the answer to Take.
type Verdict uint8

// The verdicts of Take.
const (
	Deliver Verdict = iota + 1 // the lease is taken
	Repeat                     // collected, skipped, parked or deferred, or a copy of an earlier message: drop it
	Busy                       // another delivery is at work on it; try again after Taken.Wait
	NoEpoch                    // no index: hold the message until a run opened one, in the slot the directory names
	Gone                       // the account was deleted: drop the message
	Moved                      // the account lives in Taken.Slot
)

// String returns the word of a verdict.
func (v Verdict) String() string {
	words := [...]string{"unknown", "deliver", "repeat", "busy", "no-epoch", "gone", "moved"}
	if int(v) < len(words) {
		return words[v]
	}
	return words[0]
}

// Taken is the answer to Take.
type Taken struct {
	Verdict Verdict
	Wait    time.Duration
	Slot    Slot
	// Lease, and what follows, is set with Deliver.
	Lease *Lease
	// Attempts counts deliveries that neither ended nor gave back, this one included. Poison says that they
	// are too many: do not hand over, bury.
	Attempts int
	Poison   bool
	// Adopted says that the message comes from an older epoch than the lease.
	Adopted bool
	// Route is what an earlier delivery decided; Served are the recipients that have the message.
	Route  []byte
	Served []string
}

// Lease is the right to hand one message over. It is used by one goroutine, but for Renew.
type Lease struct {
	Account string
	Key     Key
	// Epoch of the index when the lease was taken: the commit writes under it alone.
	Epoch  string
	Token  string
	Listed int64

	identity []byte

	now    func() time.Time
	mu     sync.Mutex
	slot   Slot
	until  time.Time
	route  []byte
	served []string
}

// Slot is where the account lives, as far as this lease has seen.
func (le *Lease) Slot() Slot {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.slot
}

// Left is for how long the lease is surely ours: counted from the start of the last call that extended it.
func (le *Lease) Left() time.Duration {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.until.Sub(le.now())
}

func (le *Lease) extend(attempt time.Time, d time.Duration) {
	le.mu.Lock()
	defer le.mu.Unlock()
	le.until = attempt.Add(d)
}

// Take asks for the lease on a message; calls for one account that come at once share a script. Every other live lease is another's, also one of the same holder.
func (l *Ledger) Take(ctx context.Context, req TakeRequest) (Taken, error) {
	const op = "ledger take"
	if err := names(op, req.Slot, req.Account); err != nil {
		return Taken{}, err
	}
	raw, err := rawOf(op, req.Key)
	if err != nil {
		return Taken{}, err
	}
	lease := &Lease{Account: req.Account, Key: req.Key, Token: nonce(), Listed: max(req.Listed, 0), identity: req.Identity, now: l.now, slot: req.Slot}
	if word(req.Holder) {
		lease.Token += "." + req.Holder
	}
	attempt := l.now()
	reply, err := l.takes.do(ctx, line{req.Slot, req.Account}, lease.Token, raw, max(req.Size, 0), lease.Listed)
	var moved *MovedError
	switch {
	case errors.Is(err, ErrGone):
		return Taken{Verdict: Gone}, nil
	case errors.As(err, &moved) && moved.Moving:
		return Taken{Verdict: NoEpoch}, nil
	case errors.As(err, &moved):
		return Taken{Verdict: Moved, Slot: moved.To}, nil
	case err != nil:
		return Taken{}, err
	}
	switch text(reply, 0) {
	case "NO-EPOCH":
		return Taken{Verdict: NoEpoch}, nil
	case "REPEAT":
		return Taken{Verdict: Repeat}, nil
	case "BUSY":
		return Taken{Verdict: Busy, Wait: time.Duration(number(reply, 1)) * time.Millisecond}, nil
	}
	lease.Epoch = text(reply, 2)
	lease.extend(attempt, l.cfg.DeliveryLease)
	// A blob that cannot be read is none: the message is then handed over to everybody.
	lease.route, lease.served, _ = parseBlob(text(reply, 4))
	return Taken{Verdict: Deliver, Lease: lease, Attempts: int(number(reply, 1)), Poison: number(reply, 3) == 1,
		Adopted: req.Epoch != lease.Epoch, Route: lease.route, Served: slices.Clone(lease.served)}, nil
}

// Renew extends the lease. ErrLeaseLost says that somebody else has acted on the message since.
func (l *Ledger) Renew(ctx context.Context, le *Lease) error {
	attempt := l.now()
	if _, err := l.leased(ctx, "extend", le, l.cfg.DeliveryLease.Milliseconds()); err != nil {
		return err
	}
	le.extend(attempt, l.cfg.DeliveryLease)
	return nil
}

// Record keeps in the mark what recipients were served, beside those recorded before, and the route, unless
// route is nil; an empty one is forgotten. It extends the lease.
func (l *Ledger) Record(ctx context.Context, le *Lease, route []byte, served []string) error {
	all := slices.Clone(le.served)
	for _, s := range served {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if route == nil {
		route = le.route
	}
	attempt := l.now()
	if _, err := l.leased(ctx, "record", le, l.cfg.DeliveryLease.Milliseconds(), blob(route, all)); err != nil {
		return err
	}
	le.route, le.served = route, all
	le.extend(attempt, l.cfg.DeliveryLease)
	return nil
}

// Return gives the lease back: the attempt does not count, the mark stays.
func (l *Ledger) Return(ctx context.Context, le *Lease) error {
	_, err := l.leased(ctx, "return", le)
	return err
}

// Defer gives the message back to the remote for d: the key is deferred, its mark removed.
func (l *Ledger) Defer(ctx context.Context, le *Lease, d time.Duration) error {
	_, err := l.leased(ctx, "defer", le, d.Milliseconds())
	return err
}

// Park records that the message lies in DEAD. Under another epoch than the lease's it only ends the mark.
func (l *Ledger) Park(ctx context.Context, le *Lease) error {
	_, err := l.leased(ctx, "park", le)
	return err
}

// Commit records that the destination accepted the message; calls for one account that come at once share a
// script. It needs no live lease and may be repeated.
// wrote is false if it was collected already, if the epoch of the lease is over, or if index or account are gone.
// With any error the outcome is not recorded: repeat until there is none.
func (l *Ledger) Commit(ctx context.Context, le *Lease) (wrote bool, err error) {
	raw, err := rawOf("ledger commit", le.Key)
	if err != nil {
		return false, err
	}
	reply, err := follow("ledger commit", le, func(slot Slot) ([]any, error) {
		return l.commits.do(ctx, line{slot, le.Account}, le.Token, raw, le.Epoch, FoldSize(le.Listed), le.Listed, le.identity)
	})
	if errors.Is(err, ErrLeaseLost) {
		return false, nil
	}
	return err == nil && number(reply, 1) == 1, err
}

// Pass records that the destination accepted a notice of the message in its place: the key is skipped, so that the
// message itself is neither fetched nor ever deleted. Else it is as Commit.
func (l *Ledger) Pass(ctx context.Context, le *Lease) (wrote bool, err error) {
	raw, err := rawOf("ledger pass", le.Key)
	if err != nil {
		return false, err
	}
	reply, err := follow("ledger pass", le, func(slot Slot) ([]any, error) {
		return l.run(ctx, "pass", slot.accountKeys(le.Account), le.Token, raw, le.Epoch, FoldSize(le.Listed), le.Listed)
	})
	if errors.Is(err, ErrLeaseLost) {
		return false, nil
	}
	return err == nil && number(reply, 1) == 1, err
}

// leased runs a script that needs the lease.
func (l *Ledger) leased(ctx context.Context, name string, le *Lease, args ...any) ([]any, error) {
	raw, err := rawOf("ledger "+name, le.Key)
	if err != nil {
		return nil, err
	}
	return follow("ledger "+name, le, func(slot Slot) ([]any, error) {
		return l.run(ctx, name, slot.accountKeys(le.Account), append([]any{le.Token, raw}, args...)...)
	})
}

// maxHops bounds how many signposts are followed.
const maxHops = 4

// follow calls do, again in another slot where the account was moved there. A move that has not ended is the
// MovedError; an account that is nowhere has lost its leases.
func follow(op string, le *Lease, do func(Slot) ([]any, error)) ([]any, error) {
	slot := le.Slot()
	for range maxHops {
		reply, err := do(slot)
		var moved *MovedError
		switch {
		case errors.As(err, &moved) && !moved.Moving:
			slot = moved.To
			continue
		case err != nil:
			return nil, err
		case text(reply, 0) == "NO-EPOCH":
			return nil, fault.New(fault.Canceled, op, ErrLeaseLost)
		}
		le.mu.Lock()
		le.slot = slot
		le.mu.Unlock()
		return reply, nil
	}
	return nil, fault.New(fault.Canceled, op, ErrLeaseLost)
}
