package delivery

import (
	"cmp"
	"context"
	"time"

	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/route"
	"go.uber.org/zap"
)

// claim is what is known of the doubles of a message: its digest, nil where doubles do not matter.
type claim struct {
	digest []byte
	window time.Duration
	double bool // the message is one
}

// single says whether the message is to be handed over: it is not if one like it was accepted under another key of
// its account within the account's window, or it was itself. It is settled then. A message that somebody has got already is no double.
func (h *handover) single(ctx context.Context) bool {
	acc, err := h.account(ctx)
	if err != nil || acc.DedupeWindow == 0 || h.p.GetNotice() || len(h.served) > 0 || len(h.route.Legs) == 0 {
		return true // an account that cannot be read forbids nothing
	}
	body, err := h.p.Open(ctx)
	if err != nil {
		h.giveUpFor(ctx, err)
		return false
	}
	digest, err := route.Double(acc.UID, h.route, body)
	_ = body.Close()
	if err != nil {
		h.giveUpFor(ctx, err)
		return false
	}
	if digest == nil {
		return true
	}
	is, wait, err := h.d.Ledger.Claim(ctx, h.lease, digest, acc.DedupeWindow)
	switch {
	case err != nil:
		h.log().Warn("claim", zap.Error(err))
		h.returnLease(ctx)
		h.nak(ctx, h.d.cfg.RetryMin)
		return false
	case is == ledger.Undecided:
		h.returnLease(ctx)
		h.nak(ctx, min(wait, h.d.backoff(h.p)))
		return false
	case is == ledger.Double, is == ledger.Accepted: // by whoever died before the commit
		h.claim.double = is == ledger.Double
		h.log().Info("accepted before", zap.Bool("double", h.claim.double))
		h.commit(context.WithoutCancel(ctx))
		return false
	}
	h.claim.digest, h.claim.window = digest, acc.DedupeWindow
	return true
}

// own records that all have got the message, so that others like it are doubles from now on.
func (h *handover) own(ctx context.Context) {
	if h.claim.digest == nil {
		return
	}
	h.insist(ctx, "own", func(ctx context.Context) error {
		return h.d.Ledger.Own(ctx, h.lease, h.claim.digest, h.claim.window)
	})
}

// fate is what became of a message that is through with: what decided who gets it, or that nobody does.
func (h *handover) fate() string {
	switch {
	case h.claim.double:
		return fateDuplicate
	case h.route.Discarded != "":
		return fateDiscarded
	}
	return h.tier()
}

// tier is what decided who gets it.
func (h *handover) tier() string { return cmp.Or(h.route.Tier, route.TierForwardTo) }

// The fates of messages that nobody gets. They are told to the worker beside the tiers.
const (
	fateDuplicate = "duplicate"
	fateDiscarded = "discarded"
)
