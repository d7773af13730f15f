package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/route"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// note is step 4: it takes what the recipients of a leg were answered, and says whether there is anything left to do.
// From here on nothing stops because the process is told to: what the destination has accepted is recorded first.
func (h *handover) note(ctx context.Context, leg route.Leg, replies []local.Reply, err error) bool {
	ctx = context.WithoutCancel(ctx)
	news := false
	for _, r := range replies {
		switch name := leg.Name(r.Recipient); {
		case r.Accepted():
			h.served, news = append(h.served, name), true
		case r.Temporary(), r.Kind() == fault.DestinationQuota:
			h.soft = r.Fault()
		default:
			h.refuse(r.Fault(), name)
			news = true
		}
	}
	switch {
	case local.Uncertain(err):
		// The answer was lost. To try again may make a second copy, where the destination cannot tell; not to try may
		// lose the message.
		h.route.Uncertain = true
		h.d.metrics.uncertain.Inc()
		h.log().Warn("the destination's answer was lost; the message is handed over again", zap.Error(err))
		h.soft = err
	case fault.KindOf(err) == fault.DestinationRejected: // hung up after a refusal for good
		for _, to := range leg.To {
			if name := leg.Name(to); !slices.Contains(h.served, name) {
				h.refuse(err, name)
				news = true
			}
		}
	case err != nil:
		h.soft = err
	case len(replies) < len(leg.To):
		h.soft = fault.Errorf(fault.DestinationTemporary, "deliver", "the destination did not answer for each recipient")
	}
	for _, to := range leg.To {
		h.tried = append(h.tried, leg.Name(to))
	}
	if news && !h.complete() {
		h.record(ctx)
	}
	if bodyFailed(err) || errors.Is(err, ledger.ErrLeaseLost) {
		h.settle(ctx, err)
		return false
	}
	return true
}

// refuse notes that a recipient will never get it.
func (h *handover) refuse(err error, name string) {
	h.route.Refuse(strings.TrimPrefix(err.Error(), "deliver: "), name)
	if h.hard == nil {
		h.hard = err
	}
}

// complete says whether everybody has it, so that the key is committed next.
func (h *handover) complete() bool {
	for _, leg := range h.route.Legs {
		for _, to := range leg.To {
			if !slices.Contains(h.served, leg.Name(to)) {
				return false
			}
		}
	}
	return true
}

// settle ends an attempt that cannot go on.
func (h *handover) settle(ctx context.Context, err error) {
	if bodyFailed(err) {
		h.bodyGone(ctx, err)
		return
	}
	h.log().Warn("the lease was lost before the message was complete; another has it", zap.Error(err))
	h.nak(ctx, h.d.cfg.RetryMin)
}

func bodyFailed(err error) bool {
	return errors.Is(err, transit.ErrBodyGone) || errors.Is(err, transit.ErrBodyDamaged)
}

// conclude is step 5.
func (h *handover) conclude(ctx context.Context) {
	switch {
	case h.soft != nil:
		h.later(ctx, h.soft)
		return
	case h.route.Discarded != "":
		h.log().Info("discarded by a rule", zap.String("rule", h.route.Discarded))
	case len(h.route.Refused) == 0:
	case !h.route.Covered():
		if h.hard == nil { // an earlier attempt was told
			h.hard = fault.Errorf(fault.DestinationRejected, "deliver", "%s", h.route.Reason)
		}
		h.reject(ctx, h.hard)
		return
	default:
		h.d.metrics.outcome("fallback")
		h.log().Info("delivered to the fallback", zap.Strings("refused", h.route.Refused), zap.String("to", h.route.Fell), zap.String("reason", h.route.Reason))
	}
	h.commit(ctx)
}

// commit makes the key collected, or skipped where only a notice of the message was handed over, then tells the worker, then lets go of the message.
func (h *handover) commit(ctx context.Context) {
	h.own(ctx)
	killpoint.Reach("delivery.owned")
	h.insist(ctx, "commit", func(ctx context.Context) error {
		record := h.d.Ledger.Commit
		if h.p.GetNotice() {
			record = h.d.Ledger.Pass
		}
		written, err := record(ctx, h.lease)
		if err == nil && !written {
			h.log().Warn("accepted, but the index it belongs to is no more: a copy may follow")
			h.d.metrics.unrecorded.Inc()
		}
		return err
	})
	killpoint.Reach("delivery.committed")
	h.d.metrics.done(h.fate(), h.tier())
	h.d.metrics.seconds.Observe(time.Since(h.p.GetFetchedAt().AsTime()).Seconds())
	h.d.receipts.send(h.p.GetAccountUid(), transit.Receipt{Key: h.p.GetKey(), Fate: h.fate()})
	killpoint.Reach("delivery.receipt")
	h.ack(ctx)
	if h.d.Log.Core().Enabled(zap.DebugLevel) {
		h.log().Debug("delivered", zap.String("by", h.fate()), zap.Int64("size", h.p.GetSize()))
	}
}

// record keeps who has it and who refused it, so that a later attempt serves only the rest.
func (h *handover) record(ctx context.Context) { h.keep(ctx, h.route) }

func (h *handover) keep(ctx context.Context, r route.Route) {
	kept, err := json.Marshal(r)
	if err != nil {
		h.log().Error("route", zap.Error(err))
	}
	h.insist(ctx, "record", func(ctx context.Context) error {
		return h.d.Ledger.Record(ctx, h.lease, kept, h.served)
	})
	h.kept = true
	killpoint.Reach("delivery.recorded")
}

// insist repeats what must not be forgotten until Redis has answered; the parcel is kept in progress
// meanwhile. Only an answer ends it, also a refusal; the client of Redis bounds how long one is waited for.
func (h *handover) insist(ctx context.Context, what string, do func(context.Context) error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do(ctx)
		if err == nil || errors.Is(err, ledger.ErrLeaseLost) {
			return
		}
		h.log().Warn("the ledger does not answer; trying again", zap.String("step", what), zap.Error(err))
		time.Sleep(pause)
	}
}

// reject brings the message to DEAD, then parks its key, then lets go of it: in this order, a crash in
// between repeats a step and loses nothing.
func (h *handover) reject(ctx context.Context, err error) {
	if !h.bury(ctx, err) {
		return
	}
	killpoint.Reach("delivery.buried")
	h.d.metrics.outcome("dead")
	if h.kept || len(h.taken.Route) > 0 || h.repeat() { // a retry asks anew where it goes, for those who have not got it
		anew := []byte{}
		if h.repeat() {
			anew, _ = json.Marshal(route.Route{Uncertain: true})
		}
		h.insist(ctx, "record", func(ctx context.Context) error {
			return h.d.Ledger.Record(ctx, h.lease, anew, h.served)
		})
	}
	if perr := h.d.Ledger.Park(ctx, h.lease); perr != nil {
		h.log().Warn("park", zap.Error(perr))
		h.nak(ctx, h.d.cfg.RetryMin)
		return
	}
	killpoint.Reach("delivery.parked")
	h.ack(ctx)
}

// backoff doubles with each redelivery.
func (d *Delivery) backoff(p *transit.Parcel) time.Duration {
	pause := d.cfg.RetryMin
	for i := 1; i < p.Delivered && pause < d.cfg.RetryMax; i++ {
		pause *= 2
	}
	return min(pause, d.cfg.RetryMax)
}

func (h *handover) ack(ctx context.Context) {
	if err := h.p.AckAsync(ctx); err != nil {
		h.log().Debug("ack", zap.Error(err)) // it comes again and is seen as a repeat
	}
	killpoint.Reach("delivery.acked")
}

func (h *handover) nak(ctx context.Context, wait time.Duration) {
	if err := h.p.Nak(ctx, wait); err != nil {
		h.log().Debug("nak", zap.Error(err)) // it comes again after AckWait
	}
}

func (h *handover) returnLease(ctx context.Context) {
	if err := h.d.Ledger.Return(ctx, h.lease); err != nil {
		h.log().Debug("return", zap.Error(err)) // the lease ends by itself
	}
}

// bury puts a parcel that cannot be read into DEAD.
func (h *handover) bury(ctx context.Context, err error) bool {
	letter := &mailferryv1.DeadLetter{
		BuriedAt: timestamppb.New(time.Now()), Fault: fault.Proto(err), Recipients: h.route.Refused, Message: h.p.Message,
		AccountUid: h.p.GetAccountUid(), Domain: h.p.GetDomain(), Name: h.p.GetName(),
		Attempts: int64(h.route.Failed),
	}
	for _, f := range h.route.Failures {
		letter.History = append(letter.History, &mailferryv1.FailedAttempt{At: timestamppb.New(f.At), Kind: f.Kind, Message: f.Reason})
	}
	if err := h.d.Transit.Bury(ctx, letter); err != nil {
		h.log().Warn("a message is not buried and comes back", zap.Error(err))
		h.nak(ctx, h.d.cfg.RetryMin)
		return false
	}
	h.log().Error("dead letter", zap.Error(err), zap.Strings("recipients", h.route.Refused))
	h.d.forgetGone(ctx, h.p)
	if h.lease == nil {
		_ = h.p.Term(ctx, fmt.Sprintf("poison: %s", fault.KindOf(err)))
	}
	return true
}
