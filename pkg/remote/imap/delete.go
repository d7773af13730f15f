package imap

import (
	"cmp"
	"context"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/remote"
)

// maxCommand is how long a command of Delete may be (RFC 2683 §3.2.1.5).
const maxCommand = 900

// Delete flags the messages \Deleted and expunges them. Without UIDPLUS it expunges only where nothing
// else is flagged; else they stay flagged, for whoever expunges next.
func (s *session) Delete(ctx context.Context, items []remote.Item) error {
	return s.inEach(ctx, "imap delete", false, items, func(items []remote.Item) error { return s.remove(ctx, items) })
}

// remove is Delete in the mailbox that is selected.
func (s *session) remove(ctx context.Context, items []remote.Item) error {
	plus := s.caps.Has(goimap.CapUIDPlus)
	for _, set := range sets(items) {
		if err := s.flag(ctx, set, goimap.FlagDeleted); err != nil {
			return err
		}
		if !plus {
			continue
		}
		err := s.do(ctx, "imap uid expunge", s.expect(noFetch, len(items), 0), func() error {
			return s.client.UIDExpunge(set).Close()
		})
		if err != nil {
			return err
		}
	}
	if plus {
		return nil
	}
	return s.expungeOurs(ctx, items)
}

// flag sets a flag.
func (s *session) flag(ctx context.Context, set goimap.UIDSet, flag goimap.Flag) error {
	return s.do(ctx, "imap uid store", s.expect(noFetch, 0, 0), func() error {
		return s.client.Store(set, &goimap.StoreFlags{
			Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{flag},
		}, nil).Close()
	})
}

// expungeOurs expunges if all that is flagged is ours. A search that finds nothing tells nothing: ours
// have just been flagged.
func (s *session) expungeOurs(ctx context.Context, items []remote.Item) error {
	found, err := s.flagged(ctx, items)
	if err != nil || len(found) == 0 || !onlyOurs(found, items) {
		return err
	}
	return s.do(ctx, "imap expunge", s.expect(noFetch, len(items), 0), func() error {
		return s.client.Expunge().Close()
	})
}

// flagged asks for all that is flagged \Deleted.
func (s *session) flagged(ctx context.Context, items []remote.Item) (goimap.UIDSet, error) {
	var found goimap.UIDSet
	err := s.do(ctx, "imap uid search", s.expect(noFetch, len(items), 0), func() error {
		data, err := s.client.UIDSearch(&goimap.SearchCriteria{Flag: []goimap.Flag{goimap.FlagDeleted}}, nil).Wait()
		if set, ok := data.All.(goimap.UIDSet); ok {
			found = set
		}
		return err
	})
	return found, err
}

// onlyOurs says whether every UID of found is that of an item. Ranges are compared as they are: a server
// may name four thousand million.
func onlyOurs(found goimap.UIDSet, items []remote.Item) bool {
	var ours goimap.UIDSet
	for _, it := range ascending(items) {
		ours.AddNum(goimap.UID(it.UID))
	}
	for _, r := range found {
		i, _ := slices.BinarySearchFunc(ours, r.Start, func(o goimap.UIDRange, uid goimap.UID) int {
			return cmp.Compare(o.Stop, uid)
		})
		if i == len(ours) || r.Start < ours[i].Start || r.Stop < r.Start || r.Stop > ours[i].Stop {
			return false
		}
	}
	return true
}

// sets returns the items as sets, each short enough for a command.
func sets(items []remote.Item) []goimap.UIDSet {
	var all []goimap.UIDSet
	var set goimap.UIDSet
	octets := 0
	for _, it := range ascending(items) {
		ranges := len(set)
		set.AddNum(goimap.UID(it.UID))
		if len(set) > ranges {
			octets += len("4294967295:4294967295,")
		}
		if octets > maxCommand {
			all = append(all, set)
			set, octets = nil, 0
		}
	}
	if len(set) > 0 {
		all = append(all, set)
	}
	return all
}

func ascending(items []remote.Item) []remote.Item {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b remote.Item) int { return cmp.Compare(a.UID, b.UID) })
	return items
}
