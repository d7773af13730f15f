package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// filing is what a recipient's filter does with all of their mail.
const filing = `require ["fileinto", "mailbox"];
fileinto :create "Filtered";
`

// TestSieveActsOnAddressesOnly collects the same for an address and for a mailbox path of one user: the filter acts on what
// goes to the address, and not on what goes to the path.
func TestSieveActsOnAddressesOnly(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	local := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotMaster("ferry", "master-secret"), testenv.DovecotSieve(t, filing))
	h := newHouse(t, remote)
	h.destination("lmtp:unix:" + local.LMTPSocket)
	h.mailboxDestination(fmt.Sprintf("imap:%s:%d", local.Address, local.IMAPPort), "ferry", "master-secret")
	const alice = "alice@example.com"
	where := map[string]string{"Filtered": alice, "Imported": alice + "/Imported"}
	h.start("worker")
	h.start("delivery")
	for mailbox, forward := range where {
		for _, proto := range []account.Protocol{account.POP3, account.IMAP} {
			user := fmt.Sprintf("%s-%s", mailbox, proto)
			remote.Append(user, fmt.Appendf(nil, "X-Seed: %s\r\nSubject: x\r\n\r\nx\r\n", user))
			a := h.account(user, user, proto, account.Leave, func(a *account.Account) { a.ForwardTo = forward })
			h.trigger(a, user, queue.Manual)
		}
	}
	lies := func(mailbox string) int { return len(local.MessagesIn(alice, mailbox)) }
	testenv.Eventually(t, 2*time.Minute, "everything has arrived", func() bool { return lies("Filtered")+lies("Imported")+lies("") >= 4 })
	for mailbox := range where {
		got := local.MessagesIn(alice, mailbox)
		for _, m := range got {
			if !bytes.Contains(m, []byte("X-Seed: "+mailbox+"-")) {
				t.Errorf("%s has %q", mailbox, m)
			}
		}
		if len(got) != 2 {
			t.Errorf("%s has %d messages", mailbox, len(got))
		}
	}
	if n := lies(""); n != 0 {
		t.Errorf("INBOX has %d messages", n)
	}
}
