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

// bulk triggers many accounts and waits for at most a window of them at a time, so that its memory does
// not grow with the fleet.
type bulk struct {
	s      *Service
	watch  *watch
	next   func() (account.Account, error, bool)
	wait   bool
	stream *connect.ServerStream[mailferryv1.FetchManyResponse]
	ends   chan ended // a window's worth: hearing never waits for the caller

	seen    int // accounts read, inactive ones too
	open    int // triggered and not reported yet
	drained bool
	total   mailferryv1.FetchManyResponse
}

func newBulk(s *Service, next func() (account.Account, error, bool), wait bool, stream *connect.ServerStream[mailferryv1.FetchManyResponse]) *bulk {
	return &bulk{
		s: s, watch: newWatch(s, time.Now()), next: next, wait: wait, stream: stream,
		ends: make(chan ended, max(s.cfg.Window, batch)),
	}
}

// run hears the runs in a goroutine of its own: what is sent while jobs are published or the caller reads
// slowly would be lost, and every run that is not heard costs a look.
func (b *bulk) run(ctx context.Context) error {
	if !b.wait {
		return b.fill(ctx)
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

func (b *bulk) loop(ctx context.Context, deaf <-chan struct{}) error {
	tick := time.NewTicker(b.s.cfg.Poll)
	defer tick.Stop()
	for {
		if err := b.fill(ctx); err != nil {
			return err
		}
		if b.drained && b.open == 0 {
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

// fill triggers accounts until the window is full or there are no more.
func (b *bulk) fill(ctx context.Context) error {
	for !b.drained && b.open+batch <= cap(b.ends) {
		accounts, err := b.read()
		if err != nil {
			return err
		}
		failed, done := b.watch.trigger(ctx, accounts, time.Now())
		b.total.Accounts += int64(len(accounts))
		b.total.Triggered += int64(len(accounts) - len(failed))
		b.open += len(accounts)
		if err := b.send(nil); err != nil {
			return err
		}
		for _, e := range append(failed, done...) {
			if err := b.send(e.report); err != nil {
				return err
			}
		}
		if !b.wait {
			b.watch, b.open = newWatch(b.s, time.Now()), 0
		}
	}
	return nil
}

// read returns the next active accounts, none at the end.
func (b *bulk) read() ([]account.Account, error) {
	var out []account.Account
	for len(out) < batch {
		a, err, ok := b.next()
		if !ok {
			b.drained = true
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		b.seen++
		if a.Active {
			out = append(out, a)
		}
	}
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
		"nothing was heard of %d runs for %v; their jobs stay queued", b.watch.count(), b.s.cfg.GiveUp)
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
		Fetched: t.GetFetched(), Delivered: t.GetDelivered(), Bytes: t.GetBytes(), Report: r,
	})
}
