package worker

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/account/providers"
	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"go.uber.org/zap"
)

// dialFunc opens a connection to a remote server.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// within opens connections by dial only within the budget of the remote host; who has one holds a place until it is
// closed, whatever closes it.
func (w *Worker) within(a account.Account, d directory.Domain, dial dialFunc, hurry bool) dialFunc {
	l := w.limit(a, d)
	if l.None() {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		place, err := w.Budget.Enter(ctx, l, budget.Visitor{Account: a.UID, Domain: a.Domain, Hurry: hurry})
		var full *budget.Full
		if errors.As(err, &full) {
			w.metrics.full.Inc()
			err = &fault.Error{Kind: fault.Throttled, Op: "dial", Err: err, Until: time.Now().Add(full.Wait)}
		}
		if err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, addr)
		switch fault.KindOf(err) {
		case fault.None:
			place.Dialed(ctx, true)
			return &placed{Conn: conn, leave: sync.OnceFunc(place.Leave)}, nil
		case fault.Refused, fault.Timeout, fault.Network:
			if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				place.Dialed(context.WithoutCancel(ctx), false)
			}
		}
		place.Leave()
		return nil, err
	}
}

// limit returns what the fleet may do at the host of an account; where sessions of a domain come from an address of its
// own, that address has a budget of its own.
func (w *Worker) limit(a account.Account, d directory.Domain) budget.Limit {
	host, port, err := a.HostPort()
	if err != nil {
		return budget.Limit{}
	}
	name, b := w.budgetOf(a, d)
	return budget.Limit{Name: name, Address: net.JoinHostPort(host, strconv.Itoa(port)) + d.EgressProxy, Sessions: b.Sessions, LoginsPerMinute: b.LoginsPerMinute}
}

// budgetOf returns the budget at the host of an account, and its name.
func (w *Worker) budgetOf(a account.Account, d directory.Domain) (name string, b account.Budget) {
	host, _, err := a.HostPort()
	if err != nil {
		return "", account.Budget{}
	}
	p, _ := providers.ByHost(host)
	name, b = w.settings.Load().Budgets.For(host, p.Name)
	if d.EgressSource != "" {
		name += "@" + d.EgressSource
	}
	return name, b
}

// placed is a connection that holds a place.
type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// crowded says that a run ended before it began, since its host has no place for it.
func crowded(err error) (*budget.Full, bool) {
	var full *budget.Full
	return full, errors.As(err, &full)
}

// standInLine ends such a run: the account is due when it is its turn, and it costs neither a slot nor a failure until
// then. Somebody who waits for it has the job itself wait.
func (r *run) standInLine(ctx context.Context, full *budget.Full, err error) (again bool, _ error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	now := time.Now()
	at := now.Add(full.Wait)
	r.log.Debug("no place", zap.String("budget", full.Limit.Name), zap.Time("again", at))
	if r.claim.Trigger == queue.Manual {
		r.release(ctx, fault.None)
		return false, &postponed{delay: min(max(full.Wait, time.Second), time.Minute), cause: err}
	}
	// Not at the very time before which a retry is useless: what is due then has to be in the hours of the schedule.
	if _, serr := r.w.Due.Settle(ctx, r.acc.UID, due.Ended{Kind: fault.Throttled, NotBefore: at.Add(-time.Second), At: now}); serr != nil {
		r.log.Warn("the turn is not kept; the schedule goes on", zap.Error(serr))
	} else if serr := r.w.Due.Hasten(ctx, r.acc.UID, at); serr != nil {
		r.log.Warn("the turn comes with the schedule", zap.Error(serr))
	}
	r.report.FinishedAt, r.report.Fault = stamp(now), shown(err)
	return r.release(ctx, fault.None), err
}
