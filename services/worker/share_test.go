package worker

import (
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/queue"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// A run that was asked for by hand does not wait for those of its domain that fill the domain's share.
func TestReservedSlotsAreNotParted(t *testing.T) {
	t.Parallel()
	const slots, reserved = 8, 2
	w := &Worker{shares: budget.NewShares(slots), reserved: semaphore.NewWeighted(reserved)}
	w.shares.Enter("other.example", 1, time.Now())
	for {
		if ok, _ := w.shares.Enter("example.com", 1, time.Now()); !ok {
			break
		}
	}
	c := &queue.Claim{Job: queue.Job{Domain: "example.com", Trigger: queue.Manual}}
	for range 2 * reserved {
		first, ok1 := w.share(t.Context(), zap.NewNop(), c)
		second, ok2 := w.share(t.Context(), zap.NewNop(), c)
		if !ok1 || !ok2 {
			t.Fatal("it has to wait, though a reserved slot is free")
		}
		first()
		second()
	}
}
