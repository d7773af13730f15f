package worker

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	"go.uber.org/zap"
)

// A run of an account that asks for push does not end its session when all went well: the job is settled and its slot
// is free, and the session waits for messages (IDLE) under the lock of the run, which became one of kind push. What
// ends a watch, and what follows from it, is in watch.go.
//
// While it lasts, the account's due time is moved on, so that nobody polls; it is never far ahead, so that the account
// is run, and watched, by another worker soon after this one died.

// watchers bounds the sessions of a worker that wait.
type watchers struct {
	limit, perHost int
	// ctx ends when the worker drains.
	ctx     context.Context
	drain   context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	all   int
	hosts map[string]int
}

func newWatchers(limit, perHost int) *watchers {
	ctx, drain := context.WithCancel(context.Background())
	return &watchers{limit: limit, perHost: perHost, ctx: ctx, drain: drain, hosts: map[string]int{}}
}

// enter counts a session at the host, or says why it cannot wait.
func (w *watchers) enter(host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ctx.Err() != nil:
		return errDrained
	case w.all >= w.limit:
		return errors.New("the worker watches as many mailboxes as it may (--push-sessions)")
	case w.hosts[host] >= w.perHost:
		return errors.New("the worker watches as many mailboxes at this host as it may (--push-per-host)")
	}
	w.all++
	w.hosts[host]++
	return nil
}

func (w *watchers) leave(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.hosts[host]--; w.hosts[host] == 0 {
		delete(w.hosts, host)
	}
}

// endSession ends the session of a run that did all it had to, in order; or keeps it to wait for messages.
func (r *run) endSession(ctx context.Context) error {
	if r.acc.Push && r.failures == nil && r.report.Left == 0 {
		err := r.prepareWatch(ctx)
		if r.watch != nil {
			return nil
		}
		if r.notWatched = "polled on its schedule: " + err.Error(); !errors.Is(err, errDrained) {
			r.log.Debug("no push", zap.Error(err))
		}
	}
	return r.session.Close(ctx)
}

// prepareWatch tries whether the server idles, and keeps the session then.
func (r *run) prepareWatch(ctx context.Context) error {
	idler, ok := r.session.(remote.Idler)
	if !ok {
		return remote.ErrNoIdle
	}
	name, _, err := r.acc.HostPort()
	if err != nil {
		return fault.New(fault.Policy, "account", err)
	}
	host := strings.ToLower(name)
	if err := r.w.watchers.enter(host); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, r.session.Abort)()
	news, err := idler.Idle(ctx, 0)
	if err != nil {
		r.w.watchers.leave(host)
		return err
	}
	r.watch = &watch{w: r.w, log: r.log, acc: r.acc, hold: r.hold, session: r.session, idler: idler, host: host, news: news}
	return nil
}

// keepWatch turns the lock of a run that ended well into one of kind push; else nothing stays open. It does not where
// another run was asked for meanwhile. The due time comes first: from here on, whenever the worker dies, the account is
// run again soon.
func (r *run) keepWatch(ctx context.Context, err error) bool {
	if r.watch == nil {
		return false
	}
	kept := err == nil
	if kept {
		kept, err = r.watch.moveOn(ctx)
	}
	if kept {
		killpoint.Reach("worker.watching")
		kept, err = r.hold.Watch(ctx)
	}
	if !kept {
		r.watch.leave(ctx)
		r.watch = nil
	}
	if err != nil {
		r.log.Debug("no push", zap.Error(err))
	}
	return kept
}

// acquire takes a lock. Whoever watches the mailbox is asked first to give it up; after a test it is watched again.
func (w *Worker) acquire(ctx context.Context, req ledger.AcquireRequest) (*ledger.Hold, error) {
	hold, err := w.Ledger.Acquire(ctx, req)
	var busy *ledger.BusyError
	if !errors.As(err, &busy) || !busy.Watched {
		return hold, err
	}
	asking, cancel := context.WithTimeout(ctx, 2*yieldTime)
	defer cancel()
	if req.Test {
		err = w.Queue.Yield(asking, busy.Account, "")
	} else {
		err = w.Queue.Yield(asking, busy.Account, req.Account)
	}
	if err != nil {
		w.Log.Debug("a watcher does not answer", zap.Error(err)) // it is dead, or hears of it when it renews its lock
	}
	return w.Ledger.Acquire(ctx, req)
}

// startWatch lets the session wait, in a goroutine that Drain waits for.
func (r *run) startWatch(ctx context.Context) {
	if x := r.watch; x != nil {
		killpoint.Reach("worker.watched")
		x.falseAlarm = r.alarmed && r.report.New == 0
		r.w.watchers.running.Go(func() { x.run(ctx) })
	}
}
