package imap

import (
	"cmp"
	"context"
	"slices"
	"sync"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

const (
	// ahead is how many windows are asked for at a time: with the default of Limits.Pipeline, 2048
	// messages under way keep the stream going over long distances.
	ahead = 8
	// few windows are under way when more messages are asked for.
	few = 2
	// maxWindow bounds the messages of a window, and with them the length of its command.
	maxWindow = 500
	// windowOctets bounds the listed size of a window of several messages.
	windowOctets = 8 << 20
	// maxRefused is how many messages in a row the server may refuse one by one before it is taken for
	// out of order.
	maxRefused = 16
)

// window is one UID FETCH command.
type window struct {
	items []remote.Item // ascending
	// plain says how much is left away: nothing, INTERNALDATE, FLAGS too.
	plain int
	// alone says that the window holds one message and that no other is asked for meanwhile.
	alone bool
	err   error // how it ended
}

// lastPlain is the plainest form of a window.
const lastPlain = 2

// fetch is one call of Fetch. The caller's goroutine runs the loop and calls each; every window has a
// goroutine that sends its command and reads what comes for it, for the server may answer them in any
// order, and imapclient starts one for each answer that it cannot match.
type fetch struct {
	s       *session
	wanted  phase // a body or a header
	more    func() []remote.Item
	each    func(remote.Fetched) error
	behind  []remote.Item              // what more returned of another mailbox
	waiting map[goimap.UID]remote.Item // not yet given to each
	queue   []window

	open     int  // windows asked for
	starting bool // one of them has not been sent yet
	alone    bool // one of them wants no company
	refused  int  // messages in a row
	err      error

	arrived  chan message
	sent     chan struct{}
	finished chan window
	left     chan struct{} // a stray is done; buffered by one

	mu     sync.Mutex
	only   goimap.UID // asked for alone, else 0
	strays int        // answers without a match that are being read
	late   bool       // a large body came before its UID
	over   bool
	waits  bool // the loop has nothing to do but wait for strays

	spool sync.Mutex // held by the one stray that keeps a body in memory
}

// Fetch calls each for every item, as the contract says.
func (s *session) Fetch(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	return s.messages(ctx, fetching, items, nil, each)
}

// Stream is Fetch that goes on with what more returns.
func (s *session) Stream(ctx context.Context, items []remote.Item, more func() []remote.Item, each func(remote.Fetched) error) error {
	return s.messages(ctx, fetching, items, more, each)
}

// Headers asks for BODY.PEEK[HEADER] (RFC 9051 §6.4.5.1).
func (s *session) Headers(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	return s.messages(ctx, heading, items, nil, each)
}

func (s *session) messages(ctx context.Context, wanted phase, items []remote.Item, more func() []remote.Item, each func(remote.Fetched) error) error {
	const op = "imap fetch"
	if err := ctx.Err(); err != nil {
		return fault.Wrap(fault.Canceled, op, context.Cause(ctx))
	}
	for parts := byMailbox(items); len(parts) > 0; parts = parts[1:] {
		on := more
		if len(parts) > 1 {
			on = nil
		}
		behind, err := s.messagesOf(ctx, wanted, parts[0], on, each)
		if err != nil {
			return err
		}
		parts = append(parts, byMailbox(behind)...)
	}
	return nil
}

// messagesOf is messages of one mailbox; it returns what more had of another one. A mailbox that cannot be opened any more
// does not end the session.
func (s *session) messagesOf(ctx context.Context, wanted phase, items []remote.Item, more func() []remote.Item, each func(remote.Fetched) error) ([]remote.Item, error) {
	if s.selected == nil || s.mailbox != items[0].Mailbox {
		err := s.open(ctx, items[0].Mailbox, true)
		if s.lethal(ctx, err) {
			return nil, err
		}
		if err != nil {
			for _, it := range items {
				if failed := each(remote.Fetched{Item: it, Err: err}); failed != nil {
					s.Abort()
					return nil, fault.Wrap(fault.Internal, "imap fetch", failed)
				}
			}
			return nil, nil
		}
	}
	defer s.conn.Watch(ctx)()
	f := &fetch{
		s: s, wanted: wanted, more: more, each: each, waiting: make(map[goimap.UID]remote.Item, len(items)),
		arrived: make(chan message), sent: make(chan struct{}), finished: make(chan window),
		left: make(chan struct{}, 1),
	}
	f.plan(items)
	s.fetch.Store(f)
	defer s.fetch.Store(nil)
	defer f.stop() // where each panics
	f.loop()
	f.giveUp()
	return f.behind, f.err
}

// plan makes the windows of the items that can be asked for, and tells each about the others.
func (f *fetch) plan(items []remote.Item) {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b remote.Item) int { return cmp.Compare(a.UID, b.UID) })
	most := min(f.s.wire.limits.Pipeline, maxWindow)
	var w window
	var octets int64
	for _, it := range items {
		if err := f.unfit(it); err != nil {
			f.call(remote.Fetched{Item: it, Err: err})
			continue
		}
		if _, twice := f.waiting[goimap.UID(it.UID)]; twice {
			continue
		}
		f.waiting[goimap.UID(it.UID)] = it
		if n := len(w.items); n == most || n > 0 && octets+it.Size > windowOctets {
			f.queue = append(f.queue, w)
			w, octets = window{}, 0
		}
		w.items = append(w.items, it)
		octets += it.Size
	}
	if len(w.items) > 0 {
		f.queue = append(f.queue, w)
	}
}

// unfit says why an item cannot be asked for.
func (f *fetch) unfit(it remote.Item) error {
	const op = "imap fetch"
	switch s := f.s; {
	case it.Mailbox != s.mailbox || it.UID == 0 || it.UIDValidity != s.selected.UIDValidity:
		return fault.Errorf(fault.NotFound, op, "there is no such message: the mailbox has been made anew since")
	case it.Size > s.wire.limits.Message:
		return fault.Errorf(fault.Policy, op, "a message of %d octets, the limit is %d", it.Size, s.wire.limits.Message)
	}
	return nil
}

// loop runs until every window has been answered, or the session is lost, and nothing is left running.
func (f *fetch) loop() {
	for {
		f.start()
		if f.open == 0 {
			if f.askAgain() {
				continue
			}
			if f.finish() {
				return
			}
		}
		select {
		case m := <-f.arrived:
			f.take(m)
		case <-f.sent:
			f.starting = false
		case w := <-f.finished:
			f.settle(w)
		case <-f.left:
		}
	}
}

// start asks for the next window if there is room for it.
func (f *fetch) start() {
	f.goOn()
	if f.err != nil {
		f.queue = nil
	}
	if len(f.queue) == 0 || f.starting || f.alone || f.open == ahead || f.queue[0].alone && f.open > 0 {
		return
	}
	w := f.queue[0]
	f.queue = f.queue[1:]
	f.open++
	f.starting, f.alone = true, w.alone
	if w.alone {
		f.setOnly(goimap.UID(w.items[0].UID))
	}
	f.s.wire.begin(f.s.expect(f.wanted, len(w.items), f.s.wire.limits.Message))
	go f.run(w)
}

// goOn plans what more returns when few windows are left, so that the next one is asked for before those have come whole.
func (f *fetch) goOn() {
	if f.more == nil || f.err != nil || len(f.queue) > 0 || f.open > few || f.alone {
		return
	}
	items := f.more()
	if len(items) == 0 {
		f.more = nil
	}
	for _, part := range byMailbox(items) {
		if part[0].Mailbox == f.s.mailbox {
			f.plan(part)
		} else {
			f.more, f.behind = nil, append(f.behind, part...)
		}
	}
}

// run sends the command of a window and reads what comes for it.
func (f *fetch) run(w window) {
	var set goimap.UIDSet
	for _, it := range w.items {
		set.AddNum(goimap.UID(it.UID))
	}
	section := &goimap.FetchItemBodySection{Peek: true}
	whole := f.wanted == fetching
	if !whole {
		section.Specifier = goimap.PartSpecifierHeader
	}
	cmd := f.s.client.Fetch(set, &goimap.FetchOptions{
		UID:          true,
		InternalDate: whole && w.plain == 0,
		Flags:        whole && w.plain < lastPlain,
		BodySection:  []*goimap.FetchItemBodySection{section},
	})
	f.sent <- struct{}{}
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		if w.err = f.read(m); w.err != nil {
			f.finished <- w
			return
		}
	}
	w.err = cmd.Close()
	f.finished <- w
}

// take gives a message to each.
func (f *fetch) take(m message) {
	defer close(m.done)
	it, ok := f.waiting[m.uid]
	if !ok || f.err != nil {
		return
	}
	delete(f.waiting, m.uid)
	f.refused = 0
	if m.body == nil {
		f.call(remote.Fetched{Item: it, Err: fault.Errorf(fault.Protocol, "imap fetch", "the message came without its body")})
		return
	}
	defer m.body.expire()
	f.call(remote.Fetched{Item: it, Body: m.body, InternalDate: m.date, Flags: m.flags})
}

// call calls each, whose error ends the session.
func (f *fetch) call(got remote.Fetched) {
	if f.err != nil {
		return
	}
	if err := f.each(got); err != nil {
		f.fail(fault.Wrap(fault.Internal, "imap fetch", err))
	}
}

func (f *fetch) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.s.Abort()
}

// settle takes note of how a window ended. What a refused one still owes is asked for one by one, and a
// message that is refused alone in plainer and plainer forms.
func (f *fetch) settle(w window) {
	f.open--
	f.alone = false
	f.setOnly(0)
	f.s.wire.end()
	if w.err == nil || f.err != nil {
		return
	}
	err := f.s.failure("imap fetch", fault.Unavailable, w.err)
	if !f.s.alive() || transient(err) {
		f.fail(err)
		return
	}
	single := len(w.items) == 1
	for _, it := range w.items {
		if _, ok := f.waiting[goimap.UID(it.UID)]; !ok {
			continue
		}
		again := window{items: []remote.Item{it}, plain: w.plain, alone: true}
		switch {
		case !single:
			f.queue = append(f.queue, again)
		case w.plain < lastPlain:
			again.plain++
			f.queue = slices.Insert(f.queue, 0, again)
		default:
			f.refuse(it, err)
		}
	}
}

// refuse tells each that the server will not send a message.
func (f *fetch) refuse(it remote.Item, err error) {
	delete(f.waiting, goimap.UID(it.UID))
	f.call(remote.Fetched{Item: it, Err: err})
	if f.refused++; f.refused == maxRefused && f.err == nil {
		f.fail(err)
	}
}

// remaining returns the items that each has not been told of, ascending.
func (f *fetch) remaining() []remote.Item {
	items := make([]remote.Item, 0, len(f.waiting))
	for _, it := range f.waiting {
		items = append(items, it)
	}
	slices.SortFunc(items, func(a, b remote.Item) int { return cmp.Compare(a.UID, b.UID) })
	return items
}

// giveUp tells each about the messages that were asked for and never came.
func (f *fetch) giveUp() {
	for _, it := range f.remaining() {
		f.call(remote.Fetched{Item: it, Err: fault.Errorf(fault.NotFound, "imap fetch", "the server did not send the message")})
	}
}

// askAgain queues what came with its UID too late to tell whose it was, one by one. It says whether there
// is any.
func (f *fetch) askAgain() bool {
	f.mu.Lock()
	again := f.late && f.strays == 0 && f.err == nil
	if again {
		f.late = false
	}
	f.mu.Unlock()
	if again {
		for _, it := range f.remaining() {
			f.queue = append(f.queue, window{items: []remote.Item{it}, alone: true})
		}
	}
	return again && len(f.queue) > 0
}

// finish ends the fetch, unless a stray is still being read.
func (f *fetch) finish() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = f.strays == 0
	f.waits = !f.over
	return f.over
}

// stop ends what is running where each did not return.
func (f *fetch) stop() {
	if !f.over {
		f.fail(fault.Errorf(fault.Internal, "imap fetch", "stopped"))
		f.loop()
	}
}
