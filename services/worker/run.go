package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"go.uber.org/zap"
)

// The order of a run. Nothing here may change places without reading docs/architecture.md first:
// the promise rests on it.
//
//  0. Share: where slots are short and the domain has its share of them, the job comes again later.
//  1. Job: load the account at the job's revision or newer. Gone or inactive: settle.
//  2. Lock: take the lock of the remote mailbox and open the index in the same step. Held by a run of
//     this account: coalesced. Held for another account: come back soon.
//  3. Session: take a place under the caps of the domain and at the remote host (none: stand in line, and go), connect, secure, sign in, list.
//  4. What is new: listed, less what the index, the marks and TRANSIT know.
//  5. Fetch: mark, fetch, publish, in windows. (From here delivery works at the same time: it hands
//     over, commits the key to the index and sends the receipt.)
//  6. Wait for receipts, where something depends on them.
//  7. Delete what is collected, where the account says so; QUIT.
//  8. Settle: next due time, report, lock, job.
//
// A run that failed is settled with its verdict; one that was stopped from outside (drain, lost lock)
// gives its job back.

// run is one execution of a job.
type run struct {
	w       *Worker
	claim   *queue.Claim
	log     *zap.Logger
	acc     account.Account
	slot    ledger.Slot
	hold    *ledger.Hold
	session remote.Session
	listing remote.Listing
	keys    []ledger.Key // of listing.Items; "" where the message has none
	index   *ledger.Index
	held    map[string]bool // keys that TRANSIT held when it was asked
	// strange says of collected messages of another size, by position, whether they are not known by their header.
	strange map[int]bool
	report  *queue.Report
	show    *progress
	// failures is the first failure that concerns one message, not the session: the run goes on.
	failures error
	// readForNames says that whole messages were read to name them; nameless are those that
	// broke a session then.
	readForNames bool
	nameless     map[itemHandle]bool
	day          daily
	// wasQuiet says when a mailbox was listed whole last, as far as that was known when the run began.
	wasQuiet func(box string) int64
	// watch is what goes on when a run with push has ended well; notWatched says why nothing does. alarmed says that
	// the run was asked for because the server told of messages.
	watch      *watch
	notWatched string
	alarmed    bool
	byHand     bool // somebody asked for it, and waits
}

// errGone says that the account does not exist any more.
var errGone = errors.New("account is gone")

// maxStarts is how often a job may start without a finish before it counts as poison.
const maxStarts = 3

// handle executes a claim to its settlement. A panic of a run is a fault of kind internal, of this run only.
func (w *Worker) handle(ctx context.Context, c *queue.Claim) {
	keep, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while what was done is being settled
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		c.Keep(keep)
	}()
	defer func() {
		stop()
		<-kept
	}()
	log := w.Log.WithLazy(zap.String("account", c.Domain+"/"+c.Name), zap.String("job", c.ID), zap.String("trigger", string(c.Trigger)))
	killpoint.Reach("worker.claimed")
	if c.Err != nil {
		w.bury(ctx, log, c, fault.New(fault.Internal, "job", c.Err))
		return
	}
	leave, ok := w.share(ctx, log, c)
	if !ok {
		return
	}
	defer leave()
	again := true
	for turn := 0; again && turn < 2; turn++ { // a trigger that came while the run went on is repeated once
		r := &run{w: w, claim: c, log: log, show: newProgress(w.Queue, c.Job), alarmed: turn == 0 && c.Trigger == queue.Push, byHand: byHand(c.Trigger, turn)}
		var err error
		again, err = r.execute(ctx, turn == 0)
		if settled := r.settleJob(ctx, err, again && turn == 0); settled {
			r.startWatch(ctx)
			return
		}
	}
}

// byHand says whether somebody asked for a turn of a run. The second one is for who came while the first went on: by hand, it may
// be, where that was not.
func byHand(t queue.Trigger, turn int) bool { return (t == queue.Manual) == (turn == 0) }

// execute does the steps of a run. It answers whether a trigger came meanwhile.
func (r *run) execute(ctx context.Context, first bool) (again bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a run panicked", zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
			if r.watch != nil {
				r.watch.leave(ctx)
				r.watch = nil
			}
			err = fault.Errorf(fault.Internal, "run", "panic; see the log of worker %s", r.w.cfg.Name)
		}
	}()
	if err := r.loadAccount(ctx); err != nil { // 1
		return false, err
	}
	if err := r.lock(ctx, first); err != nil { // 2
		return false, err
	}
	start := time.Now()
	r.report = &queue.Report{
		RunId: rand.Text(), JobId: r.claim.ID, AccountUid: r.acc.UID, Domain: r.acc.Domain, Name: r.acc.Name,
		Trigger: r.claim.Trigger.Proto(), Worker: r.w.cfg.Name, StartedAt: stamp(start),
		TlsMode: r.acc.Proto().GetTls(),
	}
	r.show.started(r.report)
	killpoint.Reach("worker.locked")
	err = r.underLock(r.hold.Context())
	if full, ok := crowded(err); ok {
		return r.standInLine(ctx, full, err)
	}
	if err != nil && ctx.Err() == nil && context.Cause(r.hold.Context()) != nil && !errors.As(err, new(*ledger.BusyError)) {
		if cause := context.Cause(r.hold.Context()); !errors.Is(cause, context.Canceled) {
			err = fault.New(fault.Canceled, "lock", cause)
		}
	}
	again = r.settle(ctx, err) // 8
	r.w.metrics.seconds.Observe(time.Since(start).Seconds())
	return again, err
}

// underLock does steps 3 to 7. ctx ends when the lock can no longer be trusted.
func (r *run) underLock(ctx context.Context) error {
	if r.hold.Starts() > maxStarts {
		return errPoison
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.w.cfg.RunLimit,
		fault.Errorf(fault.Timeout, "run", "took longer than %s; what is left is fetched next time", fault.Span(r.w.cfg.RunLimit)))
	defer cancel()
	if err := r.paused(); err != nil {
		return err
	}
	place, err := r.capped(ctx)
	if err != nil {
		return err
	}
	defer place.Leave()
	if err := r.open(ctx); err != nil { // 3
		return err
	}
	r.w.metrics.sessions.Inc()
	defer r.w.metrics.sessions.Dec()
	defer func() { // without effect after a Close in order
		if r.session != nil && r.watch == nil {
			r.session.Abort()
		}
	}()
	fresh, err := r.whatIsNew(ctx) // 4
	if err != nil {
		return err
	}
	if fresh, err = r.admit(ctx, fresh); err != nil {
		return err
	}
	r.report.New = int64(len(fresh))
	if len(fresh) > 0 { // else the end of the run, which says the same, follows at once
		r.show.listed(r.report)
	}
	killpoint.Reach("worker.listed")
	at, err := r.leaving(ctx)
	if err != nil {
		return err
	}
	if len(fresh) == 0 && len(at) == 0 {
		r.remember(ctx, nil)
	}
	if len(fresh) > 0 || len(at) > 0 {
		if err := r.fetchAndDelete(ctx, fresh); err != nil { // 5, 6, 7
			return err
		}
	} else if r.consumes() {
		r.session.Abort()
	} else if err := r.markSeen(ctx); err != nil {
		return err
	} else if err := r.endSession(ctx); err != nil {
		r.log.Debug("close", zap.Error(err)) // nothing was asked of the session: nothing depends on its end
	}
	return cmp.Or(r.failures, r.day.usedUp)
}

// paused says that delivery has asked not to fetch more for now. A run that was asked for by hand sees for itself, as does
// one of an account that was edited since.
func (r *run) paused() error {
	p, ok := r.index.Pause()
	if !ok || r.byHand || r.acc.Revision > p.Revision {
		return nil
	}
	return &fault.Error{Kind: p.Kind, Op: "paused", Err: errors.New(p.Reason), Until: p.Until}
}

// loadAccount is step 1.
func (r *run) loadAccount(ctx context.Context) error {
	c := r.claim
	a, err := r.w.Directory.AccountAt(ctx, c.Domain, c.Name, c.AccountUID, c.Revision)
	if errors.Is(err, directory.ErrNotFound) {
		return errGone
	}
	if errors.Is(err, directory.ErrLost) {
		return r.lost(err)
	}
	if err != nil {
		return giveBack(fmt.Errorf("load account: %w", err))
	}
	r.acc = a
	if !a.Active {
		return errInactive
	}
	r.slot, err = ledger.SlotOfAccount(a)
	return err
}

// lock is step 2.
func (r *run) lock(ctx context.Context, first bool) error {
	var err error
	r.hold, err = r.w.acquire(ctx, ledger.AcquireRequest{
		Slot: r.slot, Account: r.acc.UID, Job: r.claim.ID, Owner: r.w.cfg.Name, PerAccount: !r.w.settings.Load().POP3Locking,
	})
	var busy *ledger.BusyError
	switch {
	case err == nil:
		r.index = r.hold.Index()
		return nil
	case !errors.As(err, &busy):
		return giveBack(err)
	case busy.Watched:
		return &postponed{delay: r.w.cfg.BusyRetry, cause: err}
	case busy.Same && (r.claim.Delivered > 1 || !first):
		// Our own dead worker may hold it still: the job must outlive its stale lock.
		return &postponed{delay: busy.TTL + time.Second, cause: err}
	case busy.Same:
		return errCoalesced
	default:
		return &postponed{delay: min(r.w.cfg.BusyRetry*time.Duration(r.claim.Delivered), 30*time.Second), cause: err}
	}
}

// open is step 3: it returns with the mailbox listed.
func (r *run) open(ctx context.Context) error {
	t, domain, err := r.w.target(ctx, r.acc)
	if err != nil {
		return err
	}
	d := remote.Dialer{
		TLS: r.w.cfg.TLS, Limits: r.w.cfg.Session, Trusted: r.hold.Trusted,
	}
	t.Known, t.OnlyNew = r.quiet(), !r.acc.After.Removes() && !r.acc.MarkSeen // else what is old may have to go
	t.DialContext = r.w.within(r.acc, domain, t.DialContext, r.claim.Trigger == queue.Manual)
	r.session, err = r.w.signIn(ctx, r.acc, d, t)
	if err != nil {
		if r.acc.Auth == account.OAuth2 && fault.KindOf(err) == fault.Auth {
			err = errors.Join(err, r.w.OAuth.Forget(ctx, r.acc.UID)) // the next run has a new token
		}
		return err
	}
	r.report.Tls, r.report.Mechanism = r.session.Info().TLS, r.session.Info().Mechanism
	if err = r.w.sawTLS(ctx, r.acc, r.report.Tls); err == nil {
		r.listing, err = r.session.List(ctx)
	}
	if err != nil {
		r.session.Abort()
		return err
	}
	r.report.Listed = int64(len(r.listing.Items))
	for _, m := range r.listing.Mailboxes {
		if m.Unchanged {
			r.report.Listed += int64(m.Status.Messages)
		}
		r.report.Listed += int64(m.Before)
	}
	for _, n := range r.listing.Notes {
		r.note("%s", n)
	}
	return nil
}

// shown is what a fault of the run looks like in its report.
func shown(err error) *mailferryv1.Fault { return fault.Proto(err) }
