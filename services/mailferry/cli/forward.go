package cli

import (
	"fmt"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Copies are who gets the mail besides Forward to.
type Copies struct {
	CopyTo []string `placeholder:"TARGET" sep:"none" group:"policy" help:"Also hand each message to this address or mailbox path; may be repeated. Empty: nobody else."`
}

func (c *Copies) named() bool { return len(c.CopyTo) > 0 }

// apply writes what was named into the account.
func (c *Copies) apply(a *account.Account) {
	if !c.named() {
		return
	}
	a.CopyTo = nil
	for _, to := range c.CopyTo {
		if to != "" {
			a.CopyTo = append(a.CopyTo, to)
		}
	}
}

// forwardOf says who gets the mail of an account.
func forwardOf(a *mailferryv1.Account) string {
	s := strings.Join(append([]string{a.GetForwardTo()}, a.GetCopyTo()...), ", ")
	if a.GetSkipFilters() {
		s += ", no filters"
	}
	if a.GetSkipAntispam() {
		s += ", no anti-spam"
	}
	if w := a.GetDedupeWindow().AsDuration(); w > 0 {
		s += fmt.Sprintf(", no doubles within %s", fault.Span(w))
	}
	if by := account.ClientAddressFromProto(a.GetClientAddress()); by != "" {
		s += ", client address: " + string(by)
	}
	if a.GetDate() == mailferryv1.MessageDate_MESSAGE_DATE_RECEIVED {
		s += ", dated as received"
	}
	return s
}
