package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/transit"
	"go.uber.org/zap"
)

// conclude is steps 4 and 5. From here on nothing stops because the process is told to: what the
// destination has accepted is recorded first.
func (h *handover) conclude(ctx context.Context, replies []local.Reply, err error) {
	ctx = context.WithoutCancel(ctx)
	var accepted, refused []local.Reply
	for _, r := range replies {
		switch {
		case r.Accepted():
			accepted = append(accepted, r)
		case !r.Temporary():
			refused = append(refused, r)
		}
	}
	if err == nil && len(accepted) == len(h.left) {
		h.commit(ctx)
		return
	}
	if len(accepted) > 0 {
		h.record(ctx, accepted)
	}
	switch {
	case local.Uncertain(err):
		// The answer was lost. To try again may make a second copy; not to try may lose the message.
		h.d.metrics.uncertain.Inc()
		h.log.Warn("the destination's answer was lost; the message is handed over again and may arrive twice", zap.Error(err))
		h.later(ctx, err)
	case errors.Is(err, transit.ErrBodyGone), errors.Is(err, transit.ErrBodyDamaged):
		h.bodyGone(ctx, err)
	case errors.Is(err, ledger.ErrLeaseLost):
		h.log.Warn("the lease was lost before the message was complete; another has it", zap.Error(err))
		h.nak(ctx, h.d.cfg.RetryMin)
	case fault.KindOf(err) == fault.DestinationRejected && len(accepted) == 0: // hung up after a refusal for good
		h.reject(ctx, err)
	case err != nil:
		h.later(ctx, err)
	case len(accepted)+len(refused) < len(h.left):
		h.later(ctx, temporary(replies).Fault())
	default:
		h.left = recipients(refused)
		h.reject(ctx, refused[0].Fault())
	}
}

// commit makes the key collected, or skipped where only a notice of the message was handed over, then tells the worker, then lets go of the message.
func (h *handover) commit(ctx context.Context) {
	h.insist(ctx, "commit", func(ctx context.Context) error {
		record := h.d.Ledger.Commit
		if h.p.GetNotice() {
			record = h.d.Ledger.Pass
		}
		written, err := record(ctx, h.lease)
		if err == nil && !written {
			h.log.Warn("accepted, but the index it belongs to is no more: a copy may follow")
			h.d.metrics.unrecorded.Inc()
		}
		return err
	})
	killpoint.Reach("delivery.committed")
	h.d.metrics.outcome("delivered")
	h.d.metrics.seconds.Observe(time.Since(h.p.GetFetchedAt().AsTime()).Seconds())
	_ = h.d.Transit.SendReceipt(h.p.GetAccountUid(), h.p.GetKey())
	killpoint.Reach("delivery.receipt")
	h.ack(ctx)
	h.log.Debug("delivered", zap.Int64("size", h.p.GetSize()))
}

// record keeps who has it, so that a later attempt serves only the rest.
func (h *handover) record(ctx context.Context, accepted []local.Reply) {
	kept, err := json.Marshal(h.route)
	if err != nil {
		h.log.Error("route", zap.Error(err))
	}
	served := append(h.taken.Served, recipients(accepted)...)
	h.insist(ctx, "record", func(ctx context.Context) error {
		return h.d.Ledger.Record(ctx, h.lease, kept, served)
	})
	has := map[string]bool{}
	for _, s := range served {
		has[s] = true
	}
	var left []string
	for _, rcpt := range h.left {
		if !has[rcpt] {
			left = append(left, rcpt)
		}
	}
	h.left = left
	killpoint.Reach("delivery.recorded")
}

// insist repeats what must not be forgotten until Redis has answered; the parcel is kept in progress
// meanwhile. Only an answer ends it, also a refusal.
func (h *handover) insist(ctx context.Context, what string, do func(context.Context) error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := do(attempt)
		cancel()
		if err == nil || errors.Is(err, ledger.ErrLeaseLost) {
			return
		}
		h.log.Warn("the ledger does not answer; trying again", zap.String("step", what), zap.Error(err))
		time.Sleep(pause)
	}
}

// later gives the message back: to TRANSIT for a while, and to the remote server once TRANSIT has held it
// for long enough.
func (h *handover) later(ctx context.Context, err error) {
	held := time.Since(h.p.GetFetchedAt().AsTime())
	if held > h.d.cfg.DeferAfter {
		h.d.metrics.outcome("deferred")
		h.log.Warn("the destination has refused for long; the remote server keeps the message for now", zap.Error(err))
		if derr := h.d.Ledger.Defer(ctx, h.lease, h.d.cfg.DeferFor); derr != nil {
			h.nak(ctx, h.backoff())
			return
		}
		h.ack(ctx)
		return
	}
	h.d.metrics.outcome("temporary")
	wait := h.backoff()
	h.log.Warn("not delivered yet", zap.Error(err), zap.String("kind", fault.KindOf(err).String()), zap.Duration("retry_in", wait))
	h.returnLease(ctx)
	h.nak(ctx, wait)
}

// reject brings the message to DEAD, then parks its key, then lets go of it: in this order, a crash in
// between repeats a step and loses nothing.
func (h *handover) reject(ctx context.Context, err error) {
	if !h.bury(ctx, err) {
		return
	}
	killpoint.Reach("delivery.buried")
	h.d.metrics.outcome("dead")
	if perr := h.d.Ledger.Park(ctx, h.lease); perr != nil {
		h.log.Warn("park", zap.Error(perr))
		h.nak(ctx, h.d.cfg.RetryMin)
		return
	}
	killpoint.Reach("delivery.parked")
	h.ack(ctx)
}

// backoff doubles with each redelivery.
func (h *handover) backoff() time.Duration {
	d := h.d.cfg.RetryMin
	for i := 1; i < h.p.Delivered && d < h.d.cfg.RetryMax; i++ {
		d *= 2
	}
	return min(d, h.d.cfg.RetryMax)
}

func (h *handover) ack(ctx context.Context) {
	if err := h.p.AckAsync(ctx); err != nil {
		h.log.Debug("ack", zap.Error(err)) // it comes again and is seen as a repeat
	}
	killpoint.Reach("delivery.acked")
}

func (h *handover) nak(ctx context.Context, wait time.Duration) {
	if err := h.p.Nak(ctx, wait); err != nil {
		h.log.Debug("nak", zap.Error(err)) // it comes again after AckWait
	}
}

func (h *handover) returnLease(ctx context.Context) {
	if err := h.d.Ledger.Return(ctx, h.lease); err != nil {
		h.log.Debug("return", zap.Error(err)) // the lease ends by itself
	}
}

func temporary(replies []local.Reply) local.Reply {
	for _, r := range replies {
		if r.Temporary() {
			return r
		}
	}
	return local.Reply{Code: 451, Text: "no answer"}
}

func recipients(replies []local.Reply) []string {
	out := make([]string, len(replies))
	for i, r := range replies {
		out[i] = r.Recipient
	}
	return out
}
