package directory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// batch is how many records are read at a time by their keys, and whole how many if they are all that a filter matches, which
	// costs the server less; it allows 1,024.
	batch, whole = 500, 1000
	// lagTries is how often a batch is asked again because a replica answered that lags behind.
	lagTries = 3
	// pageLimit bounds the naming of keys: the server looks at all there are.
	pageLimit = 20 * time.Second
)

// Accounts yields the accounts of a domain, or all for "", in the order of domain and name (within each
// 100,000 of them). What was there when it began, and is not removed, is yielded; a replica that lags behind
// is not believed. Records that cannot be read are passed over, see [Config.Unreadable]. An error ends it.
// In memory are the names of at most 100,000 accounts and 1,000 records.
func (d *Directory) Accounts(ctx context.Context, domain string) iter.Seq2[account.Account, error] {
	filter := ">"
	if domain != "" {
		filter = token(domain) + ".*"
	}
	return func(yield func(account.Account, error) bool) {
		for e, err := range d.accounts.list(ctx, "list accounts", filter, byAccount) {
			if err != nil {
				yield(account.Account{}, err)
				return
			}
			a, err := d.readAccount(e)
			if err != nil {
				d.unreadable(d.accounts, e, err)
				continue
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

// byAccount orders keys by domain and name.
func byAccount(key string) string {
	domain, name, _ := accountOfKey(key)
	return domain + "\x00" + name
}

// sortBy sorts keys by what order makes of them.
func sortBy(keys []string, order func(key string) string) {
	type ranked struct{ rank, key string }
	all := make([]ranked, len(keys))
	for i, key := range keys {
		all[i] = ranked{order(key), key}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(strings.Compare(a.rank, b.rank), strings.Compare(a.key, b.key))
	})
	for i := range all {
		keys[i] = all[i].key
	}
}

// list yields the live entries whose keys match filter, sorted by order within a page. An error ends it.
func (b *bucket) list(ctx context.Context, op, filter string, order func(key string) string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		last := "" // of the pages before
		for offset := 0; ; {
			var p page
			err := b.d.retryLong(ctx, op, pageLimit, func(ctx context.Context) (err error) {
				p, err = b.page(ctx, filter, offset)
				return err
			})
			if err != nil {
				yield(entry{}, err)
				return
			}
			offset += len(p.keys)
			// A key that was added meanwhile moves those behind it: what was yielded comes again.
			keys := slices.DeleteFunc(p.keys, func(k string) bool { return k <= last })
			if len(keys) > 0 {
				last = slices.Max(keys)
			}
			sortBy(keys, order)
			step := batch
			if len(p.keys) == p.total && p.total <= whole {
				step = whole
			}
			for chunk := range slices.Chunk(keys, step) {
				filters := chunk
				if step == whole {
					filters = []string{filter}
				}
				if !b.chunk(ctx, op, filters, chunk, p.upTo, yield) {
					return
				}
			}
			if offset >= p.total || len(p.keys) == 0 {
				return
			}
		}
	}
}

// page is a part of the keys of a bucket.
type page struct {
	keys  []string
	total int    // of all pages
	upTo  uint64 // last revision of the bucket
}

// page reads keys from the leader, at most 100,000. A further page comes in the order of the keys.
func (b *bucket) page(ctx context.Context, filter string, offset int) (page, error) {
	body, err := json.Marshal(map[string]any{"subjects_filter": b.root + filter, "offset": offset})
	if err != nil {
		return page{}, err
	}
	m, err := b.d.nc.RequestWithContext(ctx, b.d.api+"STREAM.INFO."+b.stream, body)
	if err != nil {
		return page{}, err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		Total int                 `json:"total"`
		State struct {
			LastSeq  uint64           `json:"last_seq"`
			Subjects map[string]int64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return page{}, err
	}
	if resp.Error != nil {
		return page{}, resp.Error
	}
	p := page{keys: make([]string, 0, len(resp.State.Subjects)), total: resp.Total, upTo: resp.State.LastSeq}
	for subject := range resp.State.Subjects {
		p.keys = append(p.keys, strings.TrimPrefix(subject, b.root))
	}
	return p, nil
}

// chunk yields the live entries among keys, which match filters, in their order. It answers whether to go on.
func (b *bucket) chunk(ctx context.Context, op string, filters, keys []string, upTo uint64, yield func(entry, error) bool) bool {
	var got map[string]entry
	err := b.d.retry(ctx, op, func(ctx context.Context) (err error) {
		for range lagTries {
			var seen uint64
			got, seen, err = b.batch(ctx, filters)
			if errors.Is(err, errMany) { // were added meanwhile
				return nil
			}
			if err != nil || seen >= upTo {
				return err
			}
			got = nil // of a replica that lags behind
			if !jsapi.Sleep(ctx, 2*jsapi.MinPause) {
				break
			}
		}
		return ctx.Err()
	})
	for _, key := range keys {
		e, ok := got[key]
		if err == nil && !ok {
			e, err = b.getOne(ctx, op, key)
		}
		switch {
		case errors.Is(err, errNoKey):
			err = nil
		case err != nil:
			yield(entry{}, err)
			return false
		case !e.deleted && !yield(e, nil):
			return false
		}
	}
	return true
}

func (b *bucket) getOne(ctx context.Context, op, key string) (e entry, err error) {
	err = b.d.retry(ctx, op, func(ctx context.Context) (err error) {
		e, err = b.get(ctx, key)
		return err
	})
	return e, err
}

// batch reads keys, or what filters match, from any replica in one request. It says up to which revision the replica had come; an
// entry that is not there has to be asked for by itself.
func (b *bucket) batch(ctx context.Context, filters []string) (got map[string]entry, upTo uint64, err error) {
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = b.root + f
	}
	body, err := json.Marshal(map[string]any{"multi_last": subjects})
	if err != nil {
		return nil, 0, err
	}
	inbox := b.d.nc.NewInbox()
	sub, err := b.d.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := b.d.nc.PublishRequest(b.d.api+"DIRECT.GET."+b.stream, inbox, body); err != nil {
		return nil, 0, err
	}
	got = make(map[string]entry, len(filters))
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, err
		}
		if m.Header.Get("Status") == "204" { // the end
			upTo, err = strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			return got, upTo, err
		}
		e, err := b.answer(m)
		if errors.Is(err, errNoKey) { // none, or one that vanished while the answer was made
			return got, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		got[e.key] = e
	}
}
