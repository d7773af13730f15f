package route

import (
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"":                                    "",
		"a@b":                                 "a@b",
		"A <a@b>, c@d":                        "a@b c@d",
		"A: a@b, B <c@d>; e@f":                "a@b c@d e@f",
		"<@x,@y:a@b>":                         "a@b",
		"<@x,@y:a@b>, c@d":                    "a@b c@d",
		`"a@b" <c@d>`:                         "c@d",
		`"a, b" <c@d>`:                        "c@d",
		`"a@b"`:                               "",
		"(a@b) c@d (e@f)":                     "c@d",
		"(a (b) c@d":                          "c@d",
		`"x y"@z`:                             `"x y"@z`,
		"a @ b . c":                           "a@b.c",
		"<a b@c>":                             "",
		"a@b <":                               "",
		"a@b c@d":                             "",
		"<a@b> <c@d>":                         "c@d",
		"<a@b, <c@d":                          "a@b c@d",
		strings.Repeat("(", 100) + " a@b":     "a@b",
		strings.Repeat("x", 2000) + "@b, c@d": "c@d",
	} {
		if got := strings.Join(addresses(list), " "); got != want && len(list) < 1000 || len(list) >= 1000 && !strings.HasSuffix(got, want) {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

// TestHostileLists reads what would cost more than its length if each bracket were looked for again.
func TestHostileLists(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"(", `"`, `\"`, `"\"`, "<", "(<", `<"`, `<\"`, "(a)(", "@", ".", "a,", "((((a))))(", "by ", "for <", "=?"} {
		value := strings.Repeat(s, maxHeader/len(s))
		addresses(value)
		parseReceived(value)
		Find(account.Account{Domain: "b", Recipients: account.Recipients{Mode: account.FromHeaders, ToCc: true, Received: account.ReceivedFirst}},
			Tenant{}, []byte("To: "+value+"\nReceived: "+value+"\n"), nil)
	}
}

// FuzzAddresses compares with net/mail where that can read the list, and never panics where it cannot.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"a@b", "A <a@b>, c@d", "G: a@b, B <c@d>;", "<@x,@y:a@b>", `"a@b" <c@d>`, `"x y"@z`, "(a (b) c) d@e", `"a\"b"@c`, "=?utf-8?q?a?= <a@b>", "a@[1.2.3.4]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := addresses(s)
		for _, a := range got {
			if !strings.Contains(a, "@") && !strings.Contains(s, "<") {
				t.Errorf("%q: %q is no address", s, a)
			}
		}
		list, err := mail.ParseAddressList(s)
		if err != nil || strings.ContainsAny(s, ":;[\\") { // groups, routes and literals: it reads them otherwise
			return
		}
		var theirs, ours []string
		for _, a := range list {
			if account.ValidateAddress("", a.Address) == nil {
				theirs = append(theirs, a.Address)
			}
		}
		for _, a := range got {
			if name, domain, ok := splitSpec(a); ok {
				ours = append(ours, name+"@"+domain)
			}
		}
		for _, a := range theirs {
			if !slices.Contains(ours, a) && a[0] != '\'' && !strings.Contains(a, "=?") && !strings.HasSuffix(a, ".") && len(a) < maxWord {
				t.Errorf("%q: %q, net/mail has %q", s, ours, theirs)
			}
		}
		for _, a := range ours {
			if !slices.Contains(theirs, a) && !strings.Contains(s, "'") && !strings.Contains(s, ".") {
				t.Errorf("%q: %q, net/mail has %q", s, ours, theirs)
			}
		}
	})
}

func FuzzFind(f *testing.F) {
	f.Add("Delivered-To: alice@example.com\nReceived: from a by mx.isp.test for <bob@example.com>; x\n", "mx*", int8(1))
	f.Add("Resent-To: a@example.com\nTo: G: \"x\"@example.com, <@y:z@example.net>;\n", "", int8(-1))
	f.Add("Received: from (by mx) by mx for <\"a b\"@example.com>\nReceived:\n", "mx", int8(0))
	f.Fuzz(func(t *testing.T, header, by string, index int8) {
		r := account.Recipients{
			Mode: account.FromHeaders, Resent: true, ToCc: true, Header: "X-To", HeaderIndex: int(index),
			StripPrefixes: []string{"p-"}, Rewrites: []account.Rewrite{{From: "x*@example.com", To: "y*@example.com"}},
		}
		if by != "" {
			r.ReceivedBy = []string{by}
		}
		found := Find(account.Account{Domain: "example.com", Recipients: r}, Tenant{Aliases: []string{"example.net"}}, []byte(header), nil)
		if (len(found.Recipients) == 0) != (found.Tier == TierNone) || len(found.Recipients) > MaxRecipients {
			t.Errorf("%d recipients by %s", len(found.Recipients), found.Tier)
		}
		seen := map[string]bool{}
		for _, a := range found.Recipients {
			if account.ValidateAddress("", a) != nil || !strings.HasSuffix(a, "@example.com") || seen[strings.ToLower(a)] {
				t.Errorf("recipients %q", found.Recipients)
			}
			seen[strings.ToLower(a)] = true
		}
	})
}
