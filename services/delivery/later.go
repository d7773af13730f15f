package delivery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/route"
	"github.com/mailferry/mailferry/pkg/transit"
	"go.uber.org/zap"
)

// held says that TRANSIT has held a message for long enough: the remote server keeps it from now on.
func (d *Delivery) held(p *transit.Parcel) bool {
	return time.Since(p.GetFetchedAt().AsTime()) > d.cfg.DeferAfter
}

// blocked gives back untouched what would find the breaker open, and says whether it did.
func (d *Delivery) blocked(p *transit.Parcel, now time.Time) bool {
	by, wait := d.waiting.left(p.GetAccountUid(), now)
	if by == nil || d.held(p) {
		return false
	}
	d.metrics.outcome("blocked")
	if err := p.NakAsync(by.back(now, max(wait, d.backoff(p)))); err != nil {
		d.Log.Debug("nak", zap.Error(err)) // it comes again after AckWait
	}
	return true
}

// later gives the message back: to TRANSIT for a while, and to the remote server once TRANSIT has held it
// for long enough, or at once where the local mailbox is full.
func (h *handover) later(ctx context.Context, err error) {
	var shut *errBlocked
	tried := !errors.As(err, &shut)
	if tried {
		h.route.Fail(time.Now(), fault.KindOf(err).String(), strings.TrimPrefix(err.Error(), "deliver: "))
	}
	if tried || h.route.Uncertain || h.route.Retried {
		h.remember(ctx)
	}
	full := fault.KindOf(err) == fault.DestinationQuota
	if full && h.alone() {
		h.pause(ctx, err, h.d.cfg.DeferFor)
	}
	if h.d.held(h.p) || full {
		h.defers(ctx, err)
		return
	}
	wait := h.d.backoff(h.p)
	if tried {
		h.d.metrics.outcome("temporary")
		h.log().Warn("not delivered yet", zap.Error(err), zap.String("kind", fault.KindOf(err).String()), zap.Duration("retry_in", wait))
	} else {
		h.d.metrics.outcome("blocked")
		wait = shut.by.back(time.Now(), max(wait, shut.wait))
		h.block(ctx, shut, err)
	}
	h.returnLease(ctx)
	h.nak(ctx, wait)
}

// remember keeps the history of the message in its mark. Where nobody has accepted or refused it yet, the next attempt
// decides anew where it goes: its destination may have been mended by then.
func (h *handover) remember(ctx context.Context) {
	if len(h.served) == 0 && len(h.route.Refused) == 0 {
		h.keep(ctx, h.route.History())
		return
	}
	h.record(ctx)
}

func (h *handover) defers(ctx context.Context, err error) {
	h.d.metrics.outcome("deferred")
	h.log().Warn("the remote server keeps the message for now", zap.Error(err))
	if derr := h.d.Ledger.Defer(ctx, h.lease, h.d.cfg.DeferFor); derr != nil {
		h.nak(ctx, h.d.backoff(h.p))
		return
	}
	h.ack(ctx)
}

// alone says that what happened to this message happens to all mail of its account: there is one recipient, and the
// account names it.
func (h *handover) alone() bool {
	legs := h.route.Legs
	return len(h.served) == 0 && len(legs) == 1 && len(legs[0].To) == 1 && (h.route.Tier == "" || h.route.Tier == route.TierForwardTo)
}

// block has the other messages of the account wait, too, and no run fetch more of them, while the breaker is open.
func (h *handover) block(ctx context.Context, shut *errBlocked, err error) {
	if shut.cause == nil || !h.alone() {
		return
	}
	if h.d.waiting.set(h.p.GetAccountUid(), wait{shut.by, time.Now().Add(shut.wait)}) {
		h.pause(ctx, err, shut.wait+h.d.cfg.RetryMax)
	}
}

// pause keeps runs of the account from fetching more. It is a kindness to the fleet: without it, deferral does the same.
func (h *handover) pause(ctx context.Context, err error, d time.Duration) {
	p := ledger.Pause{Kind: fault.KindOf(err), Reason: strings.TrimPrefix(err.Error(), "deliver: "), Revision: h.p.GetRevision()}
	if err := h.d.Ledger.Pause(ctx, h.lease, p, d); err != nil {
		h.log().Debug("pause", zap.Error(err))
	}
}

// expired says whether recipients were given up that were tried for too long; they count as refused. A mailbox that is
// full is not given up: nothing is tried meanwhile.
func (h *handover) expired(now time.Time) bool {
	var shut *errBlocked
	f := h.route.Failures
	if h.soft == nil || errors.As(h.soft, &shut) || len(f) == 0 || now.Sub(f[0].At) < h.d.cfg.GiveUpAfter ||
		fault.KindOf(h.soft) == fault.DestinationQuota && h.alone() {
		return false
	}
	err := fault.Errorf(fault.DestinationRejected, "deliver", "given up after %d attempts since %s: %s",
		h.route.Failed+1, f[0].At.Format(time.RFC3339), strings.TrimPrefix(h.soft.Error(), "deliver: "))
	before := len(h.route.Refused)
	for _, leg := range h.route.Legs {
		for _, to := range leg.To {
			if name := leg.Name(to); !slices.Contains(h.served, name) && slices.Contains(h.tried, name) {
				h.refuse(err, name)
			}
		}
	}
	if len(h.route.Refused) == before {
		return false // it is the way to a fallback that is not known
	}
	h.soft = nil
	return true
}

// waiting knows accounts whose only destination is down, so that their messages go back untouched.
type waiting struct {
	mu sync.Mutex
	m  map[string]wait
}

// wait is the breaker that messages wait for, and until when.
type wait struct {
	by    *breaker
	until time.Time
}

const waitingMax = 100_000

// left is how long messages of the account wait from now on, and for which breaker; nil if they do not.
func (w *waiting) left(account string, now time.Time) (by *breaker, left time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.m[account]
	if ok && !now.Before(e.until) {
		delete(w.m, account)
		return nil, 0
	}
	return e.by, e.until.Sub(now)
}

// set says whether it is news.
func (w *waiting) set(account string, e wait) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.m) >= waitingMax {
		clear(w.m)
	}
	_, was := w.m[account]
	w.m[account] = e
	return !was
}
