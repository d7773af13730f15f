package planner

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/schedule"
)

// follow takes changes of the directory into the due index, and enrols the accounts with their remote
// mailboxes, so that nothing is deleted there before these accounts have collected it too. Of an account that is there more than
// once the newest change holds.
func (p *Planner) follow(ctx context.Context, changes []directory.Change) error {
	last := make(map[string]directory.Change, len(changes))
	for _, c := range changes {
		if was, ok := last[c.UID]; c.UID != "" && (!ok || was.Revision <= c.Revision) {
			last[c.UID] = c
		}
	}
	var there []account.Account
	var gone []string
	for uid, c := range last {
		if c.Account != nil {
			there = append(there, *c.Account)
		} else {
			gone = append(gone, uid)
		}
	}
	if err := p.put(ctx, there, time.Now(), p.all); err != nil {
		return err
	}
	if err := p.due.Remove(ctx, gone...); err != nil {
		return err
	}
	for uid := range last {
		if err := p.queue.TellChanged(uid); err != nil { // whoever watches it hears of it later, from the due index
			p.log.Debug("a change of an account is not told", zap.String("uid", uid), zap.Error(err))
		}
	}
	return nil
}

// all chooses all entries.
func (p *Planner) all(_ context.Context, entries []due.Planned) ([]due.Planned, error) {
	return entries, nil
}

// put takes accounts into the due index, those that choose chooses, and enrolls these with their remote mailboxes.
func (p *Planner) put(ctx context.Context, accounts []account.Account, now time.Time, choose func(context.Context, []due.Planned) ([]due.Planned, error)) error {
	entries, enrol := make([]due.Planned, 0, len(accounts)), make(map[string]ledger.Enrolment, len(accounts))
	for _, a := range accounts {
		slot, err := ledger.SlotOfAccount(a)
		if err != nil { // cannot be stored; a record of another version might be
			p.log.Warn("account is passed over", zap.String("account", a.Ref()), zap.Error(err))
			continue
		}
		enrol[a.UID] = ledger.Enrolment{Slot: slot, Account: a.UID, Active: a.Active}
		entries = append(entries, p.planned(a, now))
	}
	entries, err := choose(ctx, entries)
	if err != nil || len(entries) == 0 {
		return err
	}
	chosen := make([]ledger.Enrolment, len(entries))
	for i, e := range entries {
		chosen[i] = enrol[e.UID]
	}
	if err := p.ledger.EnrollAll(ctx, chosen); err != nil {
		return err
	}
	return p.due.PutAll(ctx, entries)
}

// planned is an account as the due index has it.
func (p *Planner) planned(a account.Account, now time.Time) due.Planned {
	e := due.Entry{
		UID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Interval: a.Interval, Schedule: a.Schedule, Active: a.Active,
	}
	next := p.plan.next(e, now)
	if a.Push { // it is watched once it has run
		if soon := schedule.Next(a.UID, 6*p.cfg.Lease, now); next.IsZero() || soon.Before(next) {
			next = soon
		}
	}
	return due.Planned{Entry: e, Next: next}
}

// settings takes a new global schedule, and domain that of a domain: accounts that follow it are planned anew.
func (p *Planner) settings(ctx context.Context, s directory.Settings) {
	if was := p.plan.setGlobal(s); was != nil {
		p.log.Info("global schedule", zap.Duration("interval", s.Interval), zap.Strings("schedule", s.Schedule.Entries))
		p.replan(ctx, was, func(due.Entry) bool { return true })
	}
}

func (p *Planner) domain(ctx context.Context, d directory.Domain) {
	if was := p.plan.setDomain(d); was != nil {
		p.log.Info("schedule of a domain", zap.String("domain", d.Name), zap.Strings("schedule", d.Schedule.Entries))
		p.replan(ctx, was, func(e due.Entry) bool { return e.Domain == d.Name })
	}
}

func (p *Planner) replan(ctx context.Context, was *plan, whose func(due.Entry) bool) {
	now := time.Now()
	err := p.due.Replan(ctx, func(e due.Entry) (old, next time.Time) {
		if !whose(e) {
			return old, next
		}
		return was.after(e, now), p.plan.after(e, now)
	})
	if err != nil {
		p.log.Warn("a new schedule is taken by each account at its next turn only", zap.Error(err))
	}
}
