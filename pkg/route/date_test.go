package route_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/route"
)

// The date is that of the topmost line of a declared host, and of no other.
func TestReceivedDate(t *testing.T) {
	t.Parallel()
	const good = "Received: from a.example by mx1.isp.net with ESMTP id 1\r\n\tfor <alice@isp.net>; Tue, 03 Feb 2026\r\n\t04:05:06 +0100 (CET)\r\n"
	want := time.Date(2026, 2, 3, 3, 5, 6, 0, time.UTC)
	collected := want.Add(time.Hour)
	for name, tt := range map[string]struct {
		header string
		want   time.Time
	}{
		"declared":                 {good, want},
		"below an inner hop":       {"Received: from mx1.isp.net by store.isp.net; Tue, 3 Feb 2026 03:59:59 +0000\r\n" + good, want},
		"above one that is forged": {good + "Received: from b by mx1.isp.net; Mon, 2 Feb 2026 00:00:00 +0000\r\n", want},
		"obsolete zone":            {strings.Replace(good, "+0100 (CET)", "GMT", 1), want.Add(time.Hour)},
		"at once":                  {strings.Replace(good, "04:05:06", "05:05:06", 1), collected},
		"the future":               {strings.Replace(good, "04:05:06", "05:05:07", 1), time.Time{}},
		"far in the future":        {strings.Replace(good, "2026", "9999", 1), time.Time{}},
		"before 1970":              {strings.Replace(good, "2026", "1969", 1), time.Time{}},
		"no day":                   {strings.Replace(good, "03 Feb", "31 Feb", 1), time.Time{}},
		"no date":                  {strings.Replace(good, ";", "", 1), time.Time{}},
		"an empty date":            {"Received: by mx1.isp.net;\r\n", time.Time{}},
		"of a stranger":            {strings.Replace(good, "mx1.isp.net", "mx1.isp.net.evil.example", 1), time.Time{}},
		"a bad one above a good":   {"Received: from x by mx1.isp.net; soon\r\n" + good, time.Time{}},
		"none":                     {"Subject: x\r\n", time.Time{}},
	} {
		a := account.Account{Domain: "example.com", ForwardTo: "alice@example.com/Imported", Date: account.DateReceived}
		a.Recipients.ReceivedBy = []string{"mx*.isp.net"}
		where := func(account.Target) (string, error) { return "maildir:/var/mail/%u", nil }
		m := route.Message{Header: []byte(tt.header + "\r\n"), Collected: collected}
		steps := 0
		r, err := route.Decide(a, m, route.Tenant{}, where, func(s route.Step) {
			if s.Tier == "date" {
				steps++
			}
		})
		if err != nil || !r.Received.Equal(tt.want) || steps != 1 {
			t.Errorf("%s: %v, %v, %d steps; want %v", name, r.Received, err, steps, tt.want)
		}
		var again route.Route
		if b, err := json.Marshal(r); err != nil || json.Unmarshal(b, &again) != nil || !again.Received.Equal(tt.want) {
			t.Errorf("%s: the mark keeps %v", name, again.Received)
		}
		a.Date = account.DateCollected
		if r, err := route.Decide(a, m, route.Tenant{}, where, nil); err != nil || !r.Received.IsZero() {
			t.Errorf("%s: %v, %v for who did not ask", name, r.Received, err)
		}
		a.Date, a.Recipients.ReceivedBy = account.DateReceived, nil
		if r, err := route.Decide(a, m, route.Tenant{ReceivedBy: []string{"MX1.isp.net"}}, where, nil); err != nil || !r.Received.Equal(tt.want) {
			t.Errorf("%s: %v, %v by the hosts of the domain; want %v", name, r.Received, err, tt.want)
		}
	}
}
