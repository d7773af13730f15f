package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

func TestPauseIsReadWithTheIndexUntilItEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	hold := h.open("a1", "e1")
	if _, ok := h.reload(hold).Pause(); ok {
		t.Fatal("paused without a reason")
	}
	le := h.deliver("a1", h.uid(1))
	h.ok(h.Pause(ctx, le, Pause{Kind: fault.DestinationQuota, Reason: "mailbox is\r\nfull" + strings.Repeat("!", 500), Revision: 7}, time.Minute))
	p, ok := h.reload(hold).Pause()
	if !ok || p.Kind != fault.DestinationQuota || p.Revision != 7 || !strings.HasPrefix(p.Reason, "mailbox is") ||
		strings.ContainsAny(p.Reason, "\r\n") || len(p.Reason) > 300 {
		t.Fatalf("%+v, %v", p, ok)
	}
	ix := h.reload(hold)
	ix.now = ix.now.Add(time.Minute + time.Second)
	if _, ok := ix.Pause(); ok {
		t.Error("a pause that has ended")
	}
}
