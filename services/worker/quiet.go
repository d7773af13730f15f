package worker

import (
	"context"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	"go.uber.org/zap"
)

// boxOf is how the ledger calls a mailbox.
func (w *Worker) boxOf(mailbox string) string { return w.Keyer.IMAP(mailbox, 0, 0).Mailbox() }

// quiet says what was known of a mailbox when nothing in it was left to do: it need not be listed while it is
// still so.
func (r *run) quiet(mailbox string) (remote.Status, bool) {
	q, ok := r.index.Quiet(r.w.boxOf(mailbox), r.acc.Revision)
	return remote.Status{UIDValidity: q.UIDValidity, UIDNext: q.UIDNext, Messages: q.Messages}, ok
}

// remember puts on record in which mailboxes nothing is left to do, in a run that had nothing to do at all. No
// such thing can be said where time alone makes something to do, or flags, of which a server's numbers say nothing.
func (r *run) remember(ctx context.Context) {
	if r.acc.Protocol != account.IMAP || r.acc.MarkSeen || r.acc.AfterDays > 0 || r.failures != nil {
		return
	}
	busy := r.index.Pending()
	for _, k := range r.keys {
		if s := r.index.State(k); s != ledger.StateCollected && s != ledger.StateSkipped {
			busy[k.Mailbox()] = true
		}
	}
	var quiet []ledger.QuietMailbox
	for _, m := range r.listing.Mailboxes {
		box := r.w.boxOf(m.Name)
		if m.Whole && !busy[box] && m.Status.UIDNext > 0 {
			quiet = append(quiet, ledger.QuietMailbox{Mailbox: box, UIDValidity: m.Status.UIDValidity, UIDNext: m.Status.UIDNext, Messages: m.Status.Messages})
		}
	}
	if len(quiet) == 0 || r.hold.Epoch() == "" {
		return
	}
	if err := r.hold.Quiet(ctx, r.acc.Revision, quiet); err != nil {
		r.log.Debug("nothing is known of the mailboxes next time", zap.Error(err)) // they are listed again, that is all
	}
}
