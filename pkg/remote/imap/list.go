package imap

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// taken is for how many messages room is made before they come: what the server says is no reason for more.
const taken = 4096

// meanwhile is how many messages may come while the new ones are listed.
const meanwhile = 64

// List returns every message of the account's mailboxes, in each ordered by UID, INBOX first. Of more than
// Limits.List messages it returns the newest of the first mailboxes. A mailbox that has not changed since it was
// known is not listed; one that the server does not let us read is passed over, unless there is no other.
func (s *session) List(ctx context.Context) (remote.Listing, error) {
	names, notes, err := s.chosen(ctx)
	if err != nil {
		return remote.Listing{}, err
	}
	names, unchanged, grown, err := s.changed(ctx, names)
	if err != nil {
		return remote.Listing{}, err
	}
	all := remote.Listing{Complete: true, Mailboxes: unchanged, Notes: notes, Delimiter: s.delimiter}
	var refused error
	for _, name := range names {
		l, err := s.list(ctx, name, grown[name], s.wire.limits.List-len(all.Items))
		if s.lethal(ctx, err) {
			return remote.Listing{}, err
		}
		if err != nil {
			if refused == nil {
				refused = err
			}
			l = remote.Listing{Note: err.Error()}
			all.Notes = append(all.Notes, fmt.Sprintf("mailbox %s is not collected: %v", fault.Clean(name), err))
		}
		if all.Items == nil {
			all.Items = l.Items
		} else {
			all.Items = append(all.Items, l.Items...)
		}
		all.Mailboxes = append(all.Mailboxes, l.Mailboxes...)
		if all.Complete && !l.Complete {
			all.Complete, all.Note = false, l.Note
		}
	}
	if len(all.Mailboxes) == 0 {
		return remote.Listing{}, refused
	}
	s.watched, s.horizon = watchable(all)
	return all, nil
}

// list returns every message of one mailbox, or the newest; or those that came since it was as known says.
func (s *session) list(ctx context.Context, mailbox string, known remote.Status, limit int) (remote.Listing, error) {
	if err := s.open(ctx, mailbox, true); err != nil {
		return remote.Listing{}, err
	}
	exists, most := s.selected.NumMessages, uint32(max(limit, 0))
	m := remote.Mailbox{Name: mailbox, Status: remote.Status{
		UIDValidity: s.selected.UIDValidity, UIDNext: uint32(s.selected.UIDNext), Messages: exists,
	}}
	if m.Status.UIDNext == 0 || m.Status.UIDValidity == 0 {
		m.Status = remote.Status{}
	}
	if known.UIDNext > 0 && m.Status.Grew(known) && exists-known.Messages <= most {
		if l, err := s.listNew(ctx, m, known); err != nil || l.Complete {
			return l, err
		} // else it is not so that nothing but new messages came
	}
	c := s.collector(mailbox, 0, exists, most)
	var err error
	if exists > 0 && most > 0 {
		err = s.collect(ctx, c, exists)
		if err != nil && (!s.alive() || len(c.items) == 0 || transient(err)) {
			return remote.Listing{}, err
		}
	}
	l := c.listing(exists, s.now(), err)
	m.Whole = l.Complete && s.selected.UIDValidity != 0 // else its UIDs say nothing from one session to the next
	l.Mailboxes = []remote.Mailbox{m}
	return l, nil
}

// listNew returns the messages that came to the mailbox since it was as known says. It is complete if they are as many as
// the server's numbers tell.
func (s *session) listNew(ctx context.Context, m remote.Mailbox, known remote.Status) (remote.Listing, error) {
	exists := m.Status.Messages - known.Messages
	c := s.collector(m.Name, goimap.UID(known.UIDNext), exists, exists+meanwhile)
	if err := s.collect(ctx, c, exists); err != nil {
		if !s.alive() || transient(err) {
			return remote.Listing{}, err
		}
		return remote.Listing{}, nil
	}
	l := c.listing(exists, s.now()-known.Messages, nil)
	m.Before = known.Messages
	l.Mailboxes = []remote.Mailbox{m}
	return l, nil
}

// collector returns one for the messages of the mailbox that is selected, from a UID on.
func (s *session) collector(mailbox string, from goimap.UID, exists, most uint32) *collector {
	return &collector{mailbox: mailbox, validity: s.selected.UIDValidity, from: max(from, 1), most: int(most),
		items: make([]remote.Item, 0, min(exists, most, taken))}
}

// collect asks for UID and size of the messages of the mailbox that is selected.
func (s *session) collect(ctx context.Context, c *collector, exists uint32) error {
	var set goimap.NumSet = goimap.UIDSet{{Start: c.from, Stop: 0}}
	most := uint32(c.most)
	if exists > most {
		set = goimap.SeqSet{{Start: exists - most + 1, Stop: exists}}
	}
	s.collects(c)
	defer s.collects(nil)
	return s.do(ctx, "imap list", s.expect(listing, int(min(exists, most)), 0), func() error {
		cmd := s.client.Fetch(set, &goimap.FetchOptions{UID: true, RFC822Size: true})
		for m := cmd.Next(); m != nil; m = cmd.Next() {
			continue // the guard gave it to the collector already
		}
		return cmd.Close()
	})
}

// listed takes a message of a listing; the guard calls it.
func (s *session) listed(uid uint32, size int64) bool {
	s.listMu.Lock()
	defer s.listMu.Unlock()
	if s.lists == nil {
		return false
	}
	s.lists.add(uid, size)
	return true
}

// collects names the listing under way, or none.
func (s *session) collects(c *collector) {
	s.listMu.Lock()
	defer s.listMu.Unlock()
	s.lists = c
}

// now returns how many messages the server says there are by now.
func (s *session) now() uint32 {
	if m := s.client.Mailbox(); m != nil {
		return m.NumMessages
	}
	return s.selected.NumMessages
}

// open selects a mailbox, read-only or not.
func (s *session) open(ctx context.Context, mailbox string, readOnly bool) error {
	op := "imap examine"
	if !readOnly {
		op = "imap select"
	}
	return s.do(ctx, op, s.expect(noFetch, 0, 0), func() error {
		data, err := s.client.Select(mailbox, &goimap.SelectOptions{ReadOnly: readOnly}).Wait()
		s.selected = nil
		if err != nil {
			return err
		}
		if !s.wire.wasCounted() {
			return fault.Errorf(fault.Protocol, op, "the server does not say how many messages there are")
		}
		s.selected, s.mailbox = data, mailbox
		return nil
	})
}

// expect returns what a command about n messages may bring. Besides the answers it may report what
// others do to the mailbox meanwhile: each of its messages changed, each gone.
func (s *session) expect(p phase, n int, body int64) expectation {
	answers := chatter.answers + 4*n
	if s.selected != nil {
		answers += 2 * int(min(s.selected.NumMessages, uint32(s.wire.limits.List)))
	}
	return expectation{phase: p, answers: answers, octets: chatter.octets + int64(answers)*1<<10 + int64(n)*body}
}

// transient says whether a refusal is about the session, not about what was asked.
func transient(err error) bool {
	switch fault.KindOf(err) {
	case fault.Throttled, fault.RemoteQuota, fault.InUse, fault.Auth:
		return true
	}
	return false
}

// collector gathers a listing.
type collector struct {
	mailbox  string
	validity uint32
	from     goimap.UID // a set up to * always has the last message (RFC 9051 §9: seq-range)
	most     int
	items    []remote.Item
	disorder bool
}

// add takes one message.
func (c *collector) add(uid uint32, size int64) {
	if uid < uint32(c.from) || len(c.items) == c.most {
		return
	}
	it := remote.Item{Mailbox: c.mailbox, UIDValidity: c.validity, UID: uid, Size: size}
	if n := len(c.items); n > 0 && it.UID <= c.items[n-1].UID {
		c.disorder = true
	}
	c.items = append(c.items, it)
}

// listing returns what was gathered: complete if it agrees with the number of messages that the server
// gave, at the beginning or by the end.
func (c *collector) listing(exists, now uint32, refused error) remote.Listing {
	if c.disorder {
		slices.SortFunc(c.items, func(a, b remote.Item) int { return cmp.Compare(a.UID, b.UID) })
		c.items = slices.CompactFunc(c.items, func(a, b remote.Item) bool { return a.UID == b.UID })
	}
	l := remote.Listing{Items: c.items}
	n := uint32(len(c.items))
	switch {
	case refused != nil:
		l.Note = refused.Error()
	case exists > uint32(c.most):
		l.Note = fmt.Sprintf("the mailbox holds %d messages, the newest %d are listed", exists, n)
	case n != exists && n != now:
		l.Note = fmt.Sprintf("the server says that there are %d messages and lists %d", exists, n)
	default:
		l.Complete = true
	}
	return l
}
