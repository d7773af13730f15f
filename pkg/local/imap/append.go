package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxKeywords bounds the keywords that go with a message, and maxKeyword their octets.
const (
	maxKeywords = 30
	maxKeyword  = 100
)

// begin is steps 1 to 3 for one user. A server may have given up a connection that was kept: then it is made anew.
func (b *box) begin(ctx context.Context, p *pool, d *delivery) (err error) {
	if b.cn, err = p.take(ctx, b.user); err != nil {
		return err
	}
	for look := d.msg.Repeat; ; {
		err = b.ask(ctx, d, look)
		blind := errors.Is(err, errCannotLook)
		if err == nil || !b.cn.kept && !blind || ctx.Err() != nil {
			return err
		}
		look = look && !blind
		_ = b.cn.Close()
		if b.cn, err = connect(ctx, p.cfg, b.user); err != nil {
			return err
		}
	}
}

// ask brings the server to the point where it waits for the message, has refused it, or has it.
func (b *box) ask(ctx context.Context, d *delivery, look bool) error {
	stop := context.AfterFunc(ctx, func() { _ = b.cn.Close() })
	defer stop()
	b.mb = b.cn.mailbox(d.path)
	if look {
		if there, err := b.look(ctx, d); err != nil {
			return err
		} else if there {
			b.answer(250, "2.0.0 it was appended before")
			return nil
		}
	}
	flags, err := b.flags(ctx, d)
	if err != nil {
		return err
	}
	for made := false; ; made = true {
		r, err := b.cn.append(b.mb, flags, d.msg.Date, d.size())
		switch {
		case err != nil:
			return failure(ctx, "imap append", err)
		case r.kind == "+":
			return nil
		case made || r.kind != "NO" || !mayCreate(r, b.mb):
			b.judge(r)
			return nil
		}
		if r, err = b.cn.create(ctx, b.mb, d.path); err != nil {
			return err
		}
		if !r.ok() {
			b.judge(r)
			return nil
		}
	}
}

// mayCreate says whether a refusal of APPEND may be for want of the mailbox.
func mayCreate(r result, mb *mailbox) bool {
	switch r.code {
	case "TRYCREATE", "NONEXISTENT":
		return true
	case "", "CANNOT", "SERVERBUG":
		return !mb.there
	}
	return false
}

// append sends the beginning of an APPEND; its result is "+" if the server gets the message now. It does not use
// LITERAL+ (RFC 7888): a refusal before the message is worth its round trip, for a message can be sent once only.
func (cn *conn) append(mb *mailbox, flags []string, date time.Time, size int64) (result, error) {
	var line strings.Builder
	fmt.Fprintf(&line, "APPEND %s (%s) ", mb.wire, strings.Join(flags, " "))
	if dated(date) {
		fmt.Fprintf(&line, "%q ", date.Format("_2-Jan-2006 15:04:05 -0700"))
	}
	fmt.Fprintf(&line, "{%d}\r\n", size)
	if err := cn.command(line.String()); err != nil {
		return result{}, err
	}
	if _, err := cn.flush(); err != nil {
		return result{}, err
	}
	return cn.answer(cn.limits.Command, nil)
}

// flags returns those of the message that the mailbox can keep.
func (b *box) flags(ctx context.Context, d *delivery) ([]string, error) {
	var flags, keywords []string
	for _, f := range d.msg.Flags {
		switch low := strings.ToLower(f); {
		case low == `\seen` || low == `\answered` || low == `\flagged` || low == `\draft`:
			flags = append(flags, f)
		case isKeyword(f) && len(keywords) < maxKeywords:
			keywords = append(keywords, f)
		}
	}
	if len(keywords) == 0 {
		return flags, nil
	}
	if err := b.cn.learnKeywords(ctx, b.mb, d.path); err != nil {
		return nil, err
	}
	return append(flags, slices.DeleteFunc(keywords, func(k string) bool {
		return !b.mb.keywords[`\*`] && !b.mb.keywords[strings.ToLower(k)]
	})...), nil
}

// isKeyword says whether a flag is an atom (RFC 9051 §2.3.2).
func isKeyword(f string) bool {
	return f != "" && len(f) <= maxKeyword && !strings.ContainsFunc(f, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// judge turns an answer to APPEND or CREATE into a reply (RFC 5530 §3, RFC 9051 §7.1).
func (b *box) judge(r result) {
	switch {
	case r.ok():
		b.mb.there = true
		b.answer(250, "2.0.0 appended")
		return
	case r.kind == "BAD":
		b.answer(550, "5.5.0 "+r.String())
		return
	}
	b.mb.there = false
	if r.code == "LIMIT" && b.mb.keywords != nil { // it may be of keywords (RFC 5530 §3): the next attempt brings none
		clear(b.mb.keywords)
	}
	switch low := strings.ToLower(r.text); {
	case r.overQuota():
		b.answer(552, "5.2.2 "+r.String())
	case r.code == "TOOBIG":
		b.answer(552, "5.3.4 "+r.String())
	case r.code == "NOPERM", r.code == "CANNOT", r.code == "PARSE", r.code == "CLIENTBUG",
		r.code == "BADCHARSET", r.code == "UNKNOWN-CTE", r.code == "" && strings.Contains(low, "message contains"):
		b.answer(550, "5.6.0 "+r.String())
	default:
		b.answer(451, "4.3.0 "+r.String())
	}
}
