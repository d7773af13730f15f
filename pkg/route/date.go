package route

import (
	"net/mail"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
)

// FindReceived returns the time in the topmost Received field of a declared host (RFC 5321 §4.4): what lies beneath came
// with the message and can be forged. It is the zero time where no host is declared or none wrote a line, where the
// line holds no date, and where the date lies before 1970 or after the message was collected.
func FindReceived(a account.Account, t Tenant, m Message) time.Time {
	x, _, ok := topmost(parseFields(m.Header), newHouse(a, t).r.ReceivedBy)
	semicolon := strings.LastIndexByte(x.value, ';')
	if !ok || semicolon < 0 {
		return time.Time{}
	}
	at, err := mail.ParseDate(strings.Join(strings.Fields(x.value[semicolon+1:]), " "))
	if err != nil || at.Unix() < 0 || !m.Collected.IsZero() && at.After(m.Collected) {
		return time.Time{}
	}
	return at.UTC()
}

// dateStep explains the date of a route.
func (r Route) dateStep() Step {
	if r.Received.IsZero() {
		return Step{Tier: "date", Field: "Received", Verdict: "no line of a declared host tells when it came: in a mailbox it has the time of its collection"}
	}
	return Step{Tier: "date", Field: "Received", Value: r.Received.Format(time.RFC3339), Verdict: "the date that it has in a mailbox"}
}
