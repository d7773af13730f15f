package pop3

import (
	"context"
	"errors"
	"io"
	"strconv"

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

// pipeline sends verb for every item, up to a window ahead of the answers, and calls answered for each in
// order. The window is filled up when half of it is used, so that commands travel together.
func (s *session) pipeline(verb string, items []remote.Item, answered func(remote.Item, bool) error) error {
	window, sent := s.window(), 0
	for i, item := range items {
		if ahead := sent - i; sent < len(items) && ahead <= window/2 {
			s.t.hold = true
			for ; sent < len(items) && sent < i+window; sent++ {
				if err := s.c.Send(verb + " " + strconv.Itoa(items[sent].Number)); err != nil {
					return err
				}
			}
			if err := s.t.flush(); err != nil {
				return err
			}
		}
		ok, err := s.answer()
		if err != nil {
			return err
		}
		if err := answered(item, ok); err != nil {
			return err
		}
	}
	return nil
}

// Fetch sends RETR for the items (RFC 1939 §5) and streams what comes.
func (s *session) Fetch(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var stopped error // by each
	call := func(f remote.Fetched) error {
		stopped = each(f)
		return stopped
	}
	named := items
	if unnamed := unnumbered(items); unnamed != nil {
		for _, item := range unnamed {
			if err := call(remote.Fetched{Item: item, Err: errUnnumbered}); err != nil {
				return s.end("pop3 retr", err)
			}
		}
		named = numbered(items)
	}
	err = s.pipeline("RETR", named, func(item remote.Item, ok bool) error {
		if !ok {
			return call(remote.Fetched{Item: item, Err: s.refusal("pop3 retr", fault.Unavailable)})
		}
		return s.retrieve(item, call)
	})
	if stopped != nil {
		_ = s.end("pop3 retr", stopped)
		return stopped
	}
	if err != nil {
		return s.end("pop3 retr", err)
	}
	return nil
}

// retrieve hands out one body and passes over what is left of it.
func (s *session) retrieve(item remote.Item, each func(remote.Fetched) error) error {
	s.t.SilentFor(s.t.limits.Idle)
	b := s.message()
	if err := each(remote.Fetched{Item: item, Body: b}); err != nil {
		return err
	}
	return b.drain(2 * s.t.limits.Message)
}

// response is the body of a message.
type response interface {
	io.Reader
	drain(limit int64) error
}

func (s *session) message() response {
	b := newBody(s.t.r, s.t.limits.Message)
	if s.lenient {
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
	err = s.pipeline("DELE", items, func(_ remote.Item, ok bool) error {
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
