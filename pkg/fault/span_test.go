package fault_test

import (
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "90s", time.Minute: "1m", 10 * time.Minute: "10m", 100 * time.Second: "100s", 150 * time.Second: "2m30s",
		time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Hour: "10h", 24 * time.Hour: "24h", time.Hour + time.Second: "1h0m1s",
		250 * time.Millisecond: "250ms", 2500 * time.Millisecond: "2.5s", -time.Minute: "-1m", -90 * time.Second: "-90s",
	} {
		if got := fault.Span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
