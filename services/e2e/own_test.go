package e2e

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestOwnDestination: the destination, a socket that names no host, is the remote mailbox itself, with After=delete. The
// message goes round once; what comes back stays at the server, and a dead letter says what to do. A retry has it go round
// once more, and no further; one after the account was mended delivers it.
func TestOwnDestination(t *testing.T) {
	t.Parallel()
	acquire(t)
	const user = "self@example.com"
	remote := testenv.NewDovecot(t)
	h := newHouse(t, remote)
	h.destination("lmtp:unix:" + remote.LMTPSocket)
	remote.Append(user, []byte("Subject: round\r\n\r\nx\r\n"))
	a := h.account("self", user, account.IMAP, account.Delete)
	cli := h.control()
	h.start("worker")
	h.start("delivery")
	dead := func() int {
		st, err := h.transit.Stats(context.Background())
		if err != nil {
			return -1
		}
		return int(st.Dead)
	}
	h.fetchNow(a, "first")
	testenv.Eventually(t, 4*time.Minute, "it came back", func() bool {
		return h.idle(a) && slices.ContainsFunc(remote.Messages(user), func(m []byte) bool { return bytes.Contains(m, []byte("X-Mailferry: account="+a.UID)) })
	})
	h.fetchNow(a, "second")
	testenv.Eventually(t, 4*time.Minute, "what came back is a dead letter", func() bool { return dead() == 1 && h.idle(a) })
	h.fetchNow(a, "third")
	testenv.Eventually(t, 4*time.Minute, "the run has ended", func() bool { return h.idle(a) })
	if left := remote.Messages(user); len(left) != 1 || !bytes.Contains(left[0], []byte("X-Mailferry: account="+a.UID)) {
		t.Errorf("at the server are %q: the first is deleted, what came back is not", left)
	}
	if n := dead(); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	if text := cli.ok("dead", "list"); !strings.Contains(text, "came back to its remote mailbox") {
		t.Errorf("the dead letter does not say why: %s", text)
	}
	list, err := h.transit.Dead(t.Context(), a.UID, 10)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if text := cli.ok("dead", "show", list[0].GetId()); !strings.Contains(text, "--forward-to") {
		t.Errorf("the dead letter does not say what to do: %s", text)
	}
	traces := func(m []byte) int { return bytes.Count(m, []byte("X-Mailferry: account="+a.UID)) }
	cli.ok("dead", "retry", list[0].GetId())
	testenv.Eventually(t, 4*time.Minute, "it came back once more", func() bool {
		return h.idle(a) && slices.ContainsFunc(remote.Messages(user), func(m []byte) bool { return traces(m) == 2 })
	})
	h.fetchNow(a, "fourth")
	testenv.Eventually(t, 4*time.Minute, "and is stopped again", func() bool { return dead() == 1 && h.idle(a) })
	cli.ok("account", "edit", a.Ref(), "--forward-to", "other@example.com")
	list, err = h.transit.Dead(t.Context(), a.UID, 10)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	cli.ok("dead", "retry", list[0].GetId())
	testenv.Eventually(t, 4*time.Minute, "a retry arrives at the new address", func() bool {
		return h.idle(a) && len(remote.Messages("other@example.com")) > 0
	})
	if got := remote.Messages("other@example.com"); len(got) != 1 || traces(got[0]) != 3 {
		t.Errorf("arrived: %q", got)
	}
	if n := dead(); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}
