package worker

import (
	"context"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/remote"
)

// maxNameless bounds how often a run signs in again because a message without a unique-id broke the session
// while it was read for its name.
const maxNameless = 3

// nameByContent names the messages for which the server gave no unique-id, or one that it gave twice: by the
// digest of their header where the session can read it alone, else of the whole message (remote.HeaderDigest,
// remote.MessageDigest). A message that breaks the session stays without a name in this run, which goes on in
// another session, so that it does not keep the others.
func (r *run) nameByContent(ctx context.Context, items []remote.Item) error {
	n := &naming{r: r, at: make(map[int]int, len(r.listing.Items))}
	for i, it := range r.listing.Items {
		n.at[it.Number] = i
	}
	left := items
	var err error
	if s, ok := r.session.(remote.HeaderReader); ok {
		left = nil
		err = s.Headers(ctx, items, func(f remote.Fetched) error {
			if f.Err != nil || n.name(f, remote.HeaderDigest) != nil {
				left = append(left, f.Item)
			}
			return nil
		})
	}
	if err == nil && len(left) > 0 {
		n.broke, r.readForNames = nil, true
		err = r.session.Fetch(ctx, left, func(f remote.Fetched) error {
			if f.Err != nil {
				r.failed(f.Item, f.Err)
				return nil
			}
			return n.name(f, remote.MessageDigest)
		})
	}
	if err == nil || n.broke == nil || len(r.nameless) == maxNameless || ctx.Err() != nil {
		return err
	}
	r.failed(*n.broke, err)
	if r.nameless == nil {
		r.nameless = make(map[int]bool)
	}
	r.nameless[n.broke.Number] = true
	r.session.Abort()
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.nameKeys(ctx)
}

// naming puts names to listed messages.
type naming struct {
	r     *run
	at    map[int]int  // message number → place in the listing
	broke *remote.Item // the message in which the session broke
}

func (n *naming) name(f remote.Fetched, digest func(io.Reader) ([]byte, error)) error {
	sum, err := digest(f.Body)
	if err != nil {
		if !errors.Is(err, remote.ErrAnonymous) {
			n.broke = &f.Item
		}
		return err
	}
	n.r.keys[n.at[f.Item.Number]] = n.r.w.Keyer.Content(sum)
	return nil
}
