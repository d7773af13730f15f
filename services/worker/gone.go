package worker

import (
	"context"
	"errors"

	"github.com/mailferry/mailferry/pkg/directory"
	"go.uber.org/zap"
)

// forgetGone removes what the run has left of an account that was deleted meanwhile. Whoever deletes one removes what was
// written before its record went; what a run writes it writes before it looks here.
func (r *run) forgetGone(ctx context.Context) {
	w, uid := r.w, r.acc.UID
	if _, err := w.Directory.AccountAt(ctx, r.acc.Domain, r.acc.Name, uid, 0); !errors.Is(err, directory.ErrNotFound) {
		return
	}
	err := errors.Join(w.Ledger.Erase(ctx, r.slot, uid), w.OAuth.Erase(ctx, uid), w.Transit.EraseAccount(ctx, uid), w.Queue.EraseAccount(ctx, uid),
		w.Notices.EraseAccount(ctx, uid), w.Directory.DeleteCollection(ctx, uid), w.Due.Remove(ctx, uid))
	if err != nil {
		r.log.Warn("what a run left of a deleted account is not removed", zap.String("uid", uid), zap.Error(err))
	}
}
