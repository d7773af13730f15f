package delivery

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/transit"
)

// accounts keeps what the directory says of accounts and destinations for a few seconds: a large mailbox
// is thousands of messages of one account.
type accounts struct {
	dir *directory.Directory
	mu  sync.Mutex
	acc map[string]kept[account.Account]
	dst map[string]kept[string]
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
	return &accounts{dir: dir, acc: map[string]kept[account.Account]{}, dst: map[string]kept[string]{}}
}

// get returns the account of a message at the revision it was fetched with or newer.
func (a *accounts) get(ctx context.Context, m *transit.Message) (account.Account, error) {
	return cached(a, a.acc, m.GetAccountUid(), func(acc account.Account) bool { return acc.Revision >= m.GetRevision() },
		func() (account.Account, error) {
			return a.dir.AccountAt(ctx, m.GetDomain(), m.GetName(), m.GetAccountUid(), m.GetRevision())
		})
}

// destination returns where mail for the account's Forward to address goes: that of the address's domain, of
// the account's domain, or the global one, the first that is set.
func (a *accounts) destination(ctx context.Context, acc account.Account) (string, error) {
	_, rcpt, _ := strings.Cut(acc.ForwardTo, "@")
	return cached(a, a.dst, acc.Domain+" "+rcpt, func(string) bool { return true }, func() (string, error) {
		for _, name := range []string{strings.ToLower(rcpt), acc.Domain} {
			d, err := a.dir.Domain(ctx, name)
			if err != nil && !errors.Is(err, directory.ErrNotFound) {
				return "", err
			}
			if d.Destination != "" {
				return d.Destination, nil
			}
		}
		s, err := a.dir.Settings(ctx)
		if err != nil {
			return "", err
		}
		if s.Destination == "" {
			return "", fault.Errorf(fault.DestinationTemporary, "route",
				"no destination for %s: set one with 'mailferry settings set destination=…' or 'mailferry domain edit'", fault.Clean(rcpt))
		}
		return s.Destination, nil
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
