package imap

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// delivery is one message on its way into mailboxes of several users.
type delivery struct {
	path  []string
	msg   local.Message
	head  []byte // of the body, where it is looked for
	boxes []*box // one for each user
	of    []*box // of each recipient
	to    []string
}

// box is the mailbox of one user in one hand-over. Once it has an answer its other methods do nothing.
type box struct {
	user  string
	cn    *conn
	mb    *mailbox
	reply local.Reply
	err   error // why there is no answer
}

func newDelivery(env local.Envelope, msg local.Message) *delivery {
	d := &delivery{path: env.Mailbox, msg: msg, to: env.To}
	users := map[string]*box{}
	for _, to := range env.To {
		b, ok := users[to]
		if !ok {
			b = &box{user: to}
			users[to] = b
			d.boxes = append(d.boxes, b)
			if !validUser(to) {
				b.answer(553, "5.1.3 the address cannot be a user name")
			}
		}
		d.of = append(d.of, b)
	}
	return d
}

func (b *box) answer(code int, text string) { b.reply.Code, b.reply.Text = code, text }

// open says that the box waits for something still.
func (b *box) open() bool { return b.reply.Code == 0 && b.err == nil }

// fail ends the connection of a box without an answer.
func (b *box) fail(err error) {
	b.err = err
	if b.cn != nil {
		b.cn.broken = true
	}
}

// live returns the boxes that wait for the message still.
func (d *delivery) live() []*box {
	return slices.DeleteFunc(slices.Clone(d.boxes), func(b *box) bool { return !b.open() })
}

// answers returns the replies that there are, in the order of the recipients.
func (d *delivery) answers() []local.Reply {
	out := make([]local.Reply, 0, len(d.to))
	for i, b := range d.of {
		if b.reply.Code != 0 {
			out = append(out, local.Reply{Recipient: d.to[i], Code: b.reply.Code, Text: b.reply.Text})
		}
	}
	return out
}

// run does all steps. Its error is that of the recipients who got no answer; if others got one, the failure of a
// connection is their answer.
func (d *delivery) run(ctx context.Context, p *pool, commit func(context.Context) error) error {
	var users []string
	for _, b := range d.live() {
		users = append(users, b.user)
	}
	if len(users) == 0 {
		return nil
	}
	if len(users) > p.cfg.MaxConns {
		return fault.Errorf(fault.Policy, "imap", "at most %d recipients in one hand-over", p.cfg.MaxConns)
	}
	if err := p.reserve(ctx, users); err != nil {
		return err
	}
	defer func() {
		for _, b := range d.boxes {
			if b.cn != nil {
				p.give(b.cn)
			}
		}
		for _, u := range users {
			p.release(u)
		}
	}()
	if err := d.peek(); err != nil {
		return err
	}
	for _, b := range d.live() {
		if err := b.begin(ctx, p, d); err != nil {
			b.fail(err)
		}
	}
	if len(d.live()) == 0 {
		return d.failure()
	}
	if err := d.send(ctx, commit); err != nil {
		for _, b := range d.live() {
			b.fail(err)
		}
		return err
	}
	return d.failure()
}

// failure returns why boxes got no answer, if there are such; where one is known and another not, only what is
// uncertain is an error.
func (d *delivery) failure() error {
	var first error
	answered := 0
	for _, b := range d.boxes {
		switch {
		case b.reply.Code != 0:
			answered++
		case first == nil || local.Uncertain(b.err):
			first = b.err
		}
	}
	if first == nil || answered == 0 || local.Uncertain(first) || fault.KindOf(first) == fault.Canceled {
		return first
	}
	for _, b := range d.boxes {
		if b.reply.Code == 0 {
			b.answer(451, "4.4.1 "+fault.Clean(b.err.Error()))
		}
	}
	return nil
}

// send is steps 4 to 6. Its error is one of the message or of ctx: nobody has it.
func (d *delivery) send(ctx context.Context, commit func(context.Context) error) error {
	stops := make([]func() bool, 0, len(d.boxes))
	for _, b := range d.live() {
		stops = append(stops, context.AfterFunc(ctx, func() { _ = b.cn.Close() }))
	}
	stop := func() bool {
		ok := true
		for _, s := range stops {
			ok = s() && ok
		}
		stops = nil
		return ok
	}
	defer stop()
	last, err := d.copy(ctx)
	if err != nil || len(d.live()) == 0 {
		return err
	}
	if commit != nil {
		if err := commit(ctx); err != nil {
			return fmt.Errorf("imap commit: %w", err)
		}
	}
	if !stop() {
		return canceled(ctx, "imap append")
	}
	for _, b := range d.live() {
		b.end(last)
	}
	for _, b := range d.live() {
		b.finish()
	}
	return nil
}

// copy sends trace and body to all, but for the last octet, which it returns.
func (d *delivery) copy(ctx context.Context) (last []byte, err error) {
	src := io.MultiReader(strings.NewReader(string(d.msg.Trace)), d.msg.Body)
	left := d.size()
	buf := make([]byte, 16<<10)
	for empty := 0; empty < 100 && len(d.live()) > 0; empty++ {
		n, err := src.Read(buf)
		if left -= int64(n); left < 0 {
			return nil, fault.Errorf(fault.Internal, "imap body", "the message is longer than its size")
		}
		if n > 0 {
			empty = 0
			d.emit(ctx, last)
			for i, c := range buf[:n] {
				if c == 0 {
					buf[i] = 0x80
				}
			}
			d.emit(ctx, buf[:n-1])
			last = []byte{buf[n-1]}
		}
		switch {
		case err == io.EOF && left == 0:
			return last, nil
		case err == io.EOF:
			return nil, fault.Errorf(fault.Internal, "imap body", "the message is shorter than its size")
		case err != nil:
			return nil, fmt.Errorf("imap body: %w", err)
		}
	}
	if len(d.live()) == 0 {
		return nil, nil
	}
	return nil, fmt.Errorf("imap body: %w", io.ErrNoProgress)
}

func (d *delivery) size() int64 { return int64(len(d.msg.Trace)) + d.msg.Size }

func (d *delivery) emit(ctx context.Context, p []byte) {
	for _, b := range d.live() {
		if err := b.cn.emit(p); err != nil {
			b.fail(failure(ctx, "imap append", err))
		}
	}
}

// end sends the last octet and the end of the command.
func (b *box) end(last []byte) {
	err := b.cn.emit(append(last[:len(last):len(last)], "\r\n"...))
	whole := false
	if err == nil {
		whole, err = b.cn.flush()
	}
	switch {
	case err != nil && whole:
		b.fail(&local.UncertainError{Err: fault.New(fault.DestinationTemporary, "imap append", err)})
	case err != nil:
		b.fail(fault.New(fault.DestinationTemporary, "imap append", err))
	}
}

// finish reads the answer to APPEND.
func (b *box) finish() {
	r, err := b.cn.answer(b.cn.limits.Final, nil)
	if err == nil && r.kind == "+" {
		err = errHungUp
	}
	if err != nil {
		b.fail(&local.UncertainError{Err: fault.New(fault.DestinationTemporary, "imap append", err)})
		return
	}
	b.judge(r)
}

// validUser says whether an address can be the name of a user.
func validUser(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && len(s) <= 320 && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
