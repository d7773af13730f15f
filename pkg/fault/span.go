package fault

import (
	"strconv"
	"strings"
	"time"
)

// Span writes a time span for people: 24h, 1h30m, 5m, 90s, 250ms.
func Span(d time.Duration) string {
	if d%time.Minute != 0 && d%time.Second == 0 && d.Abs() < 2*time.Minute {
		return strconv.Itoa(int(d/time.Second)) + "s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
