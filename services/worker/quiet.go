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
	quiet := r.mailbox().quiet(r.w.boxOf)
	if len(quiet) == 0 || r.hold.Epoch() == "" {
		return
	}
	if err := r.hold.Quiet(ctx, r.acc.Revision, quiet); err != nil {
		r.log.Debug("nothing is known of the mailboxes next time", zap.Error(err)) // they are listed again, that is all
	}
}

// quiet are the mailboxes that are listed whole and of which every message is collected or passed over.
func (m mailbox) quiet(boxOf func(string) string) []ledger.QuietMailbox {
	busy := m.index.Pending()
	for i, k := range m.keys {
		if s := m.index.State(k); k == "" || s != ledger.StateCollected && s != ledger.StateSkipped {
			busy[boxOf(m.listing.Items[i].Mailbox)] = true
		}
	}
	var quiet []ledger.QuietMailbox
	for _, l := range m.listing.Mailboxes {
		box, st := boxOf(l.Name), l.Status
		if l.Whole && !busy[box] && st.UIDNext > 0 {
			quiet = append(quiet, ledger.QuietMailbox{Mailbox: box, UIDValidity: st.UIDValidity, UIDNext: st.UIDNext, Messages: st.Messages})
		}
	}
	return quiet
}
