package cli

import (
	"slices"

	"github.com/mailferry/mailferry/pkg/account"
)

// Labels are what accounts are listed and triggered together by.
type Labels struct {
	Label []string `placeholder:"LABEL" sep:"none" group:"policy" help:"A label, by which accounts are listed and fetched together: lower-case letters, digits, - . _; may be repeated. Those named take the place of the ones there are. Empty: none."`
}

func (l *Labels) named() bool { return len(l.Label) > 0 }

// apply writes what was named into the account.
func (l *Labels) apply(a *account.Account) {
	if l.named() {
		a.Labels = slices.DeleteFunc(slices.Clone(l.Label), func(s string) bool { return s == "" })
	}
}
