package control_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func TestExplainRoute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	h.add("office")
	if _, err := h.edit("office", func(req *mailferryv1.UpdateAccountRequest) {
		req.Account.Recipients = &mailferryv1.Recipients{Mode: mailferryv1.RecipientMode_RECIPIENT_MODE_HEADERS}
	}); err != nil {
		t.Fatal(err)
	}
	ref := ref("office")
	header := []byte("X-Original-To: alice@example.net\r\nX-Spam: yes\r\nReceived: from a by b; x\r\nSubject: secret words\r\n\r\n")
	ask := func(req *mailferryv1.ExplainRouteRequest) *mailferryv1.ExplainRouteResponse {
		t.Helper()
		res, err := h.routes.ExplainRoute(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}

	res := ask(&mailferryv1.ExplainRouteRequest{Ref: ref, Header: header})
	if f := res.GetFault(); f == nil || !strings.Contains(f.GetMessage(), "no destination") || len(res.GetSteps()) == 0 {
		t.Errorf("without a destination: %v", res)
	}
	d := &mailferryv1.Domain{
		Name: "example.com", Destination: "lmtp:h:24", MailboxDestination: "maildir:/m/%u", AliasDomains: []string{"Example.NET "}, Postmaster: "pm@example.com",
		Rules: account.RulesProto([]account.Rule{{Name: "spam", Header: "X-Spam: yes", Subfolder: "Junk"}}),
	}
	if _, err := h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: d}); err != nil {
		t.Fatal(err)
	}
	res = ask(&mailferryv1.ExplainRouteRequest{Ref: ref, Header: header})
	if res.GetTier() != "envelope" || res.GetField() != "X-Original-To" || len(res.GetLegs()) != 1 || res.GetLegs()[0].GetDestination() != "maildir:/m/%u" ||
		res.GetLegs()[0].GetRecipients()[0] != "alice@example.com/Junk" || strings.Join(res.GetFallback(), " ") != "office@example.com pm@example.com" {
		t.Errorf("explained %v", res)
	}
	res = ask(&mailferryv1.ExplainRouteRequest{
		Ref: ref, Header: header, TryRules: true, Rules: account.RulesProto([]account.Rule{{Name: "all", Recipient: "*", Discard: true}}),
	})
	if res.GetDiscarded() != "all" || len(res.GetLegs()) > 0 {
		t.Errorf("with other rules: %v", res)
	}
	if strings.Contains(h.log.String(), "secret words") {
		t.Error("the log shows a message")
	}

	res = ask(&mailferryv1.ExplainRouteRequest{DeadId: h.park("office", "u1")})
	if res.GetTier() != "none" || res.GetRef().GetName() != "office" || len(res.GetLegs()) != 1 || res.GetLegs()[0].GetRecipients()[0] != "office@example.com" {
		t.Errorf("of a dead letter: %v", res)
	}
	for name, req := range map[string]*mailferryv1.ExplainRouteRequest{
		"no account": {Header: header}, "unknown account": {Ref: &mailferryv1.AccountRef{Domain: "example.com", Name: "x"}}, "no letter": {DeadId: "x/y"},
		"bad rules": {Ref: ref, TryRules: true, Rules: account.RulesProto([]account.Rule{{Name: "x"}})},
	} {
		if _, err := h.routes.ExplainRoute(ctx, req); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDomainsMail(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for field, d := range map[string]*mailferryv1.Domain{
		"local_domains": {LocalDomains: []string{"no domain"}}, "alias_domains": {AliasDomains: []string{"example.com"}},
		"received_by": {ReceivedBy: []string{"mx\r\n"}},
		"rules":       {Rules: account.RulesProto([]account.Rule{{Name: "x", Discard: true}})},
	} {
		d.Name = "example.com"
		_, err := h.fleet.PutDomain(t.Context(), &mailferryv1.PutDomainRequest{Domain: d})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	d := &mailferryv1.Domain{Name: "example.com", LocalDomains: []string{"Shop.example", "shop.example"}, AliasDomains: []string{"x.example"},
		ReceivedBy: []string{"mx*.isp.net"}, ClientAddress: mailferryv1.ClientAddress_CLIENT_ADDRESS_AUTO}
	if _, err := h.fleet.PutDomain(t.Context(), &mailferryv1.PutDomainRequest{Domain: d}); err != nil {
		t.Fatal(err)
	}
	got, err := h.dir.Domain(t.Context(), "example.com")
	if err != nil || len(got.LocalDomains) != 1 || got.LocalDomains[0] != "shop.example" || got.AliasDomains[0] != "x.example" ||
		got.ReceivedBy[0] != "mx*.isp.net" || got.ClientAddress != account.ClientAuto {
		t.Errorf("%+v, error %v", got, err)
	}
}
