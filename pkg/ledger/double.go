package ledger

import (
	"context"
	"time"
)

// maxDoubles bounds the digests that are kept of an account. Where there are more within the window, the older half is
// forgotten: a double of those is handed over.
const maxDoubles = 10_000

// Claimed is the answer to Claim.
type Claimed uint8

// The answers to Claim.
const (
	First     Claimed = iota + 1 // the digest is this message's from now on, as it may have been before
	Double                       // the message of another key was accepted within the window: drop this one
	Accepted                     // this very message was accepted by everybody who gets it, and that was not committed
	Undecided                    // another message with it is being handed over; try again after a while
)

// Claim asks whether a message with that digest was accepted under another key of the account, no longer ago than the
// window, and makes the digest this key's if none was. What was claimed and never accepted hinders nobody whose owner is
// not being handed over right now. wait is set with Undecided.
func (l *Ledger) Claim(ctx context.Context, le *Lease, digest []byte, window time.Duration) (c Claimed, wait time.Duration, err error) {
	reply, err := l.doubles(ctx, "claim", le, digest, window, maxDoubles)
	if err != nil {
		return 0, 0, err
	}
	switch text(reply, 1) {
	case "DOUBLE":
		return Double, 0, nil
	case "ACCEPTED":
		return Accepted, 0, nil
	case "BUSY":
		return Undecided, time.Duration(number(reply, 2)) * time.Millisecond, nil
	}
	return First, 0, nil
}

// Own records that the message with the digest was accepted by everybody who gets it, whoever has claimed it meanwhile.
// It comes before Commit: what it says stays true if that never happens.
func (l *Ledger) Own(ctx context.Context, le *Lease, digest []byte, window time.Duration) error {
	_, err := l.doubles(ctx, "own", le, digest, window)
	return err
}

func (l *Ledger) doubles(ctx context.Context, name string, le *Lease, digest []byte, window time.Duration, more ...any) ([]any, error) {
	raw, err := rawOf("ledger "+name, le.Key)
	if err != nil {
		return nil, err
	}
	return follow("ledger "+name, le, func(slot Slot) ([]any, error) {
		keys := append(slot.accountKeys(le.Account), slot.doublesKey(le.Account))
		return l.run(ctx, name, keys, append([]any{le.Token, raw, digest, window.Milliseconds()}, more...)...)
	})
}
