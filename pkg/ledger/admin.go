package ledger

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// Enroll says that an active account points at the remote mailbox: nothing is deleted there before it has
// collected it. An account that was erased is left out.
func (l *Ledger) Enroll(ctx context.Context, slot Slot, account string) error {
	return l.EnrollAll(ctx, []Enrolment{{slot, account, true}})
}

// Withdraw says that the account is not active: nobody waits for it any more.
func (l *Ledger) Withdraw(ctx context.Context, slot Slot, account string) error {
	return l.EnrollAll(ctx, []Enrolment{{slot, account, false}})
}

// Enrolment is what [Ledger.Enroll] says of an account that is active, and [Ledger.Withdraw] of one that is not.
type Enrolment struct {
	Slot    Slot
	Account string
	Active  bool
}

// EnrollAll enrolls or withdraws many accounts in one round trip.
func (l *Ledger) EnrollAll(ctx context.Context, all []Enrolment) error {
	const op = "ledger enroll"
	for _, e := range all {
		if err := names(op, e.Slot, e.Account); err != nil {
			return err
		}
	}
	together := maxBatch
	if _, ok := l.rdb.(*redis.ClusterClient); ok { // a script stays in one slot there
		together = 1
	}
	script, p := l.scripts["enroll"], l.rdb.Pipeline()
	batches := slices.Collect(slices.Chunk(all, together))
	cmds := make([]*redis.Cmd, len(batches))
	for i, some := range batches {
		keys, args := enroll(some)
		cmds[i] = script.EvalSha(ctx, p, keys, args...)
	}
	_, _ = p.Exec(ctx) // each says how it went
	var errs []error
	for i, some := range batches {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			keys, args := enroll(some)
			cmds[i] = script.Run(ctx, l.rdb, keys, args...)
		}
		_, err := answered(ctx, op, l.cfg.KeyID, cmds[i])
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func enroll(some []Enrolment) (keys []string, args []any) {
	for _, e := range some {
		active := 0
		if e.Active {
			active = 1
		}
		keys, args = append(keys, e.Slot.key(e.Account+":meta"), e.Slot.accountsKey()), append(args, e.Account, active)
	}
	return keys, args
}

// Reset starts a new epoch: what was collected, skipped, parked and deferred is forgotten, and a run that
// is on is refused at its next write. It returns how many keys were forgotten.
func (l *Ledger) Reset(ctx context.Context, slot Slot, account, epoch string) (int, error) {
	if !word(epoch) {
		return 0, fault.Errorf(fault.Internal, "ledger reset", "not an epoch: %q", epoch)
	}
	reply, err := l.admin(ctx, "reset", slot, account, epoch)
	if err != nil {
		return 0, err
	}
	c := readCounts(reply, 1)
	return c.Collected + c.Skipped, nil
}

// readCounts counts from entries, skipped, tail and sets, which are in the answer from at on.
func readCounts(reply []any, at int) Counts {
	ix := &Index{tail: make(map[string]string), sets: make(map[string]boxSets)}
	pairs(list(reply, at+2), func(raw, value string) { ix.tail[raw] = value })
	pairs(list(reply, at+3), ix.readSet)
	return countIndex(int(number(reply, at)), int(number(reply, at+1)), ix.tail, ix.sets)
}

// Erase removes everything of an account and leaves a tombstone.
func (l *Ledger) Erase(ctx context.Context, slot Slot, account string) error {
	if err := l.rdb.Del(ctx, dayKey(account)).Err(); err != nil {
		return redisError(ctx, "ledger erase", err)
	}
	for range maxHops {
		_, err := l.adminAt(ctx, "erase", slot, account, account, l.cfg.Grave.Milliseconds())
		var moved *MovedError
		if !errors.As(err, &moved) {
			return err
		}
		slot = moved.To
	}
	return nil
}

// UnparkResult says what became of a parked key.
type UnparkResult string

// The results of Retry and Unpark.
const (
	RetryMarked    UnparkResult = "marked"     // publish it now
	RetryCollected UnparkResult = "collected"  // it has arrived meanwhile: drop the dead letter
	RetryInFlight  UnparkResult = "in-flight"  // it is on its way already
	NotParked      UnparkResult = "not-parked" // the key is not parked: do not publish
	Unparked       UnparkResult = "unparked"   // the next run fetches it
)

// Retry takes a parked key back to marked, so that its dead letter can be published again.
func (l *Ledger) Retry(ctx context.Context, slot Slot, account string, key Key, size, listed int64) (UnparkResult, error) {
	raw, err := rawOf("ledger retry", key)
	if err != nil {
		return "", err
	}
	reply, err := l.admin(ctx, "retry", slot, account, nonce(), raw, max(size, 0), max(listed, 0))
	return UnparkResult(text(reply, 1)), err
}

// Unpark makes a parked key new.
func (l *Ledger) Unpark(ctx context.Context, slot Slot, account string, key Key) (UnparkResult, error) {
	raw, err := rawOf("ledger unpark", key)
	if err != nil {
		return "", err
	}
	reply, err := l.admin(ctx, "unpark", slot, account, raw)
	switch {
	case err != nil:
		return "", err
	case number(reply, 1) == 1:
		return Unparked, nil
	}
	return NotParked, nil
}

// State counts the keys of an account in that slot without reading its index.
func (l *Ledger) State(ctx context.Context, slot Slot, account string) (Counts, error) {
	if err := names("ledger state", slot, account); err != nil {
		return Counts{}, err
	}
	keys := append(slot.workerKeys(account, false), slot.lockKey(account, true))
	reply, err := l.run(ctx, "counts", keys, account)
	if err != nil {
		return Counts{}, err
	}
	c := readCounts(reply, 3)
	c.Epoch, c.Job, c.Marked = text(reply, 1), text(reply, 2), int(number(reply, 7))
	c.Parked, c.Deferred, c.Deleting = int(number(reply, 8)), int(number(reply, 9)), int(number(reply, 10))
	if c.Watcher = text(reply, 11); c.Watcher != "" {
		c.Since = time.UnixMilli(number(reply, 12))
	}
	return c, nil
}

// admin runs a script on an account, wherever it was moved.
func (l *Ledger) admin(ctx context.Context, name string, slot Slot, account string, args ...any) ([]any, error) {
	at := slot
	for range maxHops {
		reply, err := l.adminAt(ctx, name, at, account, args...)
		var moved *MovedError
		if !errors.As(err, &moved) || moved.Moving {
			return reply, err
		}
		at = moved.To
	}
	// The signposts run in a circle: the account has data nowhere, and was moved back and forth, the last time
	// not to the end.
	if err := l.Reclaim(ctx, slot, account); err != nil {
		return nil, err
	}
	return l.adminAt(ctx, name, slot, account, args...)
}

func (l *Ledger) adminAt(ctx context.Context, name string, slot Slot, account string, args ...any) ([]any, error) {
	if err := names("ledger "+name, slot, account); err != nil {
		return nil, err
	}
	return l.run(ctx, name, append(slot.workerKeys(account, false), slot.doublesKey(account)), args...)
}
