package imap

import (
	"context"
	"errors"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

var (
	_ remote.Mover  = (*session)(nil)
	_ remote.Marker = (*session)(nil)
)

// MarkSeen sets \Seen.
func (s *session) MarkSeen(ctx context.Context, items []remote.Item) error {
	return s.inEach(ctx, "imap uid store", false, items, func(items []remote.Item) error {
		for _, set := range sets(items) {
			if err := s.flag(ctx, set, goimap.FlagSeen); err != nil {
				return err
			}
		}
		return nil
	})
}

// Move moves the messages into a mailbox, which is made if it is not there: with MOVE (RFC 6851), else with
// COPY and Delete. A copy whose deletion was cut off is made again; where Delete would leave the messages, for
// what others flagged, none is made: the next run would make one more.
func (s *session) Move(ctx context.Context, items []remote.Item, mailbox string) error {
	return s.inEach(ctx, "imap move", false, items, func(items []remote.Item) error { return s.move(ctx, items, mailbox) })
}

// move is Move out of the mailbox that is selected.
func (s *session) move(ctx context.Context, items []remote.Item, mailbox string) error {
	move := s.caps.Has(goimap.CapMove)
	if !move && !s.caps.Has(goimap.CapUIDPlus) {
		found, err := s.flagged(ctx, items)
		if err != nil {
			return err
		}
		if !onlyOurs(found, items) {
			return fault.Errorf(fault.Unavailable, "imap move", "nothing is moved: the server knows neither MOVE nor UIDPLUS, "+
				"and somebody flagged other messages as deleted; expunge or unflag them")
		}
	}
	for _, set := range sets(items) {
		err := s.transfer(ctx, set, len(items), mailbox, move)
		if tryCreate(err) {
			if err = s.create(ctx, mailbox); err == nil {
				err = s.transfer(ctx, set, len(items), mailbox, move)
			}
		}
		if err != nil {
			return err
		}
	}
	if move {
		return nil
	}
	return s.Delete(ctx, items)
}

// errTryCreate says that the mailbox is not there and may be made (RFC 9051 §7.1).
type errTryCreate struct{ error }

func (e errTryCreate) Unwrap() error { return e.error }

func tryCreate(err error) bool { return errors.As(err, new(errTryCreate)) }

// transfer sends UID MOVE or UID COPY.
func (s *session) transfer(ctx context.Context, set goimap.UIDSet, n int, mailbox string, move bool) error {
	op, missing := "imap uid copy", false
	if move {
		op = "imap uid move"
	}
	err := s.do(ctx, op, s.expect(noFetch, n, 0), func() error {
		var err error
		// The client's own way without MOVE ends in an EXPUNGE that takes what others flagged.
		if move && s.client.Caps().Has(goimap.CapMove) {
			_, err = s.client.Move(set, mailbox).Wait()
		} else {
			_, err = s.client.Copy(set, mailbox).Wait()
		}
		var no *goimap.Error
		missing = errors.As(err, &no) && no.Code == goimap.ResponseCodeTryCreate
		return err
	})
	if missing {
		return errTryCreate{err}
	}
	return err
}

func (s *session) create(ctx context.Context, mailbox string) error {
	err := s.do(ctx, "imap create", chatter, func() error { return s.client.Create(mailbox, nil).Wait() })
	if err != nil && s.alive() {
		return fault.New(fault.NotFound, "imap create", err)
	}
	return err
}
