package worker

import (
	"cmp"
	"context"
	"slices"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
)

// mailbox is what a session listed, the key of each message, and what the index says of them.
type mailbox struct {
	listing remote.Listing
	keys    []ledger.Key // of listing.Items; "" where a message has none
	index   *ledger.Index
}

// collected returns the positions of the messages that are collected, in the order of the listing: those
// alone may ever be counted, deleted or moved.
func (m mailbox) collected() []int {
	var at []int
	unlike := m.unlike()
	for i, k := range m.keys {
		if k == "" || unlike[k] {
			continue
		}
		if s := m.index.State(k); s == ledger.StateCollected || s == ledger.StateDeleting {
			at = append(at, i)
		}
	}
	return at
}

// unlike returns the keys that messages of different sizes share, as two with one header may: which of them was
// collected is not known.
func (m mailbox) unlike() map[ledger.Key]bool {
	size, unlike := make(map[ledger.Key]int64, len(m.keys)), make(map[ledger.Key]bool)
	for i, k := range m.keys {
		was, twice := size[k]
		if twice && was != m.listing.Items[i].Size {
			unlike[k] = true
		}
		size[k] = m.listing.Items[i].Size
	}
	return unlike
}

// leaving returns which of the collected messages, given by their positions, the account's rules take away
// from the remote mailbox now. Of a mailbox whose listing contradicts itself nothing is.
//
// The newest that are to be kept stay whatever else is said. Of the others all go, or, where the account
// sets an age or a size, those that are older or larger.
func (m mailbox) leaving(a account.Account, collected []int, old func(i int) bool) []int {
	if !a.After.Removes() {
		return nil
	}
	whole := m.listing.Whole()
	at := slices.DeleteFunc(slices.Clone(m.older(collected, a.AfterKeepNewest)), func(i int) bool { return !whole[m.listing.Items[i].Mailbox] })
	if a.AfterDays == 0 && a.AfterLargerThan == 0 {
		return at
	}
	return slices.DeleteFunc(at, func(i int) bool {
		large := a.AfterLargerThan > 0 && m.listing.Items[i].Size > a.AfterLargerThan
		return !large && (a.AfterDays == 0 || !old(i))
	})
}

// older returns the positions at without the newest n of each mailbox: a maildrop lists in the order of
// arrival (RFC 1939 §5), and UIDs ascend (RFC 9051 §2.3.1.1).
func (m mailbox) older(at []int, n int) []int {
	if n == 0 {
		return at
	}
	items := m.listing.Items
	at = slices.Clone(at)
	slices.SortStableFunc(at, func(i, j int) int {
		return cmp.Or(cmp.Compare(items[i].Mailbox, items[j].Mailbox), cmp.Compare(items[i].UID, items[j].UID), cmp.Compare(items[i].Number, items[j].Number))
	})
	var out []int
	for from := 0; from < len(at); {
		to := from
		for to < len(at) && items[at[to]].Mailbox == items[at[from]].Mailbox {
			to++
		}
		out = append(out, at[from:max(from, to-n)]...)
		from = to
	}
	slices.Sort(out)
	return out
}

// age returns what tells which of the messages at these positions are older than the account's days: since
// they were collected (POP3), or since they arrived at the remote server (IMAP, which says when).
func (m mailbox) age(ctx context.Context, s remote.Session, a account.Account, at []int) (func(i int) bool, error) {
	switch {
	case a.AfterDays == 0 || len(at) == 0:
		return func(int) bool { return false }, nil
	case a.Protocol == account.POP3:
		return func(i int) bool {
			days, ok := m.index.Days(m.keys[i])
			return ok && days > a.AfterDays // a day may have begun a moment before the message came
		}, nil
	}
	before := m.index.Time().AddDate(0, 0, -a.AfterDays)
	chosen, err := choose(ctx, s, m.items(at), remote.Criteria{Before: before})
	if err != nil {
		return nil, err
	}
	old := make(map[itemHandle]bool, len(chosen))
	for _, it := range chosen {
		old[handle(it)] = true
	}
	return func(i int) bool { return old[handle(m.listing.Items[i])] }, nil
}

func (m mailbox) items(at []int) []remote.Item {
	out := make([]remote.Item, len(at))
	for j, i := range at {
		out[j] = m.listing.Items[i]
	}
	return out
}

func choose(ctx context.Context, s remote.Session, items []remote.Item, c remote.Criteria) ([]remote.Item, error) {
	chooser, ok := s.(remote.Chooser)
	if !ok {
		return nil, fault.Errorf(fault.Policy, "choose", "this protocol does not tell messages by date or flag")
	}
	return chooser.Choose(ctx, items, c)
}

// admitted parts what is new into what is fetched in this run, what is passed over for good because of its
// size, and how many are left for later runs, or, as daily says, for another day than the one of which today has
// been fetched already. What is fetched comes newest first where the account wants that and there is a backlog.
func admitted(a account.Account, today ledger.Day, fresh []candidate, backlog int) (take, large []candidate, left int, daily bool) {
	take = slices.Clone(fresh)
	if a.MaxMessageSize > 0 {
		take = slices.DeleteFunc(take, func(c candidate) bool {
			over := c.item.Size > a.MaxMessageSize
			if over {
				large = append(large, c)
			}
			return over
		})
	}
	if a.NewestFirst && len(take) > backlog {
		slices.Reverse(take)
		slices.SortStableFunc(take, byAttempts)
	}
	n, octets := 0, int64(0)
	for n < len(take) {
		octets += take[n].item.Size
		daily = above(a.MaxMessagesPerDay, a.MaxBytesPerDay, today.Messages+int64(n)+1, today.Octets+octets)
		if daily || above(a.MaxMessages, a.MaxBytes, int64(n)+1, octets) {
			break
		}
		n++
	}
	return take[:n], large, len(take) - n, daily
}

// above says whether so many messages, or octets, are more than a limit. One message of any size is let through,
// or it would wait for ever.
func above(maxMessages int, maxOctets, messages, octets int64) bool {
	return maxMessages > 0 && messages > int64(maxMessages) || maxOctets > 0 && octets > maxOctets && messages > 1
}
