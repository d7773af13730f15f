package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestDomainPOP collects the mail of a domain from one maildrop and hands it to Dovecot: each recipient it knows gets
// theirs, those that it refuses and those that are not local count as not found, a rule discards. Every message is
// accounted for: delivered + fallback + rejected by rule = input, and all are deleted at the remote server.
func TestDomainPOP(t *testing.T) {
	t.Parallel()
	acquire(t)
	const alice, bob, office = "alice@example.com", "bob@example.com", "office@example.com"
	remote := testenv.NewDovecot(t, testenv.DovecotUsers("catchall", alice, bob, office))
	h := newHouse(t, remote)
	h.destination("lmtp:" + remote.LMTPAddr)
	messages := []struct {
		name, header string
		want         []string
		tier         string
	}{
		{"known", "X-Original-To: alice@example.com\r\n", []string{alice}, "tier=envelope; field=X-Original-To"},
		{"unknown", "X-Original-To: nobody@example.com\r\n", []string{office}, "tier=envelope; field=X-Original-To"},
		{"foreign", "X-Original-To: alice@else.test\r\n", []string{office}, "tier=none"},
		{"nobody", "X-Other: alice@example.com\r\n", []string{office}, "tier=none"},
		{"two", "X-RCPT-TO: alice@example.com\r\nX-RCPT-TO: bob@example.com\r\n", []string{alice, bob}, "tier=envelope; field=X-RCPT-TO"},
		{"half", "X-RCPT-TO: nobody@example.com\r\nX-RCPT-TO: bob@example.com\r\n", []string{bob, office}, "tier=envelope; field=X-RCPT-TO"},
		{"twice", "X-RCPT-TO: bob@example.com, Bob <BOB@example.com>\r\n", []string{bob}, "tier=envelope; field=X-RCPT-TO"},
		{"rule", "X-Original-To: alice@example.com\r\nX-Spam: yes\r\n", nil, ""},
		{"redirected", "X-Original-To: sales@example.com\r\n", []string{bob}, "tier=envelope; field=X-Original-To"},
		{"refused by the rule's", "X-Original-To: gone@example.com\r\n", []string{office}, "tier=envelope; field=X-Original-To"},
	}
	want := map[string]int{}
	for _, m := range messages {
		remote.Append("catchall", []byte(m.header+"Received: from a by b; Thu, 26 Nov 2026 08:00:00 +0000\r\nFrom: x@sender.test\r\nTo: all@sender.test\r\n"+
			"X-Name: "+m.name+"\r\nSubject: "+m.name+"\r\n\r\nbody\r\n"))
		for _, to := range m.want {
			want[to+" "+m.name+" "+m.tier] = 1
		}
	}
	a := h.account("office", "catchall", account.POP3, account.Delete, func(a *account.Account) {
		a.Recipients.Mode = account.FromHeaders
		a.Rules = []account.Rule{
			{Name: "spam", Header: "X-Spam: yes", Discard: true}, {Recipient: "sales@*", To: []string{bob}},
			{Recipient: "gone@*", To: []string{"left@example.com"}},
		}
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	again := time.Now().Add(20 * time.Second)
	testenv.Eventually(t, 2*time.Minute, "every message is settled and deleted at the remote server", func() bool {
		if time.Now().After(again) {
			h.trigger(a, fmt.Sprint("again-", time.Now().UnixNano()), queue.Scheduled)
			again = time.Now().Add(10 * time.Second)
		}
		return len(remote.Messages("catchall")) == 0 && h.idle(a)
	})
	got := map[string]int{}
	for _, to := range []string{alice, bob, office} {
		for _, m := range remote.Messages(to) {
			got[to+" "+in(m, "X-Name")+" "+in(m, "X-Mailferry-Route")]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("arrived\n%v\nwant\n%v", got, want)
	}
	if st, err := h.transit.Stats(t.Context()); err != nil || st.Dead != 0 {
		t.Errorf("%d dead letters, error %v", st.Dead, err)
	}
}

// in returns the value of a header field.
func in(raw []byte, field string) string {
	m := regexp.MustCompile(`(?m)^` + field + `: (.*)$`).FindSubmatch(raw)
	if m == nil {
		return ""
	}
	return string(bytes.TrimRight(m[1], "\r"))
}
