package account_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

// TestMailboxes fills in an account's mailboxes: what becomes of them, or which field is refused.
func TestMailboxes(t *testing.T) {
	t.Parallel()
	many := strings.Split(strings.Repeat("a b c d ", 9), " ")
	for i := range many {
		many[i] += fmt.Sprint(i)
	}
	for name, tt := range map[string]struct {
		protocol       account.Protocol
		names, exclude []string
		after          account.After
		want, refused  string
	}{
		"none":             {want: "[] []"},
		"written alike":    {names: []string{"inbox", "ALL", "INBOX", "Work", "", "work"}, exclude: []string{""}, want: "[INBOX all Work work] []"},
		"POP3":             {protocol: account.POP3, names: []string{"Work"}, refused: "mailboxes"},
		"POP3, emptied":    {protocol: account.POP3, names: []string{""}, want: "[] []"},
		"a line end":       {names: []string{"a\r\nT1 LOGOUT"}, refused: "mailboxes"},
		"a NUL":            {exclude: []string{"a\x00"}, refused: "exclude_mailboxes"},
		"no UTF-8":         {names: []string{"\xff"}, refused: "mailboxes"},
		"too long":         {names: []string{strings.Repeat("x", 256)}, refused: "mailboxes"},
		"too many":         {names: many, refused: "mailboxes"},
		"nothing is left":  {exclude: []string{"all"}, refused: "exclude_mailboxes"},
		"moved to and fro": {names: []string{"INBOX", "Done"}, after: account.Move, refused: "move_to"},
		"moved, with all":  {names: []string{"all"}, after: account.Move, want: "[all] []"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := account.Account{
				Domain: "example.com", Name: "a", Protocol: account.IMAP, Host: "h", Username: "u", ForwardTo: "a@example.com",
				Mailboxes: tt.names, ExcludeMailboxes: tt.exclude, After: tt.after,
			}
			if tt.protocol != "" {
				a.Protocol = tt.protocol
			}
			if a.After == account.Move {
				a.MoveTo = "Done"
			}
			a = account.FromProto(a.WithDefaults().Proto())
			var bad *account.Error
			err := a.Validate()
			switch got := fmt.Sprint(a.Mailboxes, " ", a.ExcludeMailboxes); {
			case tt.refused == "" && (err != nil || got != tt.want):
				t.Errorf("%s, %v, want %s", got, err, tt.want)
			case tt.refused != "" && (!errors.As(err, &bad) || bad.Field != tt.refused):
				t.Errorf("%v, want %s refused", err, tt.refused)
			}
		})
	}
}
