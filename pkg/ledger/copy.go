package ledger

import (
	"context"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Copy takes index, states and marks of an account to another slot. The old slot answers Moved from the
// first step on; its run is refused at its next write. Copy may be repeated after a failure, also the other
// way round; nothing is removed before it has arrived.
func (l *Ledger) Copy(ctx context.Context, from, to Slot, account string) error {
	if from == to {
		return nil
	}
	if err := names("ledger copy", to, account); err != nil {
		return err
	}
	grave := l.cfg.Grave.Milliseconds()
	reply, err := l.adminAt(ctx, "export", from, account, account, string(to), nonce(), grave)
	if err != nil {
		return err
	}
	meta := make(map[string]string)
	pairs(list(reply, 2), func(field, value string) { meta[field] = value })
	args := []any{account, meta["active"], "", string(from)}
	if meta["epoch"] != "" {
		args[2] = meta["move"]
		for i := 2; i <= 8; i++ {
			words := list(reply, i)
			args = append(append(args, len(words)), words...)
		}
	}
	if _, err := l.adminAt(ctx, "import", to, account, args...); err != nil {
		return err
	}
	if meta["move"] == "" {
		return fault.Errorf(fault.Internal, "ledger copy", "the old slot has no move")
	}
	_, err = l.adminAt(ctx, "signpost", from, account, string(to), meta["move"], grave)
	return err
}
