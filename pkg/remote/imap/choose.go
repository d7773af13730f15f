package imap

import (
	"context"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/remote"
)

var _ remote.Chooser = (*session)(nil)

// searchChunk is how many messages one SEARCH asks about: well below what one may find.
const searchChunk = 20_000

// Choose asks the server which of the messages the criteria hold for (RFC 9051 §6.4.4). What it names
// besides is passed over.
func (s *session) Choose(ctx context.Context, items []remote.Item, c remote.Criteria) ([]remote.Item, error) {
	criteria := goimap.SearchCriteria{Before: c.Before, Since: c.Since}
	if c.Unseen {
		criteria.NotFlag = []goimap.Flag{goimap.FlagSeen}
	}
	var chosen []remote.Item
	err := s.inEach(ctx, "imap uid search", true, items, func(items []remote.Item) error {
		for items = ascending(items); len(items) > 0; {
			n := min(len(items), searchChunk)
			found, err := s.search(ctx, criteria, items[:n])
			if err != nil {
				return err
			}
			for _, it := range items[:n] {
				if found.Contains(goimap.UID(it.UID)) {
					chosen = append(chosen, it)
				}
			}
			items = items[n:]
		}
		return nil
	})
	return chosen, err
}

// search asks for the messages between the first and the last item.
func (s *session) search(ctx context.Context, c goimap.SearchCriteria, items []remote.Item) (goimap.UIDSet, error) {
	var found goimap.UIDSet
	c.UID = []goimap.UIDSet{{{Start: goimap.UID(items[0].UID), Stop: goimap.UID(items[len(items)-1].UID)}}}
	err := s.do(ctx, "imap uid search", s.expect(noFetch, len(items), 0), func() error {
		data, err := s.client.UIDSearch(&c, nil).Wait()
		if err == nil {
			found, _ = data.All.(goimap.UIDSet)
		}
		return err
	})
	return found, err
}
