package delivery

import (
	"testing"
	"time"
)

// TestGates lets one attempt at a time through for a domain, and none for a while after one that failed; others do not wait.
func TestGates(t *testing.T) {
	t.Parallel()
	g := &gates{open: map[string]*gate{}}
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	enter := func(domain string, free bool) {
		t.Helper()
		if wait := g.enter(domain, now); (wait == 0) != free || wait > time.Hour+time.Second {
			t.Errorf("%s waits %v", domain, wait)
		}
	}
	enter("a", true)
	enter("a", false)
	enter("b", true)
	g.leave("b", true, now, time.Hour)
	enter("b", true)
	g.leave("a", false, now, time.Hour)
	enter("a", false)
	now = now.Add(time.Hour)
	enter("a", true)
	enter("a", false)
	g.leave("a", true, now, time.Hour)
	g.leave("b", true, now, time.Hour)
	if len(g.open) != 0 {
		t.Errorf("%d domains are kept", len(g.open))
	}
}
