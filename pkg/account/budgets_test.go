package account_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestBudgets(t *testing.T) {
	t.Parallel()
	b := account.Budgets("google=20/300/500GB, Mail.Example.net=10/60 , *=5/0, 127.0.0.1=3/0")
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, provider, name string
		want                 account.Budget
	}{
		{"imap.gmail.com", "google", "google", account.Budget{Sessions: 20, LoginsPerMinute: 300, OctetsPerDay: 500e9}},
		{"mail.example.NET.", "", "mail.example.net", account.Budget{Sessions: 10, LoginsPerMinute: 60}},
		{"imap.elsewhere.org", "", "imap.elsewhere.org", account.Budget{Sessions: 5}},
		{"imap.mail.yahoo.com", "yahoo", "yahoo", account.Budget{Sessions: 5}},
		{"localhost", "", "localhost", account.Budget{}},
		{"::1", "", "::1", account.Budget{}},
		{"127.0.0.1", "", "127.0.0.1", account.Budget{Sessions: 3}},
	} {
		if name, got := b.For(tt.host, tt.provider); name != tt.name || got != tt.want {
			t.Errorf("%s: %s %v", tt.host, name, got)
		}
	}
	if _, got := account.Budgets("").For("a.example", ""); got != account.DefaultBudget {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"a", "a=1", "a=1/", "a=x/2", "a=-1/2", "=1/2", "a=1/2,a=3/4", "a=1/2,,", "a b=1/2", "a=1/9999999", "a=1/2/", "a=1/2/x", "a=1/2/-1", "a=1/2/3/4", "a=1/2/9999999TB", strings.Repeat("a", 17<<10)} {
		if account.Budgets(bad).Validate() == nil {
			t.Errorf("%.30q is taken", bad)
		}
	}
}
