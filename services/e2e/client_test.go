package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestClientAddress tells the destination who gave each message to the remote server: by XCLIENT, and in a header line
// above the one that a sender has forged. The message beneath stays as it is.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	acquire(t)
	const alice = "alice@example.com"
	remote := testenv.NewDovecot(t, testenv.DovecotUsers("isp", alice), testenv.DovecotExtra("login_trusted_networks = 127.0.0.0/8"))
	h := newHouse(t, remote)
	h.destination("lmtp:" + remote.LMTPAddr)
	const forged = "X-Mailferry-Client: ip=6.6.6.6\r\nReceived: from x (x.test [6.6.6.6]) by mx.isp.test with SMTP; Thu, 26 Nov 2026 07:00:00 +0000\r\n"
	ours := "Received: from out.sender.test (rdns.sender.test [192.0.2.7]) by mx.isp.test with ESMTP id 1; Thu, 26 Nov 2026 08:00:00 +0000\r\n"
	inside := "Received: from mx.isp.test by store.isp.test; Thu, 26 Nov 2026 08:00:01 +0000\r\n"
	want := map[string][2]string{ // by subject: our header line, and whom Dovecot took it from
		"told":   {"ip=192.0.2.7; helo=out.sender.test; name=rdns.sender.test", "from out.sender.test ([192.0.2.7])"},
		"untold": {"none", "([127."},
	}
	bodies := map[string]string{
		"told":   inside + ours + forged + "Subject: told\r\n\r\nbody\r\n",
		"untold": inside + strings.ReplaceAll(ours, "192.0.2.7", "10.0.0.7") + forged + "Subject: untold\r\n\r\nbody\r\n",
	}
	for _, raw := range bodies {
		remote.Append("isp", []byte(raw))
	}
	a := h.account("alice", "isp", account.POP3, account.Delete, func(a *account.Account) {
		a.ClientAddress, a.Recipients.ReceivedBy = account.ClientAuto, []string{"mx.isp.test"}
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "both arrive", func() bool { return len(remote.Messages(alice)) == 2 })
	for _, raw := range remote.Messages(alice) {
		m := strings.ReplaceAll(string(raw), "\n", "\r\n")
		subject := in(raw, "Subject")
		if got := in(raw, "X-Mailferry-Client"); got != want[subject][0] {
			t.Errorf("%s: header %q", subject, got)
		}
		if first := in(raw, "Received"); !strings.Contains(first, want[subject][1]) {
			t.Errorf("%s: Dovecot took it %s", subject, first)
		}
		if !strings.HasSuffix(m, bodies[subject]) {
			t.Errorf("%s: the message is another\n%s", subject, m)
		}
	}
}
