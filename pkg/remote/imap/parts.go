package imap

import (
	"context"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// byMailbox parts items by their mailbox; the mailboxes come in the order of their first items.
func byMailbox(items []remote.Item) [][]remote.Item {
	var parts [][]remote.Item
	at := make(map[string]int)
	for _, it := range items {
		i, ok := at[it.Mailbox]
		if !ok {
			i, parts = len(parts), append(parts, nil)
			at[it.Mailbox] = i
		}
		parts[i] = append(parts[i], it)
	}
	return parts
}

// inEach opens each mailbox of the items and calls do with those that are in it. A refusal that is about one
// mailbox does not keep it from the others; the first is returned.
func (s *session) inEach(ctx context.Context, op string, readOnly bool, items []remote.Item, do func([]remote.Item) error) error {
	var refused error
	for _, part := range byMailbox(items) {
		var err error
		if part[0].UIDValidity == 0 && !readOnly {
			err = fault.Errorf(fault.Protocol, op, "nothing is done: the server gives the mailbox no UIDVALIDITY")
		} else {
			err = s.open(ctx, part[0].Mailbox, readOnly)
		}
		if err == nil {
			err = s.same(op, part)
		}
		if err == nil {
			err = do(part)
		}
		if s.lethal(ctx, err) {
			return err
		}
		if refused == nil {
			refused = err
		}
	}
	return refused
}

// lethal says whether an error is about the session, not about the mailbox it came from: that one may be locked
// (INUSE) or shut to us (NOPERM), and the others not.
func (s *session) lethal(ctx context.Context, err error) bool {
	kind := fault.KindOf(err)
	return err != nil && (ctx.Err() != nil || !s.alive() || kind == fault.Throttled || kind == fault.RemoteQuota)
}

// same refuses items of another UIDVALIDITY than that of the mailbox that is selected.
func (s *session) same(op string, items []remote.Item) error {
	for _, it := range items {
		if it.Mailbox != s.mailbox || it.UID == 0 || it.UIDValidity != s.selected.UIDValidity {
			return fault.Errorf(fault.NotFound, op, "nothing is done: the mailbox has been made anew since")
		}
	}
	return nil
}
