package directory

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/mailferry/mailferry/pkg/account"
)

// Find returns those of the accounts named that are there, by [account.Account.Ref], in a few calls for all of them. Any replica
// may answer; what one says that lags behind the leader is not believed. One that is not in the answer may be there
// nevertheless, and so may one whose record cannot be read: whoever creates it hears of it.
func (d *Directory) Find(ctx context.Context, named []account.Account) (map[string]account.Account, error) {
	keys := make([]string, len(named))
	for i, a := range named {
		keys[i] = accountKey(a.Domain, a.Name)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	found := make(map[string]account.Account, len(keys))
	err := d.retry(ctx, "find accounts", func(ctx context.Context) error {
		last, err := d.accounts.get(ctx, ">")
		if errors.Is(err, errNoKey) {
			return nil
		}
		if err != nil {
			return err
		}
		for some := range slices.Chunk(keys, batch) {
			got, upTo, err := d.accounts.batch(ctx, some)
			if err != nil {
				return err
			}
			if upTo < last.revision {
				continue
			}
			for _, e := range got {
				if a, err := d.readAccount(e); err == nil && !e.deleted {
					found[a.Ref()] = a
				}
			}
		}
		return nil
	})
	return found, err
}

// AtMost returns how many accounts a domain has, those counted too that were removed, in one call.
func (d *Directory) AtMost(ctx context.Context, domain string) (n int, err error) {
	err = d.retryLong(ctx, "count accounts", pageLimit, func(ctx context.Context) error {
		p, err := d.accounts.page(ctx, token(domain)+".*", math.MaxInt32) // it names none
		n = p.total
		return err
	})
	return n, err
}
