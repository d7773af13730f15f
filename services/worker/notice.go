package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/transit"
)

const (
	// maxNotices is how many notices one run makes; the rest comes with the next ones.
	maxNotices = 100
	// noticeOctets is what a notice counts as in flight.
	noticeOctets = 16 << 10
	// maxNoticeHeader bounds what is read of the header that a notice tells of, in octets.
	maxNoticeHeader = 64 << 10
	// maxNoticeText bounds what is taken over of a subject or a name, in runes; maxNoticeAddresses of a list.
	maxNoticeText, maxNoticeAddresses = 200, 20
)

// noticed returns the messages that are too large as candidates of which only a notice is handed over, and how
// many are left for later runs.
func noticed(large []candidate) (take []candidate, left int) {
	take = large[:min(len(large), maxNotices)]
	for i := range take {
		take[i].notice = true
	}
	return take, len(large) - len(take)
}

// headers reads the headers of messages; of a session that cannot, each is unknown.
func (r *run) headers(ctx context.Context, items []remote.Item, each func(remote.Fetched) error) error {
	if s, ok := r.session.(remote.HeaderReader); ok {
		return s.Headers(ctx, items, each)
	}
	for _, it := range items {
		if err := each(remote.Fetched{Item: it}); err != nil {
			return err
		}
	}
	return nil
}

// publishNotice brings a notice of a message into TRANSIT, under the message's key. A header that the server does not
// give is left out; one that is cut by a failing session ends the run.
func (r *run) publishNotice(ctx context.Context, key ledger.Key, got remote.Fetched, pub *transit.Publisher, f *flight) error {
	var head []byte
	if got.Err == nil && got.Body != nil {
		var err error
		if head, err = io.ReadAll(io.LimitReader(got.Body, maxNoticeHeader)); err == nil {
			_, err = io.Copy(io.Discard, got.Body)
		}
		if err != nil {
			return err
		}
	}
	m := r.message(key, got)
	m.Notice = true
	return r.put(ctx, m, bytes.NewReader(noticeOf(r.acc, key, got, head, time.Now())), got.Item, pub, f)
}

// noticeOf is a small message that tells of a large one. Nothing of the header is taken over as it is.
func noticeOf(a account.Account, key ledger.Key, of remote.Fetched, head []byte, now time.Time) []byte {
	h := mail.Header{}
	if m, err := mail.ReadMessage(bytes.NewReader(append(bytes.TrimRight(head, "\r\n"), "\r\n\r\n"...))); err == nil {
		h = m.Header
	}
	when, err := h.Date()
	if err != nil {
		if when = of.InternalDate; when.IsZero() {
			when = now
		}
	}
	owner, _ := account.ParseTarget("forward_to", a.ForwardTo)
	from := addresses(h, "From")
	if from == "" {
		from = (&mail.Address{Name: "Mail collector", Address: owner.Address}).String()
	}
	to := addresses(h, "To")
	if to == "" {
		to = (&mail.Address{Address: owner.Address}).String()
	}
	subject := plain(decoded(h.Get("Subject")))
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	field("From", from)
	field("To", to)
	field("Subject", folded("Not collected, too large: "+subject))
	field("Date", when.Format(time.RFC1123Z))
	field("Message-ID", "<"+string(key)+"."+a.UID+"@notice.mailferry.invalid>")
	field("X-Mailferry-Notice", fmt.Sprintf("too-large; size=%d", of.Item.Size))
	field("X-Mailferry-Original-Message-ID", messageID(h.Get("Message-Id")))
	field("Auto-Submitted", "auto-generated") // RFC 3834 §5
	field("MIME-Version", "1.0")
	field("Content-Type", "text/plain; charset=utf-8")
	field("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = fmt.Fprint(w, strings.ReplaceAll(noticeText(a, of.Item, subject), "\n", "\r\n"))
	_ = w.Close()
	return b.Bytes()
}

func noticeText(a account.Account, it remote.Item, subject string) string {
	where := ""
	if it.Mailbox != "" {
		where = ", in " + plain(it.Mailbox)
	}
	return fmt.Sprintf(`A message was not collected: it has %d octets, and the limit of the account %s is %d.

Subject: %s

It is still in the mailbox of %s at %s%s. It is not deleted there.
Whoever administers the account can raise its limit for messages to come.
`, it.Size, a.Ref(), a.MaxMessageSize, subject, plain(a.Username), a.Host, where)
}

// addresses returns those of a field that can stand in a header, "" if there are none.
func addresses(h mail.Header, field string) string {
	list, err := h.AddressList(field)
	if err != nil {
		return ""
	}
	var out []string
	for _, a := range list[:min(len(list), maxNoticeAddresses)] {
		if account.ValidateAddress("address", a.Address) != nil || strings.ContainsFunc(a.Address, func(r rune) bool { return r > unicode.MaxASCII }) {
			continue
		}
		a.Name = plain(a.Name)
		out = append(out, broken(a.String()))
	}
	return strings.Join(out, ",\r\n ")
}

// decoded returns the words of a field (RFC 2047), as they are where they cannot be read.
func decoded(s string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		return text
	}
	return s
}

// plain returns a text in one line, without what is not to be seen, and not longer than a notice takes.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > maxNoticeText {
		s = string(runes[:maxNoticeText]) + "…"
	}
	return s
}

// folded encodes a text for a header (RFC 2047).
func folded(s string) string { return broken(mime.QEncoding.Encode("utf-8", s)) }

// broken puts each encoded word into a line of its own: together they may be longer than a line may be.
func broken(s string) string { return strings.ReplaceAll(s, "?= =?", "?=\r\n =?") }

// messageID returns an identifier that can stand in a header, else "".
func messageID(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 3 || len(s) > 250 || s[0] != '<' || s[len(s)-1] != '>' ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return s
}
