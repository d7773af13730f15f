package worker

import (
	"context"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// maxNameless bounds how often a run signs in again because a message without a unique-id broke the session
// while it was read for its name.
const maxNameless = 3

// nameByContent names the messages for which the server gave no unique-id or UIDVALIDITY, or one that it gave twice: by the
// digest of their header where the session can read it alone, else of the whole message (remote.HeaderDigest,
// remote.MessageDigest). A message that breaks the session stays without a name in this run, which goes on in
// another session, so that it does not keep the others.
func (r *run) nameByContent(ctx context.Context, items []remote.Item) error {
	n := &naming{r: r, at: make(map[itemHandle]int, len(r.listing.Items))}
	for i, it := range r.listing.Items {
		n.at[handle(it)] = i
	}
	left := items
	var err error
	if s, ok := r.session.(remote.HeaderReader); ok {
		left = nil
		err = n.ask(ctx, items, s.Headers, remote.HeaderDigest, func(it remote.Item, _ error) { left = append(left, it) })
	}
	if err == nil && len(left) > 0 {
		r.readForNames = true
		err = n.ask(ctx, left, r.session.Fetch, remote.MessageDigest, r.failed)
	}
	if err == nil || n.broke == nil || len(r.nameless) == maxNameless || ctx.Err() != nil {
		return err
	}
	r.failed(*n.broke, err)
	if r.nameless == nil {
		r.nameless = make(map[itemHandle]bool)
	}
	r.nameless[handle(*n.broke)] = true
	r.session.Abort()
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.nameKeys(ctx)
}

// naming puts names to listed messages.
type naming struct {
	r     *run
	at    map[itemHandle]int // place in the listing
	broke *remote.Item       // the message at which the session broke
}

// ask reads the items by read, names them by digest, and hands over those that came to no name.
func (n *naming) ask(ctx context.Context, items []remote.Item, read func(context.Context, []remote.Item, func(remote.Fetched) error) error,
	digest func(io.Reader) ([]byte, error), failed func(remote.Item, error),
) error {
	done := 0
	err := read(ctx, items, func(f remote.Fetched) error {
		sum, err := []byte(nil), f.Err
		if err == nil {
			if sum, err = digest(f.Body); err == nil {
				_, err = io.Copy(io.Discard, f.Body) // to see that it has an end
			}
			if err != nil && !errors.Is(err, remote.ErrAnonymous) && fault.KindOf(err) != fault.Policy {
				return err
			}
		}
		if done++; err != nil {
			failed(f.Item, err)
			return nil
		}
		// The same message in two mailboxes is two.
		n.r.keys[n.at[handle(f.Item)]] = n.r.w.Keyer.Content(append(sum, f.Item.Mailbox...))
		return nil
	})
	if err != nil && done < len(items) {
		n.broke = &items[done]
	}
	return err
}

// unnumbered says that the server gives the mailbox of a message no UIDVALIDITY.
func unnumbered(it remote.Item) bool { return it.Mailbox != "" && it.UIDValidity == 0 }
