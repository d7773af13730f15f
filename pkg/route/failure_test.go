package route_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/route"
)

func TestHistoryKeepsTheFirstAndTheLastFailures(t *testing.T) {
	t.Parallel()
	var r route.Route
	begun := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range 100 {
		r.Fail(begun.Add(time.Duration(i)*time.Hour), "timeout", fmt.Sprint(i, strings.Repeat("x", 1000)))
	}
	if len(r.Failures) != 8 || r.Failed != 100 || !r.Failures[0].At.Equal(begun.Truncate(time.Second)) {
		t.Fatalf("%d of %d, since %v", len(r.Failures), r.Failed, r.Failures[0].At)
	}
	if last := r.Failures[7].Reason; !strings.HasPrefix(last, "99x") || len(last) > 300 || !strings.HasPrefix(r.Failures[1].Reason, "93x") {
		t.Errorf("kept: %q", last)
	}
	b, err := json.Marshal(r.History())
	if err != nil {
		t.Fatal(err)
	}
	var h route.Route
	if err := json.Unmarshal(b, &h); err != nil || !slices.Equal(h.Failures, r.Failures) || len(b) > 4000 {
		t.Errorf("%v: %s", err, b)
	}
	if !h.Undecided() || h.Failed != 100 {
		t.Error("the history says where the message goes")
	}
}
