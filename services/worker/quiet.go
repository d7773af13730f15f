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

// quiet returns what says what was known of a mailbox when nothing in it was left to do: it need not be listed while it is
// still so. What was published then has to have arrived since.
func (r *run) quiet() func(mailbox string) (remote.Status, bool) {
	index := r.index
	busy := index.Pending(nil)
	r.wasQuiet = func(box string) int64 { q, _ := index.Quiet(box, r.acc.Revision); return q.Since }
	return func(mailbox string) (remote.Status, bool) {
		box := r.w.boxOf(mailbox)
		q, ok := index.Quiet(box, r.acc.Revision)
		return remote.Status{UIDValidity: q.UIDValidity, UIDNext: q.UIDNext, Messages: q.Messages}, ok && !busy[box]
	}
}

// remember puts on record in which mailboxes nothing is left to do, once published has arrived: in a run that has
// nothing more to do at all. No such thing can be said where time alone makes something to do, or flags, of which a
// server's numbers say nothing.
func (r *run) remember(ctx context.Context, published []candidate) {
	if r.acc.Protocol != account.IMAP || r.acc.MarkSeen || r.acc.AfterDays > 0 || r.failures != nil {
		return
	}
	quiet := r.mailbox().quiet(r.w.boxOf, r.wasQuiet, published)
	if len(quiet) == 0 || r.hold.Epoch() == "" {
		return
	}
	if err := r.hold.Quiet(ctx, r.acc.Revision, quiet); err != nil {
		r.log.Debug("nothing is known of the mailboxes next time", zap.Error(err)) // they are listed again, that is all
	}
}

// quiet are the mailboxes of which every message is collected, passed over or published. One of which only what is new was
// listed is to be listed whole as soon as it was before: since says when it was last.
func (m mailbox) quiet(boxOf func(string) string, since func(box string) int64, published []candidate) []ledger.QuietMailbox {
	under := make(map[ledger.Key]bool, len(published))
	for _, c := range published {
		under[c.key] = true
	}
	busy := m.index.Pending(under)
	for i, k := range m.keys {
		if s := m.index.State(k); k == "" || s != ledger.StateCollected && s != ledger.StateSkipped && !under[k] {
			busy[boxOf(m.listing.Items[i].Mailbox)] = true
		}
	}
	var quiet []ledger.QuietMailbox
	for _, l := range m.listing.Mailboxes {
		box, st := boxOf(l.Name), l.Status
		if !l.Whole && l.Before == 0 || busy[box] || st.UIDNext == 0 {
			continue
		}
		q := ledger.QuietMailbox{Mailbox: box, UIDValidity: st.UIDValidity, UIDNext: st.UIDNext, Messages: st.Messages}
		if !l.Whole {
			q.Since = since(box)
		}
		quiet = append(quiet, q)
	}
	return quiet
}
