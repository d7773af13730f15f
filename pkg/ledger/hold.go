package ledger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// AcquireRequest asks for the lock of a remote mailbox.
type AcquireRequest struct {
	Slot Slot
	// Account is the uid; Job and Owner say for which job, and who holds.
	Account, Job, Owner string
	// PerAccount asks for a lock of this account alone: several sessions may then be open at the mailbox.
	PerAccount bool
	// Test asks for it only to look: a run that holds it is not told to repeat, nobody queues, nothing is counted, and
	// a run of the account that comes meanwhile waits as behind another account.
	Test bool
}

// Hold is a lock that is held. It is renewed until Release, which must be called. A hold may be used by
// several goroutines.
type Hold struct {
	l      *Ledger
	req    AcquireRequest
	keys   []string
	token  string
	starts int

	ctx    context.Context
	cancel context.CancelCauseFunc
	base   time.Time    // of the monotonic clock
	trust  atomic.Int64 // until when the lock is trusted, ns after base
	alarm  *time.Timer  // ends ctx when trust does
	stop   chan struct{}
	once   sync.Once
	wanted chan struct{} // closed once a run wants the mailbox of a watcher
	yield  sync.Once
	// confirmed says that what was doomed is gone.
	confirmed atomic.Bool
	done      chan struct{}

	mu    sync.Mutex
	epoch string
	index *Index
}

// Acquire takes the lock, counts the start of the job and reads the index, in one script. A lock that is
// not to be had is a *BusyError. The context of the hold derives from ctx.
func (l *Ledger) Acquire(ctx context.Context, req AcquireRequest) (*Hold, error) {
	if err := names("ledger acquire", req.Slot, req.Account); err != nil {
		return nil, err
	}
	h := &Hold{l: l, req: req, keys: req.Slot.workerKeys(req.Account, req.PerAccount), token: nonce(),
		stop: make(chan struct{}), done: make(chan struct{}), wanted: make(chan struct{})}
	attempt := l.now()
	reply, err := l.run(ctx, "acquire", h.keys, h.token, req.Account, req.Job, req.Owner, l.cfg.TTL.Milliseconds(),
		flag(req.PerAccount), int64(l.cfg.Waiter/time.Second), flag(req.Test))
	if err != nil {
		return nil, err
	}
	if text(reply, 0) == "BUSY" {
		how := text(reply, 4)
		busy := &BusyError{Account: text(reply, 1), Job: text(reply, 2),
			TTL:  time.Duration(number(reply, 3)) * time.Millisecond,
			Same: how == "same", Queued: how == "queued", Watched: how == "push"}
		if since := number(reply, 5); since > 0 {
			busy.Since = time.UnixMilli(since)
		}
		return nil, fault.New(fault.InUse, "ledger acquire", busy)
	}
	h.index = readIndex(reply)
	h.epoch, h.starts = h.index.epoch, startsOf(reply)
	h.begin(ctx, attempt)
	return h, nil
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func startsOf(reply []any) int {
	n := 0
	pairs(list(reply, 2), func(field, s string) {
		if field == "starts" {
			n = atoi(s)
		}
	})
	return n
}

// begin starts to trust and to renew.
func (h *Hold) begin(ctx context.Context, attempt time.Time) {
	h.base = attempt
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	h.alarm = time.AfterFunc(time.Hour, func() { h.lose(ErrUntrusted) })
	h.trusted(attempt)
	if h.l.idle {
		close(h.done)
		return
	}
	go h.renewals(context.WithoutCancel(ctx))
}

// trusted moves the end of trust to what an attempt that began then has earned.
func (h *Hold) trusted(attempt time.Time) {
	end := attempt.Add(h.l.cfg.TTL - h.l.cfg.Margin)
	h.trust.Store(int64(end.Sub(h.base)))
	h.alarm.Reset(end.Sub(h.l.now()))
}

func (h *Hold) lose(cause error) {
	h.cancel(fault.New(fault.Canceled, "ledger lock", cause))
}

// left is how long the lock is trusted from now on.
func (h *Hold) left() time.Duration {
	return time.Duration(h.trust.Load()) - h.l.now().Sub(h.base)
}

// renewals renews the lock every third of its TTL; what fails for a transient reason is tried again soon,
// for as long as the lock is trusted.
func (h *Hold) renewals(ctx context.Context) {
	defer close(h.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := context.AfterFunc(h.ctx, cancel)
	defer stopped()
	every, soon := h.l.cfg.TTL/3, h.l.cfg.TTL/30
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-h.ctx.Done():
			return
		case <-timer.C:
		}
		if h.renew(ctx) == nil {
			timer.Reset(every)
		} else {
			timer.Reset(soon)
		}
	}
}

// renew renews once. A refusal ends the hold at once.
func (h *Hold) renew(ctx context.Context) error {
	attempt := h.l.now()
	ctx, cancel := context.WithTimeout(ctx, max(h.left(), h.l.cfg.TTL/30)) // also when trust has ended: whoever holds the lock now is told
	defer cancel()
	reply, err := h.l.run(ctx, "renew", h.keys, h.token, h.Epoch(), h.l.cfg.TTL.Milliseconds())
	switch {
	case err == nil:
		h.trusted(attempt)
		if number(reply, 1) == 1 {
			h.yield.Do(func() { close(h.wanted) })
		}
	case errors.Is(err, ErrStale), errors.Is(err, ErrWrongKey):
		h.lose(err)
	}
	return err
}

// Context ends when the lock can no longer be trusted, when it is released, and with the context of Acquire.
// context.Cause says which.
func (h *Hold) Context() context.Context { return h.ctx }

// Token is the random name of this holding.
func (h *Hold) Token() string { return h.token }

// Trusted returns nil while the lock is ours for certain. It asks the clock only; call it before each write to a
// socket.
func (h *Hold) Trusted() error {
	if h.ctx.Err() != nil {
		return fault.Wrap(fault.Canceled, "ledger lock", context.Cause(h.ctx))
	}
	if h.left() <= 0 {
		return fault.New(fault.Canceled, "ledger lock", ErrUntrusted)
	}
	return nil
}

// Epoch is the epoch of the index, "" if it has none yet.
func (h *Hold) Epoch() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch
}

// Starts counts how often this job got the lock without a Finish, this time included.
func (h *Hold) Starts() int { return h.starts }

// Index is the index as read last, by Acquire or Reload.
func (h *Hold) Index() *Index {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index
}

// Reload reads index, states and marks again.
func (h *Hold) Reload(ctx context.Context) (*Index, error) {
	reply, err := h.run(ctx, "reload")
	if err != nil {
		return nil, err
	}
	ix := readIndex(reply)
	h.mu.Lock()
	h.index = ix
	h.mu.Unlock()
	return ix, nil
}

// Again says whether a run of this account was asked for meanwhile, and forgets it: the holder repeats once.
func (h *Hold) Again(ctx context.Context) (bool, error) {
	reply, err := h.run(ctx, "again")
	return err == nil && number(reply, 1) == 1, err
}

// Finish says that the run came to its end: the count of starts is cleared.
func (h *Hold) Finish(ctx context.Context) error {
	_, err := h.run(ctx, "finish")
	return err
}

// Confirm says that the remote server has confirmed the deletion of all that was doomed. It is told with the
// release, or Watch: that it vanishes from the listing means nothing then (see [Index.Renumbered]).
func (h *Hold) Confirm() { h.confirmed.Store(true) }

// Watch is Finish for a run whose session stays and waits for changes: the lock is kept and becomes one of kind
// push, which yields to any run. It is false, and nothing was done, where a run of this account was asked for
// meanwhile. The index as read last is forgotten: a watcher holds little.
func (h *Hold) Watch(ctx context.Context) (bool, error) {
	reply, err := h.run(ctx, "watch", flag(h.confirmed.Load()))
	kept := err == nil && number(reply, 1) == 1
	if kept {
		h.mu.Lock()
		h.index = nil
		h.mu.Unlock()
	}
	return kept, err
}

// Wanted is closed when a renewal has learned that a run wants the mailbox of a watcher.
func (h *Hold) Wanted() <-chan struct{} { return h.wanted }

// Release ends the renewals and frees the lock if it is still ours, else it returns ErrStale. again says that
// a run of this account was asked for since the last call of Again.
func (h *Hold) Release(ctx context.Context) (again bool, err error) {
	return h.release(ctx, "0")
}

// Done is Finish and Release in one script.
func (h *Hold) Done(ctx context.Context) (again bool, err error) {
	return h.release(ctx, "1")
}

func (h *Hold) release(ctx context.Context, finished string) (again bool, err error) {
	h.once.Do(func() { close(h.stop) })
	<-h.done
	h.alarm.Stop()
	h.lose(ErrReleased)
	reply, err := h.run(ctx, "release", finished, flag(h.confirmed.Load()))
	return err == nil && number(reply, 1) == 1, err
}

// run runs a script of a worker: token and epoch come first.
func (h *Hold) run(ctx context.Context, name string, args ...any) ([]any, error) {
	return h.l.run(ctx, name, h.keys, append([]any{h.token, h.Epoch()}, args...)...)
}
