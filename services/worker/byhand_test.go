package worker

import (
	"testing"

	"github.com/mailferry/mailferry/pkg/queue"
)

// Who asks by hand while another run goes on has the second turn of that run, which does what theirs would do.
func TestTheSecondTurnIsByHand(t *testing.T) {
	t.Parallel()
	for trigger, want := range map[queue.Trigger][2]bool{
		queue.Manual: {true, false}, queue.Scheduled: {false, true}, queue.Push: {false, true},
	} {
		if got := [2]bool{byHand(trigger, 0), byHand(trigger, 1)}; got != want {
			t.Errorf("%s: turns by hand %v, want %v", trigger, got, want)
		}
	}
}
