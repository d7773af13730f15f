package route_test

import (
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/route"
)

func TestReturns(t *testing.T) {
	t.Parallel()
	const no, likely, certain = route.NoReturn, route.LikelyReturn, route.CertainReturn
	for name, c := range map[string]struct {
		host, user, target, destination string
		change                          func(*account.Account)
		want                            route.Return
	}{
		"INBOX into itself":              {"mail.example.com", "alice@example.com", "alice@example.com/INBOX", "imaps:mail.example.com", nil, certain},
		"in any case":                    {"Mail.Example.com.", "Alice@example.com", "alice@example.com/inbox", "imap:mail.example.com:143", nil, certain},
		"the same odd port":              {"mail.example.com:1143", "alice@example.com", "alice@example.com/INBOX", "imap:mail.example.com:1143", nil, certain},
		"another odd port":               {"mail.example.com:1143", "alice@example.com", "alice@example.com/INBOX", "imap:mail.example.com:1144", nil, likely},
		"a mailbox that is not read":     {"mail.example.com", "alice@example.com", "alice@example.com/Imported", "imaps:mail.example.com", nil, no},
		"another user":                   {"mail.example.com", "bob@example.com", "alice@example.com/INBOX", "imaps:mail.example.com", nil, no},
		"another server":                 {"old.example.com", "alice@example.com", "alice@example.com/INBOX", "imaps:mail.example.com", nil, no},
		"the local part":                 {"mail.example.com", "alice", "alice@example.com/INBOX", "imaps:mail.example.com", nil, likely},
		"Maildir":                        {"mail.example.com", "alice@example.com", "alice@example.com/INBOX", "maildir:/var/mail/%u", nil, no},
		"LMTP":                           {"mail.example.com", "alice@example.com", "alice@example.com", "lmtp:mail.example.com:24", nil, certain},
		"the second of the servers":      {"mail.example.com", "alice@example.com", "alice@example.com", "lmtp:a.example.com:24,mail.example.com:24", nil, certain},
		"LMTP at an odd port":            {"mail.example.com", "alice@example.com", "alice@example.com", "lmtp:mail.example.com:2424", nil, likely},
		"LMTP on this host":              {"localhost", "alice@example.com", "alice@example.com", "lmtp:unix:/run/lmtp", nil, no},
		"SMTP":                           {"mail.example.com", "alice@example.com", "alice@example.com", "smtp+tls:mail.example.com", nil, certain},
		"SMTP, the local part":           {"mail.example.com", "alice", "alice@example.com", "smtp:mail.example.com", nil, likely},
		"SMTP, another mailbox is read":  {"mail.example.com", "alice@example.com", "alice@example.com", "smtp:mail.example.com", boxes("Old"), no},
		"SMTP, POP3":                     {"mail.example.com", "alice@example.com", "alice@example.com", "smtp:mail.example.com", pop3, certain},
		"POP3 into a path":               {"mail.example.com", "alice@example.com", "alice@example.com/Old", "imaps:mail.example.com", pop3, no},
		"all into one of them":           {"mail.example.com", "alice@example.com", "alice@example.com/Imported", "imaps:mail.example.com", boxes("all"), certain},
		"a pattern":                      {"mail.example.com", "alice@example.com", "alice@example.com/Imported/x", "imaps:mail.example.com", boxes("Imp*"), certain},
		"a pattern of other ones":        {"mail.example.com", "alice@example.com", "alice@example.com/Imported", "imaps:mail.example.com", boxes("Old*"), no},
		"the path by name":               {"mail.example.com", "alice@example.com", "alice@example.com/Old/x", "imaps:mail.example.com", boxes("INBOX", "Old.x"), certain},
		"the path by name, beneath it":   {"mail.example.com", "alice@example.com", "alice@example.com/Old", "imaps:mail.example.com", boxes("Old"), no},
		"all but that one":               {"mail.example.com", "alice@example.com", "alice@example.com/Imported", "imaps:mail.example.com", but("Imported*"), no},
		"rules may say otherwise":        {"mail.example.com", "alice@example.com", "alice@example.com", "smtp:mail.example.com", ruled, likely},
		"headers may say otherwise":      {"mail.example.com", "alice@example.com", "alice@example.com", "smtp:mail.example.com", headed, likely},
		"a destination that cannot be":   {"mail.example.com", "alice@example.com", "alice@example.com", "pigeon:mail.example.com", nil, no},
		"top level, and one beneath it":  {"mail.example.com", "alice@example.com", "alice@example.com/a", "imaps:mail.example.com", boxes("%"), certain},
		"top level, and into one deeper": {"mail.example.com", "alice@example.com", "alice@example.com/a/b", "imaps:mail.example.com", boxes("%"), no},
	} {
		a := account.Account{Protocol: account.IMAP, TLS: account.Direct, Host: c.host, Username: c.user}
		if c.change != nil {
			c.change(&a)
		}
		target, err := account.ParseTarget("forward_to", c.target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := route.Returns(a, target, func(account.Target) (string, error) { return c.destination, nil })
		if err != nil || got != c.want {
			t.Errorf("%s: %d, want %d (%v)", name, got, c.want, err)
		}
	}
}

func boxes(names ...string) func(*account.Account) {
	return func(a *account.Account) { a.Mailboxes = names }
}

func but(name string) func(*account.Account) {
	return func(a *account.Account) {
		a.Mailboxes, a.ExcludeMailboxes = []string{account.AllMailboxes}, []string{name}
	}
}

func pop3(a *account.Account)   { a.Protocol = account.POP3 }
func ruled(a *account.Account)  { a.Rules = []account.Rule{{Name: "x"}} }
func headed(a *account.Account) { a.Recipients.Mode = account.FromHeaders }
