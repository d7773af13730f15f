package budget_test

import (
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestTriggers(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	b, other := budget.New(r.Client), budget.New(r.Client) // of two processes
	got, _, err := b.Triggers(t.Context(), "example.com", 6, 4)
	if err != nil || got != 4 {
		t.Fatalf("%d, %v", got, err)
	}
	got, _, err = other.Triggers(t.Context(), "EXAMPLE.com", 6, 4)
	if err != nil || got != 2 {
		t.Errorf("%d of the two that were left, %v", got, err)
	}
	got, wait, err := b.Triggers(t.Context(), "example.com", 6, 1)
	if err != nil || got != 0 || wait <= 0 || wait > 10*time.Second {
		t.Errorf("%d, again after %v, %v", got, wait, err)
	}
	if got, _, err := b.Triggers(t.Context(), "example.org", 6, 4); err != nil || got != 4 {
		t.Errorf("another domain: %d, %v", got, err)
	}
	r.Stop()
	if _, _, err := b.Triggers(t.Context(), "example.com", 6, 1); err == nil {
		t.Error("no error without Redis")
	}
}
