package route_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
)

func TestLoop(t *testing.T) {
	t.Parallel()
	trace := string(route.Trace(route.TraceInfo{AccountUID: "abc", Key: "k1", By: "mailferry"}))
	hop := "Received: from a by b; Mon, 23 Nov 2026 22:05:07 +0000\r\n"
	for name, c := range map[string]struct {
		header        string
		loop, retried bool
	}{
		"none":                 {"From: a@example.com\r\nSubject: X-Mailferry: account=abc; key=k1\r\n\r\n", false, false},
		"same account":         {hop + trace + "From: a@example.com\r\n\r\n", true, false},
		"another account":      {strings.ReplaceAll(trace, "abc", "abcd") + "From: a@example.com\r\n\r\n", false, false},
		"in the body":          {"From: a@example.com\r\n\r\n" + trace, false, false},
		"a hundred hops":       {strings.Repeat(hop, 100) + "\r\n", false, false},
		"a hundred and one":    {strings.Repeat(hop, 101) + "\r\n", true, false},
		"retried":              {hop + trace + trace + "From: a@example.com\r\n\r\n", false, true},
		"retried too often":    {trace + strings.Repeat(hop, 100) + "\r\n", true, true}, // the trace has one
		"a header that is not": {"\x00\xff", false, false},
	} {
		err := route.Loop("abc", []byte(c.header), c.retried)
		if (err != nil) != c.loop || err != nil && fault.KindOf(err) != fault.Policy {
			t.Errorf("%s: %v", name, err)
		}
	}
}
