package ledger

import (
	"fmt"
	"testing"
)

// TestEnrollAll enrolls and withdraws more accounts than a script is given, but one that was erased.
func TestEnrollAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	all := make([]Enrolment, 2*maxBatch+3)
	for i := range all {
		all[i] = Enrolment{SlotOf("imap", "imap.example.net", 993, fmt.Sprint(i)), fmt.Sprint("a", i), i%3 > 0}
	}
	erased := maxBatch + 1
	h.ok(h.Erase(ctx, all[erased].Slot, all[erased].Account))
	for range 2 { // the script is there, and is not
		h.ok(h.EnrollAll(ctx, all))
		for i, e := range all {
			want := map[bool]string{true: "1", false: "0"}[e.Active]
			if i == erased {
				want = ""
			}
			if got := h.rdb.HGet(ctx, e.Slot.accountsKey(), e.Account).Val(); got != want {
				t.Fatalf("%s is %q, want %q", e.Account, got, want)
			}
		}
	}
}
