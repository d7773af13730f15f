package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/route"
	"github.com/mailferry/mailferry/pkg/transit"
	"go.uber.org/zap"
)

// The order of a hand-over. Its steps are what the promise rests on:
//
//  1. Take: a lease on the key, in one script. Collected already: drop the copy. Held by another: come
//     back when its lease has ended. No index: wait until a run has opened one.
//  2. Route: who gets it and where. Decided once; kept in the mark from the first acceptance on. Where doubles are
//     dropped: claim the message's digest; if a message like it was accepted under another key, it is through with.
//  3. Hand over leg by leg, with the lease renewed; the last octets are sent only with lease to spare.
//  4. Record who has it, unless the message is done with. After the last octets nothing is given back before Redis has
//     answered. Who was refused for good is replaced by the next fallback, which is one more leg.
//  5. All have it: the digest is owned; commit the key to the index; receipt; ack; the body goes.
//     Some may get it later: give it back for a while, or to the remote server after an hour.
//     The rest never will: DEAD, then parked, then ack.

// handover is one attempt to bring one message to its destination.
type handover struct {
	d     *Delivery
	p     *transit.Parcel
	lease *ledger.Lease
	taken ledger.Taken
	route route.Route

	acc    *account.Account // once it was asked for; it must not be changed
	served []string         // names of recipients that have it
	tried  []string         // and of those that are done with in this attempt
	kept   bool             // the mark keeps the route
	soft   error            // why some may get it later
	hard   error            // why some never will
	claim  claim
}

// handle brings one parcel as far as it gets. Every way out settles the parcel.
func (d *Delivery) handle(ctx context.Context, p *transit.Parcel) {
	if d.blocked(p, time.Now()) {
		return
	}
	p.Keep(context.WithoutCancel(ctx)) // until it is settled
	h := &handover{d: d, p: p}
	killpoint.Reach("delivery.pulled")
	if p.Err != nil {
		h.bury(ctx, fault.New(fault.Internal, "message in transit", p.Err))
		return
	}
	defer func() {
		if v := recover(); v != nil {
			h.log().Error("a hand-over panicked", zap.String("type", fmt.Sprintf("%T", v)), zap.Stack("stack"))
			h.nak(ctx, d.cfg.RetryMin) // the lease is left: it counts as a crash, and too many make it poison
		}
	}()
	if !h.take(ctx, ledger.Slot(p.GetSlot())) { // 1
		return
	}
	killpoint.Reach("delivery.taken")
	if err := h.decide(ctx); err != nil { // 2
		h.giveUpFor(ctx, err)
		return
	}
	h.route.Uncertain = h.repeat() // also where the mark ends
	killpoint.Reach("delivery.routed")
	if !h.single(ctx) { // 2
		return
	}
	for {
		leg, ok := h.next(ctx)
		if !ok && h.expired(time.Now()) {
			continue
		}
		if !ok {
			break
		}
		replies, err := h.send(ctx, leg) // 3
		killpoint.Reach("delivery.accepted")
		if !h.note(ctx, leg, replies, err) { // 4
			return
		}
	}
	h.conclude(context.WithoutCancel(ctx)) // 5
}

func (h *handover) log() *zap.Logger {
	return h.d.Log.With(zap.String("account", h.p.GetDomain()+"/"+h.p.GetName()), zap.String("key", h.p.GetKey()), zap.String("run", h.p.GetRunId()))
}

// take is step 1; it answers whether the message is ours to hand over.
func (h *handover) take(ctx context.Context, slot ledger.Slot) bool {
	p := h.p
	t, err := h.d.Ledger.Take(ctx, ledger.TakeRequest{
		Slot: slot, Account: p.GetAccountUid(), Epoch: p.GetEpoch(), Key: ledger.Key(p.GetKey()),
		Size: p.GetSize(), Listed: p.GetListedSize(), Identity: p.GetIdentity(), Holder: h.d.holder,
	})
	if err != nil {
		h.log().Warn("take", zap.Error(err))
		h.nak(ctx, h.d.cfg.RetryMin)
		return false
	}
	h.taken, h.lease = t, t.Lease
	switch t.Verdict {
	case ledger.Deliver:
		if !t.Poison {
			return true
		}
		h.reject(ctx, fault.Errorf(fault.Internal, "hand over", "ended %d times without an outcome", t.Attempts))
	case ledger.Repeat:
		h.d.metrics.outcome("repeat")
		h.ack(ctx)
	case ledger.Gone:
		h.d.metrics.outcome("account-gone")
		h.ack(ctx)
	case ledger.Busy:
		h.nak(ctx, t.Wait)
	case ledger.NoEpoch:
		h.nak(ctx, h.d.cfg.RetryMin)
	case ledger.Moved:
		if slot == ledger.Slot(p.GetSlot()) { // follow once; a chain is followed by redelivery
			return h.take(ctx, t.Slot)
		}
		h.nak(ctx, h.d.cfg.RetryMin)
	}
	return false
}

// decide is step 2.
func (h *handover) decide(ctx context.Context) error {
	h.served, h.tried = h.taken.Served, slices.Clone(h.taken.Served)
	if len(h.taken.Route) > 0 { // an earlier attempt's
		h.kept = true
		if err := json.Unmarshal(h.taken.Route, &h.route); err != nil {
			return fault.New(fault.Internal, "route in the mark", err)
		}
		h.tried = append(h.tried, h.route.Refused...)
		if !h.route.Undecided() {
			return nil
		}
	}
	if h.p.GetRetried() {
		h.route.Retried = true
		if h.p.Delivered == 1 {
			h.d.accounts.forget(h.p.Message)
		}
	}
	past := h.route
	acc, err := h.account(ctx)
	if err != nil {
		return err
	}
	tenant, err := h.d.accounts.tenant(ctx, acc.Domain)
	if err != nil {
		return err
	}
	if h.p.GetNotice() { // of us to the owner: nothing that was said of their mail is about it
		plain := *acc
		acc, plain.Recipients, plain.Rules, tenant.Rules = &plain, account.Recipients{}, nil, nil
	}
	header, err := h.p.Head(ctx, maxHeader)
	if err != nil {
		return err
	}
	if err := route.Loop(acc.UID, header, past.Retried); err != nil && !h.p.GetNotice() {
		return err
	}
	m := route.Message{Header: header, Size: h.p.GetSize(), Mailbox: h.p.GetMailbox(), Collected: h.p.GetFetchedAt().AsTime()}
	h.route, err = route.Decide(*acc, m, tenant, h.where(ctx, acc.Domain), nil)
	h.route.Failures, h.route.Failed, h.route.Uncertain, h.route.Retried = past.Failures, past.Failed, past.Uncertain, past.Retried
	return err
}

// account returns the account of the message, the same as long as the attempt lasts.
func (h *handover) account(ctx context.Context) (*account.Account, error) {
	if h.acc != nil {
		return h.acc, nil
	}
	acc, err := h.d.accounts.get(ctx, h.p.Message)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return nil, errAccountGone
	case err != nil:
		return nil, err
	}
	h.acc = acc
	return acc, nil
}

// where looks up the destinations of targets.
func (h *handover) where(ctx context.Context, domain string) route.Where {
	return func(t account.Target) (string, error) { return h.d.accounts.destination(ctx, domain, t) }
}

// next returns the leg that is handed over next, with the recipients that are left; false if there is none, also
// by way of a fallback.
func (h *handover) next(ctx context.Context) (route.Leg, bool) {
	for {
		for _, leg := range h.route.Legs {
			to := leg.To
			leg.To = nil
			for _, rcpt := range to {
				if !slices.Contains(h.tried, leg.Name(rcpt)) {
					leg.To = append(leg.To, rcpt)
				}
			}
			if len(leg.To) > 0 {
				return leg, true
			}
		}
		if !h.fall(ctx) {
			return route.Leg{}, false
		}
	}
}

// fall puts the next fallback in place of those who were refused, and says whether there was one.
func (h *handover) fall(ctx context.Context) bool {
	left := len(h.route.Fallback)
	if left == 0 || len(h.route.Refused) == 0 {
		return false
	}
	acc, err := h.account(ctx)
	if err == nil {
		err = h.route.Fall(h.where(ctx, acc.Domain))
	}
	if err != nil {
		h.soft = err
		return false
	}
	return len(h.route.Fallback) < left
}

// maxHeader is how much of a message is looked at for its header.
const maxHeader = 64 << 10

// send is step 3. The lease is renewed while it lasts; a lease that is lost ends it before the last octets.
func (h *handover) send(ctx context.Context, leg route.Leg) (replies []local.Reply, err error) {
	at, err := h.d.accounts.site(ctx, h.p.GetDomain(), leg)
	if err != nil {
		return nil, err
	}
	dest, err := h.d.dests.get(at)
	if err != nil {
		return nil, err
	}
	if err := dest.breaker.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { dest.breaker.leave(time.Now(), err) }()
	body, err := h.p.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	rest := h.renew(ctx, cancel)
	defer func() {
		cancel(nil)
		rest()
	}()
	m := local.Message{
		Trace: h.trace(ctx), Body: body, Size: h.p.GetSize(), ID: h.p.GetAccountUid() + "." + h.p.GetKey(),
		Date: h.p.GetFetchedAt().AsTime(), Flags: h.p.GetFlags(), Repeat: h.repeat(),
	}
	if by := h.route.ClientBy; by == account.ClientXCLIENT || by == account.ClientAuto {
		m.Client = local.Client(h.route.Client)
	}
	if d := h.p.GetInternalDate(); d != nil {
		m.Date = d.AsTime()
	} else if !h.route.Received.IsZero() {
		m.Date = h.route.Received
	}
	env := local.Envelope{From: h.route.From, To: leg.To, Mailbox: leg.Mailbox}
	if leg.Mailbox != nil {
		env.Mailbox = append(slices.Clone(leg.Mailbox), route.Tree(h.p.GetMailbox(), h.p.GetDelimiter())...)
	}
	return dest.Deliver(ctx, env, m, func(ctx context.Context) error {
		killpoint.Reach("delivery.before-dot")
		return h.spare(ctx)
	})
}

// repeat says that an earlier attempt may have been accepted without its being recorded: its answer was lost, it never
// came to an end, or its index was lost.
func (h *handover) repeat() bool { return h.route.Uncertain || h.taken.Attempts > 1 || h.taken.Adopted }

// renew keeps the lease and cancels with the cause when it is lost, until the function it returns was called.
func (h *handover) renew(ctx context.Context, cancel context.CancelCauseFunc) (rest func()) {
	var mu sync.Mutex
	var over bool
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(h.d.cfg.Lease/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if err := h.d.Ledger.Renew(ctx, h.lease); errors.Is(err, ledger.ErrLeaseLost) {
			cancel(err)
			return
		}
		timer.Reset(h.d.cfg.Lease / 3)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

// spare returns nil if the lease lasts long enough to hear an answer after the last octets.
func (h *handover) spare(ctx context.Context) error {
	if h.lease.Left() > h.d.cfg.Lease/2 {
		return nil
	}
	return h.d.Ledger.Renew(ctx, h.lease)
}

func (h *handover) trace(ctx context.Context) []byte {
	p := h.p
	var skip account.Account // one that cannot be read skips nothing
	if acc, err := h.account(ctx); err == nil {
		skip = *acc
	}
	var client route.Client
	if by := h.route.ClientBy; by == account.ClientHeader || by == account.ClientAuto {
		client = h.route.Client
	}
	return route.Trace(route.TraceInfo{
		Client:      client,
		SkipFilters: skip.SkipFilters, SkipAntispam: skip.SkipAntispam,
		AccountUID: p.GetAccountUid(), Key: p.GetKey(), RunID: p.GetRunId(), RemoteHost: p.GetRemoteHost(),
		Protocol: p.GetProtocol(), At: p.GetFetchedAt().AsTime(), By: h.d.cfg.Name,
		Tier: h.route.Tier, Field: h.route.Field,
	})
}

// errAccountGone says that the account of a message was deleted: its mail is dropped.
var errAccountGone = errors.New("account is gone")

// giveUpFor ends an attempt before anything was sent.
func (h *handover) giveUpFor(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errAccountGone):
		h.d.metrics.outcome("account-gone")
		h.returnLease(ctx)
		h.ack(ctx)
	case errors.Is(err, transit.ErrBodyGone), errors.Is(err, transit.ErrBodyDamaged):
		h.bodyGone(ctx, err)
	case fault.KindOf(err) == fault.Policy || fault.KindOf(err) == fault.DestinationRejected:
		h.reject(ctx, err)
	case fault.KindOf(err) == fault.DestinationTemporary: // there is none
		h.later(context.WithoutCancel(ctx), err)
	default:
		h.log().Warn("no route", zap.Error(err))
		h.returnLease(ctx)
		h.nak(ctx, h.d.backoff(h.p))
	}
}

// bodyGone drops a message whose body is not there any more: without a mark that TRANSIT stands behind, the
// next run fetches it again.
func (h *handover) bodyGone(ctx context.Context, err error) {
	h.log().Warn("the body of a message is gone; the next run fetches it again", zap.Error(err))
	h.d.metrics.outcome("body-gone")
	h.returnLease(ctx)
	h.ack(ctx)
}
