package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

// Bounds of a look for a message that may be there.
const (
	maxHead  = 2 << 10 // octets of the message that are compared
	maxSlack = 1 << 10 // octets by which the trace of an earlier copy may be longer
	maxFound = 10      // messages that are compared, the last ones
)

// errCannotLook says that the server did not tell within bounds what is there: the message is appended all the same,
// for to wait would be to wait for ever.
var errCannotLook = errors.New("the server does not tell within bounds whether the message is there")

// peek reads the beginning of a message that is looked for; it is sent like the rest.
func (d *delivery) peek() error {
	if !d.msg.Repeat {
		return nil
	}
	d.head = make([]byte, min(maxHead, max(0, d.msg.Size)))
	n, err := io.ReadFull(d.msg.Body, d.head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("imap body: %w", err)
	}
	d.head = d.head[:n]
	d.msg.Body = io.MultiReader(bytes.NewReader(d.head), d.msg.Body)
	return nil
}

// look says whether an earlier hand-over put the message into the mailbox: one begins with the same first line of the
// trace, which names the message, and goes on as this one does. Whatever else is in doubt is not there.
func (b *box) look(ctx context.Context, d *delivery) (bool, error) {
	names := []string{b.mb.wire}
	if careful := b.cn.name(d.path, true); careful != b.mb.wire {
		names = append(names, careful)
	}
	for _, name := range names {
		r, err := b.cn.ask("EXAMINE "+name, nil)
		if err != nil {
			return false, lookFailure(ctx, err)
		}
		if !r.ok() {
			continue
		}
		set, err := b.cn.search(d.msg)
		if err != nil {
			return false, lookFailure(ctx, err)
		}
		if there, err := b.cn.compare(set, d); err != nil || there {
			return there, lookFailure(ctx, err)
		}
	}
	return false, nil
}

// lookFailure is errCannotLook where another try would end the same way.
func lookFailure(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errLong) || errors.Is(err, errMany)):
		return errCannotLook
	}
	return failure(ctx, "imap search", err)
}

// search returns the UIDs of messages whose header has all words of the trace's first line, as a sequence-set
// (RFC 9051 §6.4.4, §7.3.4); "" for none. The day of INTERNALDATE is looked at first: servers keep it at hand. It is
// that of some time zone.
func (cn *conn) search(msg local.Message) (set string, err error) {
	var criteria strings.Builder
	if dated(msg.Date) {
		day := msg.Date.UTC()
		fmt.Fprintf(&criteria, " SINCE %s BEFORE %s", day.AddDate(0, 0, -1).Format("2-Jan-2006"), day.AddDate(0, 0, 2).Format("2-Jan-2006"))
	}
	name, value, _ := strings.Cut(string(firstField(msg.Trace)), ":")
	for _, word := range strings.Fields(value) {
		criteria.WriteString(" HEADER " + quote(name) + " " + quote(word))
	}
	r, err := cn.ask("UID SEARCH"+criteria.String(), func(line []byte) {
		if s, ok := found(string(line)); ok {
			set = s
		}
	})
	if err != nil || !r.ok() {
		return "", err
	}
	return set, nil
}

// found reads an answer to SEARCH.
func found(line string) (set string, ok bool) {
	if rest, ok := strings.CutPrefix(line, "SEARCH"); ok {
		uids := strings.Fields(rest)
		uids = slices.DeleteFunc(uids, func(s string) bool { _, err := strconv.ParseUint(s, 10, 32); return err != nil })
		return strings.Join(uids[max(0, len(uids)-maxFound):], ","), true
	}
	if !strings.HasPrefix(line, "ESEARCH ") {
		return "", false
	}
	_, set, _ = strings.Cut(line, " ALL ")
	set, _, _ = strings.Cut(set, " ")
	if strings.Trim(set, "0123456789,:") != "" {
		set = ""
	}
	return set, true
}

// compare says whether one of the messages is that which is handed over.
func (cn *conn) compare(set string, d *delivery) (there bool, err error) {
	if set == "" {
		return false, nil
	}
	first, head := kept(firstField(d.msg.Trace)), kept(d.head)
	length := len(d.msg.Trace) + maxSlack + 2*len(d.head) // bare line ends may have become CRLF
	_, err = cn.ask(fmt.Sprintf("UID FETCH %s (BODY.PEEK[]<0.%d>)", set, length), func(line []byte) {
		if _, rest, ok := bytes.Cut(line, []byte("BODY[]<0> ")); ok {
			text, _ := unquote(string(rest))
			body, ok := bytes.CutPrefix(kept([]byte(text)), first)
			there = there || ok && bytes.Contains(body, head)
		}
	})
	return there, err
}

// kept returns a text as it can be compared after a server has had it: line ends are LF, and NUL is what was sent.
func kept(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r"), nil), []byte{0}, []byte{0x80})
}

// firstField returns the first header field of a trace with its end.
func firstField(trace []byte) []byte {
	for end := 0; ; {
		n := bytes.IndexByte(trace[end:], '\n')
		if n < 0 {
			return trace
		}
		if end += n + 1; end == len(trace) || trace[end] != ' ' && trace[end] != '\t' {
			return trace[:end]
		}
	}
}

// dated says whether a date can be an INTERNALDATE.
func dated(t time.Time) bool { return t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999 }
