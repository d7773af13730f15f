package pop3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// window is how many commands may be under way. Where a body may end without its mark, only one: what comes
// behind it must be known.
func (s *session) window() int {
	if !s.caps.pipelining || s.lenient {
		return 1
	}
	return max(1, s.t.limits.Pipeline)
}

// pipeline sends verb, number and args for every item, up to a window ahead of the answers, and calls answered for each in
// order. The window is filled up when half of it is used, so that commands travel together. more, unless it is nil, is
// asked for further items then.
func (s *session) pipeline(verb, args string, items []remote.Item, more func() []remote.Item, answered func(remote.Item, bool) error) error {
	window, sent := s.window(), 0 // sent of the items, whose answers are due
	for {
		if sent <= window/2 {
			for more != nil && len(items) < window {
				next := more()
				if len(next) == 0 {
					more = nil
				}
				items = append(items[:len(items):len(items)], next...)
			}
			if err := s.send(verb, args, items[sent:min(window, len(items))]); err != nil {
				return err
			}
			sent = min(window, len(items))
		}
		if len(items) == 0 {
			return nil
		}
		ok, err := s.answer()
		if err != nil {
			return err
		}
		item := items[0]
		items, sent = items[1:], sent-1
		if err := answered(item, ok); err != nil {
			return err
		}
	}
}

// send sends a command for each of the items together.
func (s *session) send(verb, args string, items []remote.Item) error {
	if len(items) == 0 {
		return nil
	}
	s.t.hold = true
	for _, item := range items {
		if err := s.c.Send(verb + " " + strconv.Itoa(item.Number) + args); err != nil {
			return err
		}
	}
	return s.t.flush()
}

// Headers sends TOP for the items (RFC 1939 §7), without lines of the body. TOP is optional: a server without
// CAPA is asked with the first item.
func (s *session) Headers(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	if !s.caps.known && len(items) > 0 {
		s.caps.known = true
		err := s.messages(ctx, "TOP", " 0", items[:1], nil, func(f remote.Fetched) error {
			s.caps.top = f.Err == nil
			return each(f)
		})
		if err != nil {
			return err
		}
		items = items[1:]
	}
	if s.caps.top {
		return s.messages(ctx, "TOP", " 0", items, nil, each)
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, item := range items {
		if err := each(remote.Fetched{Item: item, Err: errNoTOP}); err != nil {
			_ = s.end("pop3 top", err)
			return err
		}
	}
	return nil
}

var errNoTOP = fault.New(fault.Protocol, "pop3 top", errors.New("the server does not offer TOP"))

// Fetch sends RETR for the items (RFC 1939 §5) and streams what comes.
func (s *session) Fetch(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	return s.messages(ctx, "RETR", "", items, nil, each)
}

// Stream is Fetch that goes on with what more returns.
func (s *session) Stream(ctx context.Context, items []remote.Item, more func() []remote.Item, each func(remote.Fetched) error) error {
	return s.messages(ctx, "RETR", "", items, more, each)
}

// messages sends a command whose answer is a message for each of the items, and of those that more returns.
func (s *session) messages(ctx context.Context, verb, args string, items []remote.Item, more func() []remote.Item, each func(remote.Fetched) error) error {
	op := "pop3 " + strings.ToLower(verb)
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var stopped error // by each
	call := func(f remote.Fetched) error {
		if stopped == nil {
			stopped = each(f)
		}
		return stopped
	}
	known := func(items []remote.Item) []remote.Item { // each is told of the others
		for _, item := range unnumbered(items) {
			_ = call(remote.Fetched{Item: item, Err: errUnnumbered})
		}
		return numbered(items)
	}
	if items = known(items); stopped != nil {
		return s.end(op, stopped)
	}
	next := more
	if more != nil {
		next = func() []remote.Item { return known(more()) }
	}
	err = s.pipeline(verb, args, items, next, func(item remote.Item, ok bool) error {
		if ok {
			return s.retrieve(item, verb == "RETR", call)
		}
		err := s.refusal(op, fault.Unavailable)
		switch fault.KindOf(err) {
		case fault.Throttled, fault.RemoteQuota: // no message's own: the next ones would be refused like it
			return err
		}
		return call(remote.Fetched{Item: item, Err: err})
	})
	if stopped != nil {
		_ = s.end(op, stopped)
		return stopped
	}
	if err != nil {
		return s.end(op, err)
	}
	return nil
}

// retrieve hands out one body and passes over what is left of it.
func (s *session) retrieve(item remote.Item, whole bool, each func(remote.Fetched) error) error {
	s.t.SilentFor(s.t.limits.Idle)
	if whole && s.answersTwice() {
		return fault.Errorf(fault.Protocol, "pop3 retr", "the server sends a second answer where the message should begin")
	}
	internal := whole && item.Number == 1 && s.internalData()
	b := s.message(whole)
	if internal {
		if err := each(remote.Fetched{Item: item, Err: remote.ErrInternalData}); err != nil {
			return err
		}
		return b.drain(2 * s.t.limits.Message)
	}
	if err := each(remote.Fetched{Item: item, Body: b}); err != nil {
		return err
	}
	return b.drain(2 * s.t.limits.Message)
}

// answersTwice says that a status stands where a message begins, which would be delivered as its first line.
// TOP is judged by its header.
func (s *session) answersTwice() bool {
	if first, _ := s.t.r.Peek(1); len(first) == 0 || first[0] != '+' {
		return false
	}
	line, _ := s.t.r.Peek(len("+OK "))
	return string(line) == "+OK " || string(line) == "+OK\r"
}

// internalData says whether the message that follows is what UW-IMAP and its relatives keep as the first one
// of a mailbox, and other POP3 servers hand out: its header says so, and has X-IMAP.
func (s *session) internalData() bool {
	if s.lenient {
		return false // the header might be all there is
	}
	for n := 1; n <= 4<<10; n++ {
		if _, err := s.t.r.Peek(n); err != nil {
			return false
		}
		n = min(s.t.r.Buffered(), 4<<10)
		head, _ := s.t.r.Peek(n)
		head, _, whole := bytes.Cut(head, []byte("\r\n\r\n"))
		if whole || n == 4<<10 || bytes.HasSuffix(head, bodyEnd) || bytes.Equal(head, endMark) {
			return bytes.Contains(head, []byte("-- FOLDER INTERNAL DATA")) && bytes.Contains(head, []byte("\nX-IMAP:"))
		}
	}
	return false
}

var bodyEnd = []byte("\r\n.\r\n")

// response is the body of a message.
type response interface {
	io.Reader
	drain(limit int64) error
}

func (s *session) message(whole bool) response {
	b := newBody(s.t.r, s.t.limits.Message)
	if s.lenient && whole {
		return newLenient(s, b)
	}
	return b
}

var errUnnumbered = fault.New(fault.Internal, "pop3", errors.New("an item without a message number"))

func unnumbered(items []remote.Item) (out []remote.Item) {
	for _, i := range items {
		if i.Number <= 0 {
			out = append(out, i)
		}
	}
	return out
}

func numbered(items []remote.Item) (out []remote.Item) {
	for _, i := range items {
		if i.Number > 0 {
			out = append(out, i)
		}
	}
	return out
}

// Delete sends DELE for the items. An item that the server refuses is an error after all were tried; the
// session can be used on, and the others are deleted by Close.
func (s *session) Delete(ctx context.Context, items []remote.Item) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if unnumbered(items) != nil {
		return errUnnumbered
	}
	var refusal error
	err = s.pipeline("DELE", "", items, nil, func(_ remote.Item, ok bool) error {
		if !ok && refusal == nil {
			refusal = s.refusal("pop3 dele", fault.Unavailable)
		}
		return nil
	})
	if err != nil {
		return s.end("pop3 dele", err)
	}
	return refusal
}
