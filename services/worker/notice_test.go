package worker

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/remote"
)

var tooLarge = account.Account{
	UID: "u1", Domain: "example.com", Name: "alice", Username: "alice@isp.net", Host: "imap.isp.net", ForwardTo: "alice@example.com", MaxMessageSize: 1000,
}

// read checks what holds for every notice, and returns its header and text.
func readNotice(t *testing.T, head string) (mail.Header, string) {
	t.Helper()
	of := remote.Fetched{Item: remote.Item{Size: 123456, Mailbox: "INBOX"}}
	raw := noticeOf(tooLarge, "p01", of, []byte(head), time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	if len(raw) > noticeOctets {
		t.Errorf("%d octets", len(raw))
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
			t.Errorf("a line that may not be: %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for name, values := range m.Header {
		names++
		if len(values) != 1 || !strings.Contains(" From To Subject Date Message-Id X-Mailferry-Notice X-Mailferry-Original-Message-Id Auto-Submitted "+
			"Mime-Version Content-Type Content-Transfer-Encoding ", " "+name+" ") {
			t.Errorf("%s: %q", name, values)
		}
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || names < 10 {
		t.Error(err, m.Header)
	}
	for _, field := range []string{"From", "To"} {
		if _, err := m.Header.AddressList(field); err != nil {
			t.Errorf("%s: %v", m.Header.Get(field), err)
		}
	}
	return m.Header, string(text)
}

func TestNoticeTellsOfTheMessage(t *testing.T) {
	t.Parallel()
	h, text := readNotice(t, "From: =?utf-8?q?J=C3=BCrgen?= <j@isp.net>\r\nTo: a@example.com,\r\n b@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"+
		"Date: Tue, 30 Jun 2026 10:00:00 +0200\r\nMessage-ID: <one@isp.net>\r\n\r\n")
	for field, want := range map[string]string{
		"To": "<a@example.com>, <b@example.com>", "Date": "Tue, 30 Jun 2026 10:00:00 +0200", "X-Mailferry-Original-Message-ID": "<one@isp.net>",
		"X-Mailferry-Notice": "too-large; size=123456", "Message-ID": "<p01.u1@notice.mailferry.invalid>", "From": "=?utf-8?q?J=C3=BCrgen?= <j@isp.net>",
	} {
		if got := h.Get(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	if got := decoded(h.Get("Subject")); got != "Not collected, too large: Grüße" {
		t.Error(got)
	}
	for _, want := range []string{"123456 octets", "Grüße", "alice@isp.net at imap.isp.net, in INBOX", "not deleted"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	h, _ = readNotice(t, "")
	if h.Get("From") != `"Mail collector" <alice@example.com>` || h.Get("To") != "<alice@example.com>" || h.Get("Date") != "Wed, 01 Jul 2026 12:00:00 +0000" {
		t.Error(h)
	}
}

// FuzzNotice makes nothing of a hostile header but what a notice holds.
func FuzzNotice(f *testing.F) {
	for _, s := range []string{
		"", "Subject: =?utf-8?q?a=0D=0ABcc:_x@y.z?=\r\n\r\n", "From: =?utf-8?q?a=0D=0ABcc:_x@y.z?= <a@b.c>\r\n", "From: \"a\r\n\r\nb\" <a@b.c>\r\n\r\n",
		"Subject: " + strings.Repeat("ü", 600) + "\r\n\r\n", "To: " + strings.Repeat("\"ü ü\" <a@b.c>, ", 60) + "x@y.z\r\n", "Message-ID: <a\tb>\r\n",
		"Subject: a\nb: c\n\nd", "Subject: \x00\x1b[31m\r\n\r\n", "Subject: =?utf-8?b?//8=?=\r\n", "To: \"ü\"@example.com\r\n", "From: group: a@b.c, d@e.f;\r\n",
		"Subject: ?= =?x?q?y?=\r\n", "Message-ID: <\xff>\r\nDate: Mon, 1 Jan 99999 00:00:00 +9999\r\n", "To: a@" + strings.Repeat("b.", 120) + "c\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, head string) { readNotice(t, head) })
}
