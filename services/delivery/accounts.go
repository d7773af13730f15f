package delivery

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/route"
	"github.com/mailferry/mailferry/pkg/transit"
	"go.uber.org/zap"
)

// accounts keeps what the directory says of accounts and destinations for a few seconds: a large mailbox
// is thousands of messages of one account.
type accounts struct {
	dir *directory.Directory
	mu  sync.Mutex
	acc map[string]kept[*account.Account]
	set map[string]kept[string] // of domains and settings
	ten map[string]kept[route.Tenant]

	sites map[string]kept[site]
}

type kept[T any] struct {
	value T
	until time.Time
}

const (
	keepFor = 5 * time.Second
	keepMax = 10_000
)

func newAccounts(dir *directory.Directory) *accounts {
	return &accounts{
		dir: dir, acc: map[string]kept[*account.Account]{}, set: map[string]kept[string]{},
		ten: map[string]kept[route.Tenant]{}, sites: map[string]kept[site]{},
	}
}

// get returns the account of a message at the revision it was fetched with or newer.
func (a *accounts) get(ctx context.Context, m *transit.Message) (*account.Account, error) {
	return cached(a, a.acc, m.GetAccountUid(), func(acc *account.Account) bool { return acc.Revision >= m.GetRevision() },
		func() (*account.Account, error) {
			acc, err := a.dir.AccountAt(ctx, m.GetDomain(), m.GetName(), m.GetAccountUid(), m.GetRevision())
			return &acc, err
		})
}

// forget drops what is kept of a message's account and its domain: they were mended just now, it may be, and the message is
// tried again for that.
func (a *accounts) forget(m *transit.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.acc, m.GetAccountUid())
	delete(a.ten, m.GetDomain())
	maps.DeleteFunc(a.set, func(key string, _ kept[string]) bool { return strings.HasPrefix(key, m.GetDomain()+" ") })
	maps.DeleteFunc(a.sites, func(key string, _ kept[site]) bool { return strings.HasSuffix(key, " "+m.GetDomain()) })
}

// forgetGone removes what lies in TRANSIT and DEAD of an account that was deleted while a message of it was in hand. Whoever
// deletes an account removes what was written before its record went.
func (d *Delivery) forgetGone(ctx context.Context, p *transit.Parcel) {
	_, err := d.Directory.AccountAt(ctx, p.GetDomain(), p.GetName(), p.GetAccountUid(), 0)
	if !errors.Is(err, directory.ErrNotFound) {
		return
	}
	if err := d.Transit.EraseAccount(ctx, p.GetAccountUid()); err != nil {
		d.Log.Warn("what is left of a deleted account is not removed", zap.String("uid", p.GetAccountUid()), zap.Error(err))
	}
}

// destination returns where mail for a target goes.
func (a *accounts) destination(ctx context.Context, domain string, t account.Target) (string, error) {
	key := domain + " " + t.Domain()
	if t.Mailbox != nil {
		key += "/"
	}
	return cached(a, a.set, key, func(string) bool { return true }, func() (string, error) {
		return a.dir.DestinationFor(ctx, domain, t)
	})
}

// tenant returns what an account's domain says of its mail.
func (a *accounts) tenant(ctx context.Context, domain string) (route.Tenant, error) {
	return cached(a, a.ten, domain, func(route.Tenant) bool { return true }, func() (route.Tenant, error) {
		d, err := a.dir.DomainOrDefault(ctx, domain)
		return route.Tenant{Local: d.LocalDomains, Aliases: d.AliasDomains, Rules: d.Rules, Postmaster: d.Postmaster,
			ReceivedBy: d.ReceivedBy, ClientAddress: d.ClientAddress}, err
	})
}

func cached[T any](a *accounts, m map[string]kept[T], key string, good func(T) bool, load func() (T, error)) (T, error) {
	now := time.Now()
	a.mu.Lock()
	k, ok := m[key]
	a.mu.Unlock()
	if ok && now.Before(k.until) && good(k.value) {
		return k.value, nil
	}
	v, err := load()
	if err != nil {
		return v, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(m) >= keepMax {
		clear(m)
	}
	m[key] = kept[T]{value: v, until: now.Add(keepFor)}
	return v, nil
}
