package transit

import (
	"context"
	"fmt"
	"testing"
)

// TestPullThatIsUsedUp: a pull whose octets are used up to the last one is over, and the server does not say so. The next
// message must not wait until the pull is taken for lost.
func TestPullThatIsUsedUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Inline: 1000})
	in := h.intake(1000) // more messages than its octets have room for
	n := Lane("example.com")
	now := func() (pull uint64, room int) {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.lanes[n].pull, in.lanes[n].room
	}
	i := 100
	bring := func(body int) {
		ctx, cancel := context.WithTimeout(h.ctx, pullSilence*4/5)
		defer cancel()
		i++
		h.mustPut(message("acc", fmt.Sprint("p", i)), bodyOf(body, 1))
		p, err := in.Next(ctx)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		h.ack(p)
	}
	for range 10 { // from then on all have sequences of two digits
		bring(300)
	}
	first, before := now()
	bring(300)
	_, room := now()
	head := before - room - 300 // what a message has beside its body
	for pull := first; room > 0 && pull == first; pull, room = now() {
		switch left := room - head; {
		case left < 0:
			t.Fatalf("%d octets are left over", room)
		case left <= 1000:
			bring(left)
		case left < 900+head+128:
			bring((left - head) / 2)
		default:
			bring(900)
		}
	}
	if pull, _ := now(); pull == first {
		t.Error("there is no other pull")
	}
	bring(300)
}
