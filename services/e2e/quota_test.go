package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// narrow is a Dovecot whose users have room for a few small messages; APPEND answers NO [OVERQUOTA] beyond (RFC 9208 §4.3.1).
const narrow = `mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
plugin {
  quota = count:User quota
  quota_rule = *:storage=20K
  quota_vsizes = yes
  quota_grace = 0
}`

// TestMailboxOverQuota: the mailbox that an account is filed into has no room (IMAP APPEND). The account is paused for that
// reason, nothing becomes a dead letter or is deleted; when there is room everything arrives once, and only then is deleted.
func TestMailboxOverQuota(t *testing.T) {
	t.Parallel()
	acquire(t)
	const alice, n = "alice@example.com", 3
	remote := testenv.NewDovecot(t)
	local := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "master-secret"), testenv.DovecotExtra(narrow))
	h := newHouse(t, remote)
	h.destination("lmtp:127.0.0.1:1")
	h.mailboxDestination(fmt.Sprintf("imap:%s:%d", local.Host, local.IMAPPort), "ferry", "master-secret")
	filler := signIn(t, local, alice)
	put := func(size int) error {
		body := make([]byte, size)
		copy(body, "Subject: filler\r\n\r\n")
		for i := 19; i < size; i++ {
			body[i] = 'x'
		}
		cmd := filler.Append("INBOX", int64(size), nil)
		_, err := cmd.Write(body)
		if err == nil {
			err = cmd.Close()
		}
		if err == nil {
			_, err = cmd.Wait()
		}
		return err
	}
	if err := put(16_000); err != nil {
		t.Fatal(err)
	}
	seeds := map[string]bool{}
	for i := range n {
		id := fmt.Sprintf("narrow-%d", i)
		seeds[id] = true
		remote.Append("narrow", fmt.Appendf(nil, "X-Seed: %s\r\nSubject: x\r\n\r\n%s\r\n", id, strings.Repeat("0123456789\r\n", 400)))
	}
	a := h.account("narrow", "narrow", account.IMAP, account.Delete, func(a *account.Account) { a.ForwardTo = alice + "/Imported" })
	h.start("worker")
	h.startWith("delivery", []string{"--defer-for", "30m", "--destination-ca", local.CAPath})
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 50*time.Second, "all went back", func() bool { return h.counts(a).Deferred == n && h.idle(a) })
	if st, err := h.transit.Stats(context.Background()); err != nil || st.Dead != 0 {
		t.Errorf("a full mailbox makes dead letters: %v, %v", st.Dead, err)
	}
	if left := len(remote.Messages("narrow")); left != n {
		t.Errorf("%d of %d messages are at the remote server", left, n)
	}
	if p, ok := h.pauseOf(a); !ok || p.Kind != fault.DestinationQuota || !strings.Contains(p.Reason, "OVERQUOTA") {
		t.Errorf("paused: %v, for %v: %s", ok, p.Kind, p.Reason)
	}
	h.trigger(a, "second", queue.Scheduled)
	testenv.Eventually(t, 4*time.Minute, "a run ends without a session", func() bool {
		rs, err := h.queue.Reports(context.Background(), a.UID, 1)
		return err == nil && len(rs) == 1 && rs[0].GetJobId() == "second" && fault.Kind(rs[0].GetFault().GetKind()) == fault.DestinationQuota
	})
	if _, err := filler.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	all := goimap.SeqSet{{Start: 1}}
	if err := filler.Store(all, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := filler.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	h.trigger(a, "hand", queue.Manual)
	testenv.Eventually(t, 4*time.Minute, "a run by hand delivers, long before the deferral ends", func() bool {
		return len(local.MessagesIn(alice, "Imported")) >= n && len(remote.Messages("narrow")) == 0 && h.idle(a)
	})
	if _, ok := h.pauseOf(a); ok {
		t.Error("still paused: the next scheduled run would not fetch")
	}
	for _, m := range readTree(t, local, alice)["Imported"] {
		if !seeds[m.id] {
			t.Errorf("%q is there twice, or not ours", m.id)
		}
		delete(seeds, m.id)
	}
	if len(seeds) > 0 {
		t.Errorf("missing: %v", seeds)
	}
}

// pauseOf returns why delivery has paused an account.
func (h *house) pauseOf(a account.Account) (p ledger.Pause, paused bool) {
	h.t.Helper()
	testenv.Eventually(h.t, time.Minute, "the index can be read", func() bool {
		hold, err := h.ledger.Acquire(context.Background(), ledger.AcquireRequest{Slot: h.slot(a), Account: a.UID, Job: "look", Owner: "test", Test: true})
		if err != nil {
			return false
		}
		p, paused = hold.Index().Pause()
		_, _ = hold.Release(context.Background())
		return true
	})
	return p, paused
}
