// Package maildir hands messages over into a Maildir per recipient (https://cr.yp.to/proto/maildir.html),
// every octet as it came.
//
// A hand-over goes in this order, for all recipients together:
//  1. new/ and cur/ are searched for the message; a recipient who has it is answered 250 and is done.
//  2. tmp/<name>.<random> is written, trace and body, and synced.
//  3. commit is asked.
//  4. tmp/<name>.<random> is renamed to new/<name>, or to cur/<name> with its flags, and that folder is synced.
//  5. The recipient is answered 250.
//
// The name is made of the message's ID alone: a second hand-over of the same message finds the first one
// in step 1, also after a mail reader moved it to cur/, or in step 4 replaces it by itself. So whatever is
// cut off, and wherever, a repeat makes no second copy; what it leaves in tmp/ readers remove after 36
// hours, as Maildir has it. Left open are a message that its owner already deleted or moved to another
// folder, and two hand-overs at one time while a reader moves the first into cur/.
//
// A mailbox of the recipient's (local.Envelope.Mailbox) is a folder of Maildir++, ".Imported.Gmail" with the name as
// [local.MailboxStyle] has it in modified UTF-7, which is where Dovecot and Courier have it. The message has its date
// as the time of its file, from which they take INTERNALDATE, and its flags in the name of its file; keywords have no
// place there. \Deleted is left out.
//
// Folders are made as needed, but not the fixed part of the path: a volume that is not mounted is a
// temporary failure, not an empty mail store.
package maildir

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// Config says where mail lies.
type Config struct {
	// Path is an absolute path with %d for the recipient's domain, %n for the local part, %u for the whole
	// address, A to Z in lower case, and %% for a percent sign: "/var/mail/%d/%n/Maildir". What precedes the
	// first name with a variable must be there; without variables, all but the last name.
	Path string
}

// suffix ends the names of our messages. It stands where Maildir wants the host, but is the same on all:
// whichever of them hands a message over again, its name is the same.
const suffix = ".mailferry"

// Maildir is a [local.Destination] on a file system.
type Maildir struct {
	path  template
	known *listings
	// at is called in tests when a step was done.
	at func(step string)
}

var _ local.Destination = (*Maildir)(nil)

// New returns a destination for the path, or an error of kind policy if the path is not valid.
func New(cfg Config) (*Maildir, error) {
	path, err := parseTemplate(cfg.Path)
	if err != nil {
		return nil, fault.New(fault.Policy, "maildir path", err)
	}
	return &Maildir{path: path, known: newListings(), at: func(string) {}}, nil
}

// Close does nothing: nothing is kept open.
func (m *Maildir) Close() error { return nil }

// Deliver hands over one message, as [local.Destination] promises. commit is not called if no recipient
// is left that needs the message. A failure of one recipient's mailbox is its answer and does not touch
// the others: 452 for a full disk or quota, 550 for an address that cannot name a mailbox, 451 else.
func (m *Maildir) Deliver(
	ctx context.Context, env local.Envelope, msg local.Message, commit func(context.Context) error,
) ([]local.Reply, error) {
	if !validID(msg.ID) {
		return nil, fault.Errorf(fault.Internal, "maildir", "the message has no ID that can be a file name")
	}
	d := &delivery{m: m, name: msg.ID + suffix}
	defer d.discard()
	for _, to := range env.To {
		d.boxes = append(d.boxes, m.open(ctx, to, d.name, env, msg))
	}
	if ctx.Err() != nil {
		return nil, fault.Wrap(fault.Canceled, "maildir", context.Cause(ctx))
	}
	if d.live() == 0 {
		return d.answers(), nil
	}
	m.at("opened")
	if err := d.fill(ctx, msg); err != nil {
		return nil, err
	}
	if d.live() == 0 {
		return d.answers(), nil
	}
	m.at("filled")
	if ctx.Err() != nil {
		return nil, fault.Wrap(fault.Canceled, "maildir", context.Cause(ctx))
	}
	if commit != nil {
		if err := commit(ctx); err != nil {
			return nil, fmt.Errorf("maildir commit: %w", err)
		}
	}
	m.at("committed")
	for _, b := range d.boxes {
		b.publish(m.at)
	}
	return d.answers(), nil
}

// delivery is one message on its way into several mailboxes.
type delivery struct {
	m     *Maildir
	name  string
	boxes []*box
}

// live counts the recipients without an answer.
func (d *delivery) live() int {
	n := 0
	for _, b := range d.boxes {
		if !b.done() {
			n++
		}
	}
	return n
}

// fill writes the message into all mailboxes as it is read, and syncs it. A mailbox that fails drops
// out; an error is one of the message.
func (d *delivery) fill(ctx context.Context, msg local.Message) error {
	d.write(msg.Trace)
	buf := make([]byte, min(64<<10, max(512, msg.Size+1)))
	for empty := 0; d.live() > 0; empty++ {
		if ctx.Err() != nil {
			return fault.Wrap(fault.Canceled, "maildir", context.Cause(ctx))
		}
		n, err := msg.Body.Read(buf)
		if n > 0 {
			empty = 0
			d.write(buf[:n])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("maildir body: %w", err)
		}
		if empty == 100 {
			return fmt.Errorf("maildir body: %w", io.ErrNoProgress)
		}
	}
	d.m.at("written")
	for _, b := range d.boxes {
		b.sync()
	}
	return nil
}

func (d *delivery) write(p []byte) {
	for _, b := range d.boxes {
		b.write(p)
	}
}

// discard removes what did not become mail.
func (d *delivery) discard() {
	for _, b := range d.boxes {
		b.discard()
	}
}

func (d *delivery) answers() []local.Reply {
	out := make([]local.Reply, 0, len(d.boxes))
	for _, b := range d.boxes {
		out = append(out, b.reply)
	}
	return out
}

// open prepares the mailbox of one recipient.
func (m *Maildir) open(ctx context.Context, to, name string, env local.Envelope, msg local.Message) *box {
	b := &box{reply: local.Reply{Recipient: to}, name: name, final: "new/" + name}
	var root string
	var err error
	if root, b.dir, err = m.path.expand(to); err != nil {
		b.reply.Code, b.reply.Text = 550, "5.1.3 "+err.Error()
		return b
	}
	err = b.prepare(root)
	if err == nil && env.Mailbox != nil {
		err = b.enter(env.Mailbox, msg, m.at)
	}
	if err != nil {
		b.fail(err)
		return b
	}
	switch there, err := b.search(ctx, m.known); {
	case err != nil:
		b.fail(err)
	case there:
		b.accept()
	default:
		b.create()
	}
	return b
}

// validID says whether s can be part of a file name: nothing that means something to the file system or
// in a Maildir name.
func validID(s string) bool {
	return s != "" && len(s) <= 160 && s[0] != '.' && strings.Trim(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-=+@~") == ""
}
