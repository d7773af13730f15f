package route_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/route"
)

const (
	billing = "Return-Path: <bounce@billing.test>\r\nX-Original-To: alice@example.com\r\nX-Spam-Flag: YES\r\n" +
		"Received: from a by b; Thu, 26 Nov 2026 08:00:00 +0000\r\nFrom: Billing <no-reply@billing.test>\r\n" +
		"To: alice@example.com, sales@example.com\r\nSubject: =?utf-8?Q?Ihre_Rechnung_f=C3=BCr_M=C3=A4rz?=\r\n\r\n"
	team = "X-RCPT-TO: alice@example.com\r\nX-RCPT-TO: bob@example.com\r\nReceived: from a by b; x\r\nFrom: a@sender.test\r\n\r\n"
)

func TestRules(t *testing.T) {
	t.Parallel()
	type rules = []account.Rule
	tests := map[string]struct {
		header    string // of the message; default billing
		size      int64
		mailbox   string
		forwardTo bool // the mode, instead of headers
		rules     rules
		domain    rules
		want      string // "" if it is discarded
	}{
		"no rule":                   {want: "alice@example.com"},
		"sender":                    {rules: rules{{Sender: "*@billing.test", To: []string{"acc@example.com"}}}, want: "acc@example.com"},
		"sender, the reverse-path":  {rules: rules{{Sender: "bounce@*", To: []string{"acc@example.com"}}}, want: "acc@example.com"},
		"sender, another":           {rules: rules{{Sender: "*@other.test", To: []string{"acc@example.com"}}}, want: "alice@example.com"},
		"subject, decoded":          {rules: rules{{Subject: "*rechnung für*", To: []string{"acc@example.com"}}}, want: "acc@example.com"},
		"header with a value":       {rules: rules{{Header: "x-spam-flag: yes", Subfolder: "Junk"}}, want: "alice@example.com/Junk"},
		"header with another value": {rules: rules{{Header: "X-Spam-Flag: no*", Subfolder: "Junk"}}, want: "alice@example.com"},
		"header that is there":      {rules: rules{{Header: "X-Spam-Flag", Subfolder: "Junk/Spam"}}, want: "alice@example.com/Junk/Spam"},
		"header that is missing":    {rules: rules{{Header: "X-Other", Subfolder: "Junk"}}, want: "alice@example.com"},
		"larger":                    {size: 2000, rules: rules{{LargerThan: 1999, To: []string{"big@example.com/Big"}}}, want: "big@example.com/Big"},
		"not larger":                {size: 2000, rules: rules{{LargerThan: 2000, To: []string{"big@example.com"}}}, want: "alice@example.com"},
		"smaller":                   {size: 2000, rules: rules{{SmallerThan: 2001, To: []string{"small@example.com"}}}, want: "small@example.com"},
		"mailbox":                   {mailbox: "Archive/2024", rules: rules{{Mailbox: "archive/*", Subfolder: "Old"}}, want: "alice@example.com/Old"},
		"recipient":                 {rules: rules{{Recipient: "alice@*", To: []string{"x@example.com"}}}, want: "x@example.com"},
		"recipient, a visible one that was not decided upon": {rules: rules{{Recipient: "sales@*", To: []string{"x@example.com"}}}, want: "alice@example.com"},
		"recipient, a visible one of what goes to Forward to": {
			forwardTo: true, rules: rules{{Recipient: "sales@*", To: []string{"x@example.com"}}}, want: "x@example.com",
		},
		"recipient, one of two": {header: team, rules: rules{{Recipient: "bob@*", To: []string{"x@example.com"}}}, want: "alice@example.com x@example.com"},
		"discard":               {rules: rules{{Sender: "*@billing.test", Discard: true}}, want: ""},
		"discard for one of two": {
			header: team, rules: rules{{Recipient: "bob@*", Discard: true}}, want: "alice@example.com",
		},
		"copy": {rules: rules{{Sender: "*", Copy: []string{"boss@example.com/All"}}}, want: "alice@example.com boss@example.com/All"},
		"a copy for each of two is one": {
			header: team, rules: rules{{Sender: "*", Copy: []string{"boss@example.com"}}}, want: "alice@example.com boss@example.com bob@example.com",
		},
		"all conditions must hold": {
			rules: rules{{Sender: "*@billing.test", Subject: "no", To: []string{"x@example.com"}}}, want: "alice@example.com",
		},
		"the first that fits": {
			rules: rules{{Sender: "*", To: []string{"x@example.com"}}, {Sender: "*", To: []string{"y@example.com"}}}, want: "x@example.com",
		},
		"continue": {
			rules: rules{
				{Sender: "*", To: []string{"x@example.com", "y@example.com"}, Continue: true}, {Sender: "*", Subfolder: "In", Continue: true},
				{Sender: "*", Copy: []string{"z@example.com"}}, {Sender: "*", Discard: true},
			}, want: "x@example.com/In y@example.com/In z@example.com",
		},
		"the domain's, behind those of the account": {
			rules: rules{{Sender: "*", Subfolder: "A", Continue: true}}, domain: rules{{Sender: "*", Subfolder: "B"}}, want: "alice@example.com/A/B",
		},
		"the account's decides": {
			rules: rules{{Sender: "*", Subfolder: "A"}}, domain: rules{{Sender: "*", Discard: true}}, want: "alice@example.com/A",
		},
		"a copy of what is discarded after it": {
			rules: rules{{Sender: "*", Copy: []string{"law@example.com"}, Continue: true}, {Sender: "*", Discard: true}}, want: "law@example.com",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := account.Account{Domain: "example.com", ForwardTo: "office@example.com", Rules: tt.rules}
			if !tt.forwardTo {
				a.Recipients.Mode = account.FromHeaders
			}
			if tt.header == "" {
				tt.header = billing
			}
			if err := account.ValidateRules(slices.Concat(tt.rules, tt.domain)); err != nil {
				t.Fatal(err)
			}
			m := route.Message{Header: []byte(tt.header), Size: tt.size, Mailbox: tt.mailbox}
			r, err := route.Decide(a, m, route.Tenant{Rules: tt.domain}, at("lmtp:h:24"), nil)
			if got := strings.Join(namesOf(r), " "); err != nil || got != sorted(tt.want) || (r.Discarded != "") != (tt.want == "") {
				t.Errorf("%s, discarded by %q, error %v; want %s", got, r.Discarded, err, tt.want)
			}
		})
	}
}

func sorted(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// namesOf returns all recipients of a route, sorted.
func namesOf(r route.Route) []string {
	var out []string
	for _, l := range r.Legs {
		for _, to := range l.To {
			out = append(out, l.Name(to))
		}
	}
	slices.Sort(out)
	return out
}

func TestRulesThatNobodyCanSave(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]account.Rule{
		"no condition":         {To: []string{"x@example.com"}},
		"no action":            {Sender: "*"},
		"discard and to":       {Sender: "*", Discard: true, To: []string{"x@example.com"}},
		"discard and copy":     {Sender: "*", Discard: true, Copy: []string{"x@example.com"}},
		"discard and continue": {Sender: "*", Discard: true, Continue: true},
		"to is no target":      {Sender: "*", To: []string{"nobody"}},
		"copy is no target":    {Sender: "*", Copy: []string{"x@example.com/../y"}},
		"subfolder":            {Sender: "*", Subfolder: "a//b"},
		"header name":          {Header: "no name: x", Discard: true},
		"negative size":        {LargerThan: -1, Discard: true},
		"control character":    {Sender: "a\nb", Discard: true},
		"too long":             {Sender: strings.Repeat("*", account.MaxFieldLen+1), Discard: true},
	} {
		if err := account.ValidateRules([]account.Rule{r}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := account.ValidateRules(make([]account.Rule, 51)); err == nil {
		t.Error("51 rules are taken")
	}
}

// TestEveryMessageIsAccountedFor judges the whole corpus under many rules: a message goes to the recipients that are
// found, or to Forward to, or was discarded by a rule that says so, and nothing else becomes of any.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	t.Parallel()
	all := corpus(t)
	for i, rules := range [][]account.Rule{
		nil,
		{{Name: "drop", Recipient: "alice*", Discard: true}},
		{{Sender: "*", Copy: []string{"archive@example.com/All"}, Continue: true}, {Name: "drop", Sender: "*@sender.test", Discard: true}},
		{{Recipient: "*", Subfolder: "In"}},
		{{Name: "drop", Sender: "*", Discard: true}},
	} {
		delivered, fallback, rejected := 0, 0, 0
		for _, c := range all {
			c.account.Rules = rules
			r, err := route.Decide(c.account, route.Message{Header: []byte(c.header)}, tenant, at("lmtp:h:24"), nil)
			switch {
			case err != nil:
				t.Errorf("%s/%s: %v", c.file, c.name, err)
			case r.Discarded != "":
				rejected++
				if len(r.Legs) > 0 || r.Discarded != "drop" {
					t.Errorf("%s/%s: discarded by %q, and goes to %v", c.file, c.name, r.Discarded, namesOf(r))
				}
			case len(r.Legs) == 0:
				t.Errorf("%s/%s: goes nowhere", c.file, c.name)
			case r.Tier == route.TierNone || r.Tier == "":
				fallback++
			default:
				delivered++
			}
			if names := namesOf(r); len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Errorf("%s/%s: twice to somebody: %v", c.file, c.name, names)
			}
		}
		if delivered+fallback+rejected != len(all) {
			t.Errorf("rules %d: %d delivered + %d fallback + %d rejected, want %d", i, delivered, fallback, rejected, len(all))
		}
		if (rejected > 0) != (i == 1 || i == 4) {
			t.Errorf("rules %d: %d rejected", i, rejected)
		}
	}
}
