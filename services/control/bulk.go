package control

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// batch is how many jobs are published at a time.
const batch = 200

// bulkConfig says what is wanted of many accounts.
type bulkConfig struct {
	wait    bool   // until each has ended a run
	failing bool   // only those whose last run failed
	label   string // only those that carry it; "": any
	request string // the name of the request, "" for none
}

// told is told how far it is.
type told interface {
	Send(*mailferryv1.FetchManyResponse) error
}

// bulk triggers many accounts and waits for at most a window of them at a time, so that its memory does
// not grow with the fleet. It goes at the pace that the budgets of the domains allow.
type bulk struct {
	s      *Service
	cfg    bulkConfig
	watch  *watch
	next   func() (account.Account, error, bool)
	stream told
	ends   chan ended // a window's worth: hearing never waits for the caller

	seen    int               // accounts read that are meant, inactive ones too
	open    int               // triggered and not reported yet
	held    []account.Account // read, and waiting for the budget of their domain; at most a batch
	drained bool
	total   mailferryv1.FetchManyResponse
}

func newBulk(s *Service, next func() (account.Account, error, bool), cfg bulkConfig, stream told) *bulk {
	b := &bulk{s: s, cfg: cfg, next: next, stream: stream, ends: make(chan ended, max(s.cfg.Window, batch))}
	b.watch = b.newWatch()
	return b
}

func (b *bulk) newWatch() *watch {
	w := newWatch(b.s, time.Now())
	w.request = b.cfg.request
	return w
}

// run hears the runs in a goroutine of its own: what is sent while jobs are published or the caller reads
// slowly would be lost, and every run that is not heard costs a look.
func (b *bulk) run(ctx context.Context) error {
	if !b.cfg.wait {
		return b.spend(ctx)
	}
	progress, stop, err := b.s.Queue.FollowProgress(ctx, "")
	if err != nil {
		return err
	}
	deaf := make(chan struct{})
	go func() {
		defer close(deaf)
		for p := range progress {
			if _, end := b.watch.hear(p, time.Now()); end != nil {
				b.ends <- *end
			}
		}
	}()
	defer func() {
		stop()
		<-deaf
	}()
	return b.loop(ctx, deaf)
}

// spend triggers all accounts as the budgets of their domains come back.
func (b *bulk) spend(ctx context.Context) error {
	for {
		if err := b.fill(ctx); err != nil || b.done() {
			return err
		}
		select {
		case <-time.After(b.s.cfg.Poll):
		case <-b.s.drain:
			return errCutOff()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// done says that there are no more accounts to trigger.
func (b *bulk) done() bool { return b.drained && len(b.held) == 0 }

func (b *bulk) loop(ctx context.Context, deaf <-chan struct{}) error {
	tick := time.NewTicker(b.s.cfg.Poll)
	defer tick.Stop()
	for {
		if err := b.fill(ctx); err != nil {
			return err
		}
		if b.done() && b.open == 0 {
			return nil
		}
		select {
		case e := <-b.ends:
			if err := b.send(e.report); err != nil {
				return err
			}
		case <-tick.C:
			if err := b.look(ctx); err != nil {
				return err
			}
		case <-deaf:
			return errCutOff()
		case <-b.s.drain:
			return errCutOff()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill triggers accounts until the window is full, a budget is used up, or there are no more.
func (b *bulk) fill(ctx context.Context) error {
	for !b.done() && b.open+batch <= cap(b.ends) {
		if err := b.read(ctx); err != nil {
			return err
		}
		accounts, err := b.admit(ctx)
		if err != nil {
			return err
		}
		failed, done := b.watch.trigger(ctx, accounts, time.Now())
		b.total.Accounts += int64(len(accounts))
		b.total.Triggered += int64(len(accounts) - len(failed))
		b.total.Held = int64(len(b.held))
		b.open += len(accounts)
		if err := b.send(nil); err != nil {
			return err
		}
		for _, e := range append(failed, done...) {
			if err := b.send(e.report); err != nil {
				return err
			}
		}
		if !b.cfg.wait {
			b.watch, b.open = b.newWatch(), 0
		}
		if len(b.held) > 0 {
			return nil
		}
	}
	return nil
}

// read fills up what is held with the next accounts that are meant.
func (b *bulk) read(ctx context.Context) error {
	var more []account.Account
	for len(b.held)+len(more) < batch {
		a, err, ok := b.next()
		if !ok {
			b.drained = true
			break
		}
		if err != nil {
			return err
		}
		if !a.HasLabel(b.cfg.label) {
			continue
		}
		b.seen++
		if a.Active {
			more = append(more, a)
		}
	}
	if b.cfg.failing {
		var err error
		if more, err = b.s.failing(ctx, more); err != nil {
			return err
		}
	}
	b.held = append(b.held, more...)
	return nil
}

// admit takes out of what is held as many accounts as the budgets of their domains allow.
func (b *bulk) admit(ctx context.Context) ([]account.Account, error) {
	want := map[string]int{}
	for _, a := range b.held {
		want[a.Domain]++
	}
	for domain, n := range want {
		got, _, err := b.s.admit(ctx, domain, n)
		if err != nil {
			return nil, err
		}
		want[domain] = got
	}
	var out, held []account.Account
	for _, a := range b.held {
		if want[a.Domain]--; want[a.Domain] >= 0 {
			out = append(out, a)
		} else {
			held = append(held, a)
		}
	}
	b.held = held
	return out, nil
}

func (b *bulk) look(ctx context.Context) error {
	now := time.Now()
	done, _, err := b.watch.look(ctx, now)
	for _, d := range done {
		if err := b.send(d.report); err != nil {
			return err
		}
	}
	if !b.watch.silent(now) {
		return nil // an error of one look may pass
	}
	if err != nil {
		return err
	}
	return refusal(connect.CodeDeadlineExceeded, fault.Timeout,
		"check that workers run and are not stuck ('mailferry status', the logs of the workers)",
		"nothing was heard of %d runs for %s; their jobs stay queued", b.watch.count(), fault.Span(b.s.cfg.GiveUp))
}

// send answers the totals, with the report of a run that has ended.
func (b *bulk) send(r *mailferryv1.RunReport) error {
	t := &b.total
	if r != nil {
		b.open--
		t.Finished++
		if r.GetFault() != nil {
			t.Failed++
		}
		t.Fetched += r.GetFetched()
		t.Delivered += r.GetDelivered()
		t.Bytes += r.GetBytes()
	}
	return b.stream.Send(&mailferryv1.FetchManyResponse{
		Accounts: t.GetAccounts(), Triggered: t.GetTriggered(), Finished: t.GetFinished(), Failed: t.GetFailed(),
		Fetched: t.GetFetched(), Delivered: t.GetDelivered(), Bytes: t.GetBytes(), Report: r, Held: t.GetHeld(),
	})
}
