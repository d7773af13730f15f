package ledger

import (
	"context"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Copy takes index, states and marks of an account to another slot, in three steps:
//
//  1. the old slot gets a signpost: from now on it answers Moved, and a run there is refused at its next write;
//  2. the new slot gets everything;
//  3. the old slot keeps nothing but the signpost.
//
// After an error, repeat it, or call Reclaim where the account shall stay: nothing is removed before it has
// arrived. Let the directory name the new slot only when Copy has returned nil.
func (l *Ledger) Copy(ctx context.Context, from, to Slot, account string) error {
	if err := names("ledger copy", to, account); err != nil {
		return err
	}
	src, err := l.locate(ctx, from, account)
	if err != nil {
		return err
	}
	if src.slot == to {
		return l.stay(ctx, src, account)
	}
	reply, err := l.adminAt(ctx, "export", src.slot, account, account, string(to), nonce(),
		l.cfg.Grave.Milliseconds(), string(src.moved), src.move)
	if err != nil {
		return err
	}
	meta := make(map[string]string)
	pairs(list(reply, 2), func(field, value string) { meta[field] = value })
	if err := l.bring(ctx, to, account, meta, reply); err != nil {
		return err
	}
	return l.signpost(ctx, site{slot: src.slot, moved: to, move: meta["move"]}, account)
}

// Reclaim brings an account back to the slot that the directory names, where Acquire answered with a
// MovedError: a Copy to elsewhere was broken off, or its edit was taken back.
func (l *Ledger) Reclaim(ctx context.Context, slot Slot, account string) error {
	return l.Copy(ctx, slot, slot, account)
}

// bring puts what export answered into the new slot.
func (l *Ledger) bring(ctx context.Context, to Slot, account string, meta map[string]string, reply []any) error {
	args := []any{account, meta["active"], meta["move"]}
	for i := 2; i <= 9; i++ {
		words := list(reply, i)
		args = append(append(args, len(words)), words...)
	}
	_, err := l.adminAt(ctx, "import", to, account, args...)
	return err
}

// signpost drops what has arrived where s points to.
func (l *Ledger) signpost(ctx context.Context, s site, account string) error {
	_, err := l.adminAt(ctx, "signpost", s.slot, account, string(s.moved), s.move, l.cfg.Grave.Milliseconds())
	return err
}

// stay calls a move off.
func (l *Ledger) stay(ctx context.Context, s site, account string) error {
	if s.moved == "" {
		return nil
	}
	_, err := l.adminAt(ctx, "stay", s.slot, account, account, string(s.moved), s.move)
	return err
}

// site is what a slot knows of an account's whereabouts.
type site struct {
	slot  Slot
	epoch string
	moved Slot
	// move names its departure, came its last arrival.
	move, came string
}

func (l *Ledger) site(ctx context.Context, slot Slot, account string) (site, error) {
	if err := names("ledger copy", slot, account); err != nil {
		return site{}, err
	}
	v, err := l.rdb.HMGet(ctx, slot.accountKeys(account)[0], "epoch", "moved", "move", "came").Result()
	if err != nil {
		return site{}, redisError(ctx, "ledger copy", err)
	}
	return site{slot: slot, epoch: text(v, 0), moved: Slot(text(v, 1)), move: text(v, 2), came: text(v, 3)}, nil
}

// locate follows the signposts to the slot whose data count: a slot that still has them, unless they have
// arrived where it points to: then the last step of that copy is made up for. If there are none it is the first slot.
func (l *Ledger) locate(ctx context.Context, from Slot, account string) (site, error) {
	first, err := l.site(ctx, from, account)
	if err != nil {
		return site{}, err
	}
	for at, hops := first, 0; hops < maxHops; hops++ {
		if at.moved == "" {
			if at.epoch == "" {
				return first, nil
			}
			return at, nil
		}
		next, err := l.site(ctx, at.moved, account)
		if err != nil {
			return site{}, err
		}
		if at.epoch != "" {
			if next.came != at.move {
				return at, nil
			}
			if err := l.signpost(ctx, at, account); err != nil {
				return site{}, err
			}
		}
		at = next
	}
	if first.epoch == "" {
		return first, nil
	}
	return site{}, fault.Errorf(fault.Internal, "ledger copy", "the signposts of account %s run in a circle", account)
}
