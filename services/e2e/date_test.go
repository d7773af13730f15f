package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestReceivedDate files mail by POP3 into a mailbox with the date at which the provider's host took it, and with the time
// of its collection where only somebody else tells a date.
func TestReceivedDate(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote, local := testenv.NewDovecot(t), testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "master-secret"), testenv.DovecotNoTLS())
	h := newHouse(t, remote)
	h.destination("lmtp:127.0.0.1:1")
	h.mailboxDestination(fmt.Sprintf("imap:%s:%d", local.Address, local.IMAPPort), "ferry", "master-secret")
	start := time.Now().UTC().Truncate(time.Second)
	const forged = "Received: from x by y.test; Mon, 1 Jan 2001 00:00:00 +0000\r\n"
	remote.Append("dates", []byte("Received: from x by mx.isp.test; Tue, 3 Feb 2004 05:06:07 +0100\r\n"+forged+"X-Seed: told\r\n\r\nx\r\n"),
		[]byte(forged+"X-Seed: untold\r\n\r\nx\r\n"))
	a := h.account("dates", "dates", account.POP3, account.Leave, func(a *account.Account) {
		a.ForwardTo, a.Date, a.Recipients.ReceivedBy = "alice@example.com/Imported", account.DateReceived, []string{"mx.isp.test"}
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 2*time.Minute, "both messages are filed", func() bool {
		return len(local.MessagesIn("alice@example.com", "Imported")) == 2
	})
	for _, m := range readTree(t, local, "alice@example.com")["Imported"] {
		at, err := time.Parse(time.RFC3339, m.date)
		if err != nil || (m.id == "told") != (m.date == "2004-02-03T04:06:07Z") || m.id == "untold" && at.Before(start) {
			t.Errorf("%s is of %s, %v", m.id, m.date, err)
		}
	}
}
