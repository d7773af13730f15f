package delivery

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/route"
	"go.uber.org/zap"
)

const (
	// tellers is how many notices of a channel are sent at once.
	tellers = 4
	// tellLimit bounds one attempt.
	tellLimit = 45 * time.Second
	// tellRetryMax is the longest pause between two attempts.
	tellRetryMax = 10 * time.Minute
)

// tellAll sends notices until ctx ends.
func (d *Delivery) tellAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, ch := range notice.Channels {
		g := &gates{open: map[string]*gate{}}
		for range tellers {
			wg.Go(func() { d.tellOn(ctx, ch, g) })
		}
	}
	wg.Wait()
}

// tellOn sends the notices of a channel, one after the other.
func (d *Delivery) tellOn(ctx context.Context, ch notice.Channel, g *gates) {
	for {
		c, err := d.Notices.Next(ctx, ch)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.Log.Warn("notices", zap.String("channel", string(ch)), zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		d.tellOne(ctx, ch, g, c)
	}
}

// tellOne makes one attempt, unless one for the same domain goes on or has just failed: who does not answer holds up
// nobody but himself.
func (d *Delivery) tellOne(ctx context.Context, ch notice.Channel, g *gates, c *notice.Claim) {
	log := d.Log.With(zap.String("account", c.GetDomain()+"/"+c.GetName()), zap.String("channel", string(ch)), zap.String("notice", c.GetId()))
	now := time.Now()
	if wait := g.enter(c.GetDomain(), now); wait > 0 {
		_ = c.Again(wait) // it comes again after a minute
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellLimit)
	defer cancel()
	sent, err := d.tell(ctx, ch, c)
	kind := fault.KindOf(err)
	final := kind == fault.Policy || kind == fault.DestinationRejected
	wait := d.tellBackoff(c.Delivered)
	g.leave(c.GetDomain(), err == nil || final, time.Now(), wait)
	switch {
	case err == nil && !sent: // nobody is to be told on this channel
	case err == nil:
		d.metrics.notices.WithLabelValues(string(ch), "sent").Inc()
		log.Debug("a notice is sent", zap.String("type", string(notice.TypeOf(c.Notice))))
	case final || now.Sub(c.GetAt().AsTime())+wait > notice.MaxAge:
		d.metrics.notices.WithLabelValues(string(ch), "dropped").Inc()
		log.Warn("a notice is not sent, and is not tried again", zap.Error(err), zap.String("kind", kind.String()))
	default:
		d.metrics.notices.WithLabelValues(string(ch), "failed").Inc()
		log.Warn("a notice is not sent yet", zap.Error(err), zap.String("kind", kind.String()), zap.Duration("retry_in", wait))
		_ = c.Again(wait)
		return
	}
	if err := c.Done(ctx); err != nil {
		log.Debug("ack of a notice", zap.Error(err)) // it comes again, under the same id
	}
}

// tell makes one attempt; sent is false where the channel leads to nobody.
func (d *Delivery) tell(ctx context.Context, ch notice.Channel, c *notice.Claim) (sent bool, err error) {
	acc, err := d.Directory.AccountAt(ctx, c.GetDomain(), c.GetName(), c.GetAccountUid(), 0)
	if errors.Is(err, directory.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if ch == notice.OwnerMail {
		return d.mailOwner(ctx, acc, c)
	}
	n, domain, hooks := directory.Notify{}, "", d.FleetHooks
	if ch == notice.DomainMail || ch == notice.DomainWebhook {
		dom, derr := d.Directory.Domain(ctx, acc.Domain)
		if derr != nil && !errors.Is(derr, directory.ErrNotFound) {
			return false, derr
		}
		n, domain, hooks = dom.Notify, acc.Domain, d.DomainHooks
	} else {
		set, err := d.Directory.Settings(ctx)
		if err != nil {
			return false, err
		}
		n = set.Notify
	}
	switch {
	case ch == notice.DomainMail || ch == notice.FleetMail:
		return n.NotifyAdmin != "", d.mail(ctx, acc, n.NotifyAdmin, c)
	case n.WebhookURL == "":
		return false, nil
	}
	secret, err := d.Vault.Unseal([]byte(n.SealedWebhookSecret), n.SealContext(domain))
	if err != nil {
		return true, err
	}
	return true, hooks.Post(ctx, n.WebhookURL, secret, c.Notice, time.Now())
}

// mailOwner sends a notice to the address that the account names, or to the one that its mail goes to.
func (d *Delivery) mailOwner(ctx context.Context, acc account.Account, c *notice.Claim) (sent bool, err error) {
	to := acc.NotifyTo
	if to == "" {
		t, err := account.ParseTarget("forward_to", acc.ForwardTo)
		if err != nil {
			return false, fault.New(fault.Policy, "notice", err)
		}
		to = t.Address
	}
	if !acc.Notify {
		return false, nil
	}
	return true, d.mail(ctx, acc, to, c)
}

// mail hands a notice over to the destination of its address, as any other mail, from nobody.
func (d *Delivery) mail(ctx context.Context, acc account.Account, to string, c *notice.Claim) error {
	if to == "" {
		return nil
	}
	target, err := account.ParseTarget("notify_to", to)
	if err != nil {
		return fault.New(fault.Policy, "notice", err)
	}
	name, err := d.accounts.destination(ctx, acc.Domain, target)
	if err != nil {
		return err
	}
	at, err := d.accounts.site(ctx, acc.Domain, route.Leg{Destination: name, To: []string{to}})
	if err != nil {
		return err
	}
	dest, err := d.dests.get(at)
	if err != nil {
		return err
	}
	content := notice.Mail(c.Notice, to)
	m := local.Message{Body: bytes.NewReader(content), Size: int64(len(content)), ID: c.GetId(), Date: c.GetAt().AsTime()}
	replies, err := dest.Deliver(ctx, local.Envelope{To: []string{to}}, m, func(context.Context) error { return nil })
	if err != nil {
		return err
	}
	if len(replies) == 0 {
		return fault.Errorf(fault.DestinationTemporary, "notice", "the destination did not answer")
	}
	return replies[0].Fault()
}

// tellBackoff doubles with each attempt.
func (d *Delivery) tellBackoff(attempt int) time.Duration {
	wait := d.cfg.RetryMin
	for i := 1; i < attempt && wait < tellRetryMax; i++ {
		wait *= 2
	}
	return min(wait, tellRetryMax)
}

// gates let one attempt at a time through for each domain, and none for a while after one that failed.
type gates struct {
	mu   sync.Mutex
	open map[string]*gate // those of domains with an attempt that goes on or has failed
}

type gate struct {
	busy  bool
	until time.Time
}

// enter returns 0 if an attempt may be made, which leave ends, else for how long not.
func (g *gates) enter(domain string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.open[domain]
	spread := time.Duration(rand.Int64N(int64(time.Second)))
	switch {
	case a == nil:
		a = &gate{}
		g.open[domain] = a
	case a.busy:
		return time.Second + spread
	case now.Before(a.until):
		return a.until.Sub(now) + spread
	}
	a.busy = true
	return 0
}

func (g *gates) leave(domain string, well bool, now time.Time, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if well {
		delete(g.open, domain)
		return
	}
	g.open[domain].busy, g.open[domain].until = false, now.Add(wait)
}
