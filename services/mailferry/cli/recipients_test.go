package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// ExplainRoute answers as if the message were for two people.
func (f *fake) ExplainRoute(_ context.Context, req *mailferryv1.ExplainRouteRequest) (*mailferryv1.ExplainRouteResponse, error) {
	f.explain = req
	return &mailferryv1.ExplainRouteResponse{
		Ref: &mailferryv1.AccountRef{Domain: "example.com", Name: "office"}, From: "a@sender.test", Tier: "envelope", Field: "Delivered-To",
		Steps: []*mailferryv1.RouteStep{
			{Tier: "envelope", Field: "Delivered-To", Value: "catchall@isp.test", Verdict: "not local"},
			{Tier: "envelope", Field: "Delivered-To", Value: "alice@example.net\x1b[31m", Verdict: "example.net is an alias of example.com, local"},
			{Tier: "rule", Field: "invoices", Value: "alice@example.com", Verdict: "goes to alice@example.com, acc@example.com/Bills"},
		},
		Legs: []*mailferryv1.RouteLeg{
			{Destination: "lmtp:unix:/run/dovecot/lmtp", Recipients: []string{"alice@example.com"}},
			{Destination: "maildir:/var/mail/%u", Recipients: []string{"acc@example.com/Bills"}},
		},
		Fallback: []string{"office@example.com", "postmaster@example.com"},
	}, nil
}

const rulesYAML = `rules:
  - name: invoices
    when:
      sender: '*@billing.test'
      larger: "20000"
    to:
      - acc@example.com/Bills
    continue: true
  - when:
      header: 'X-Spam-Flag: YES'
    discard: true
`

func TestRouteExplain(t *testing.T) {
	t.Parallel()
	file := write(t, "Delivered-To: alice@example.net\n\n"+strings.Repeat("body ", 20_000))
	f := &fake{}
	golden(t, "route-explain", newShell(t, f).run("route", "explain", "example.com/office", file, "--mailbox", "Archive", "--rules", write(t, rulesYAML)))
	if got := string(f.explain.GetHeader()); got != "Delivered-To: alice@example.net\n\n" || f.explain.GetSize() != 100_033 {
		t.Errorf("%d octets of a message of %d were sent", len(got), f.explain.GetSize())
	}
	if r := f.explain; r.GetMailbox() != "Archive" || !r.GetTryRules() || len(r.GetRules()) != 2 || r.GetRef().GetName() != "office" {
		t.Errorf("asked %v", prototext.Format(f.explain))
	}
	if r := newShell(t, f).run("route", "explain", "--dead", "abc/p1", "--json"); r.code != 0 || f.explain.GetDeadId() != "abc/p1" || !strings.HasPrefix(r.out, "{") {
		t.Errorf("%+v", r)
	}
	for _, args := range []string{"", "example.com/office", "example.com " + file, "example.com/office /nowhere", "--dead x example.com/office"} {
		if r := newShell(t, f).run(strings.Fields("route explain " + args)...); r.code != 2 {
			t.Errorf("%q: exit code %d, %s", args, r.code, r.err)
		}
	}
}

func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRules(t *testing.T) {
	t.Parallel()
	f := &fake{}
	file := write(t, rulesYAML)
	if r := newShell(t, f).run("rules", "set", "example.com/gmail-alice", file); r.code != 0 || r.out != "example.com/gmail-alice has 2 rules\n" {
		t.Fatalf("%+v", r)
	}
	rules := f.updated[0].GetAccount().GetRules()
	if len(rules) != 2 || rules[0].GetLargerThan() != 20000 || !rules[0].GetContinue() || !rules[1].GetDiscard() || rules[0].GetTo()[0] != "acc@example.com/Bills" {
		t.Fatalf("set %v", rules)
	}
	if r := newShell(t, f).run("rules", "set", "example.com", file); r.code != 0 || len(f.domain.GetDomain().GetRules()) != 2 {
		t.Fatalf("%+v", r)
	}
	s := newShell(t, f)
	s.stdin = "rules: []\n"
	if r := s.run("rules", "set", "example.com/gmail-alice", "-"); r.code != 0 || len(f.updated[1].GetAccount().GetRules()) != 0 {
		t.Fatalf("%+v", r)
	}
	for says, bad := range map[string]string{
		"field discrd not found": "rules: [{when: {sender: x}, discrd: true}]",
		"no condition":           "rules: [{discard: true}]",
		"no action":              "rules: [{when: {sender: x}}]",
		"is not a size":          "rules: [{when: {larger: lots}, discard: true}]",
		"cannot unmarshal":       "rules: 7",
	} {
		if r := newShell(t, f).run("rules", "set", "example.com", write(t, bad)); r.code != 2 || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v", bad, r)
		}
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	f := &fake{}
	r := newShell(t, f).run("account", "edit", "example.com/gmail-alice", "--recipients", "headers", "--recipients-header", "X-Rcpt:-1",
		"--recipients-headers", "Envelope-To,X-MDRcpt-To", "--recipients-received-by", "mx1.isp.test,mx2.isp.test", "--recipients-to-cc",
		"--recipients-strip", "mbox-", "--recipients-rewrite", "*@shop.example=shop-*@example.com", "--recipients-rewrite", "a@b=c@d",
		"--recipients-match", "*@example.com", "--recipients-domains", "x.example")
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	want := `mode:RECIPIENT_MODE_HEADERS header:"X-Rcpt" header_index:-1 headers:"Envelope-To" headers:"X-MDRcpt-To" received_by:"mx1.isp.test" ` +
		`received_by:"mx2.isp.test" to_cc:true strip_prefixes:"mbox-" rewrites:{from:"*@shop.example" to:"shop-*@example.com"} ` +
		`rewrites:{from:"a@b" to:"c@d"} match:"*@example.com" domains:"x.example"`
	wanted := &mailferryv1.Recipients{}
	if err := prototext.Unmarshal([]byte(want), wanted); err != nil {
		t.Fatal(err)
	}
	if got := f.updated[0].GetAccount().GetRecipients(); got.String() != wanted.String() {
		t.Errorf("%v, want %v", got, wanted)
	}
	for _, args := range []string{"--recipients-header X:0", "--recipients-header X:y", "--recipients-rewrite a@b", "--recipients maybe"} {
		if r := newShell(t, f).run(append([]string{"account", "edit", "example.com/gmail-alice"}, strings.Fields(args)...)...); r.code != 2 {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := newShell(t, f).run("domain", "edit", "example.com", "--local-domains", "a.example,b.example", "--alias-domains", "c.example"); r.code != 0 ||
		strings.Join(append(f.domain.GetDomain().GetLocalDomains(), f.domain.GetDomain().GetAliasDomains()...), " ") != "a.example b.example c.example" {
		t.Errorf("%+v", r)
	}
}
