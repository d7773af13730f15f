package account_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]account.Target{
		"alice@example.com":                 {Address: "alice@example.com"},
		"a/b@example.com":                   {Address: "a/b@example.com"},
		"alice@example.com/Imported":        {Address: "alice@example.com", Mailbox: []string{"Imported"}},
		"alice@example.com/A b/x@y.z/Ärger": {Address: "alice@example.com", Mailbox: []string{"A b", "x@y.z", "Ärger"}},
	} {
		got, err := account.ParseTarget("forward_to", s)
		if err != nil || !reflect.DeepEqual(got, want) || got.String() != s || got.Domain() != "example.com" {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, bad := range []string{
		"", "alice", "@", "/x", "alice@", "alice@/x", "alice@example.com/", "alice@example.com/a//b", "alice@example.com/../b",
		"alice@example.com/a\r\nb", "alice@example.com/\xff", "alice@example.com/" + strings.Repeat("a/", 20) + "b",
		"alice@example.com/" + strings.Repeat("a", 600), "a b@example.com/x",
	} {
		if got, err := account.ParseTarget("forward_to", bad); err == nil {
			t.Errorf("%q is taken as %+v", bad, got)
		}
	}
}

func TestTargetsAreDistinct(t *testing.T) {
	t.Parallel()
	a := account.Account{
		Domain: "example.com", Name: "x", Protocol: account.POP3, Host: "pop.example.net", Username: "u", ForwardTo: "alice@example.com",
	}.WithDefaults()
	a.CopyTo = []string{"bob@example.com", "bob@example.com/Copies"}
	if err := a.Validate(); err != nil {
		t.Fatal(err)
	}
	a.CopyTo = []string{"bob@example.com", a.ForwardTo}
	if err := a.Validate(); err == nil || !strings.HasPrefix(err.Error(), "copy_to: ") {
		t.Errorf("a copy to Forward to itself: %v", err)
	}
}

func TestMailboxPathsStayInTheirDomain(t *testing.T) {
	t.Parallel()
	a := account.Account{Domain: "example.com", Name: "x", Protocol: account.POP3, Host: "pop.example.net", Username: "u"}.WithDefaults()
	for to, ok := range map[string]bool{
		"alice@example.com/Imported": true, "alice@EXAMPLE.com/Imported": true, "alice@example.org": true,
		"alice@example.org/Imported": false, "alice@sub.example.com/INBOX": false,
	} {
		a.ForwardTo, a.CopyTo = to, nil
		if err := a.Validate(); (err == nil) != ok {
			t.Errorf("forward to %s: %v", to, err)
		}
		a.ForwardTo, a.CopyTo = "bob@example.com", []string{to}
		if err := a.Validate(); (err == nil) != ok {
			t.Errorf("copy to %s: %v", to, err)
		}
	}
}
