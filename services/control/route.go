package control

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxSteps bounds the steps of an explanation.
const maxSteps = 2000

// ExplainRoute answers who would get a message now, and why. It decides as delivery does, by the account, its domain
// and the settings as they are.
func (s *Service) ExplainRoute(ctx context.Context, req *mailferryv1.ExplainRouteRequest) (*mailferryv1.ExplainRouteResponse, error) {
	a, m, err := s.subject(ctx, req)
	if err != nil {
		return nil, err
	}
	if req.GetTryRules() {
		a.Rules = account.RulesFromProto(req.GetRules())
		if err := account.ValidateRules(a.Rules); err != nil {
			return nil, errInvalid(err)
		}
	}
	d, err := s.Directory.DomainOrDefault(ctx, a.Domain)
	if err != nil {
		return nil, asError("domain "+a.Domain, err)
	}
	out := &mailferryv1.ExplainRouteResponse{Ref: &mailferryv1.AccountRef{Domain: a.Domain, Name: a.Name}}
	note := func(st route.Step) {
		if len(out.Steps) < maxSteps {
			out.Steps = append(out.Steps, &mailferryv1.RouteStep{
				Tier: st.Tier, Field: fault.Clean(st.Field), Value: fault.Clean(st.Value), Verdict: fault.Clean(st.Verdict),
			})
		}
	}
	where := func(t account.Target) (string, error) { return s.Directory.DestinationFor(ctx, a.Domain, t) }
	tenant := route.Tenant{Local: d.LocalDomains, Aliases: d.AliasDomains, Rules: d.Rules, Postmaster: d.Postmaster,
		ReceivedBy: d.ReceivedBy, ClientAddress: d.ClientAddress}
	r, err := route.Decide(a, m, tenant, where, note)
	if err != nil {
		out.Fault = fault.Proto(err)
		return out, nil
	}
	out.From, out.Tier, out.Field, out.Fallback, out.Discarded = r.From, r.Tier, r.Field, r.Fallback, r.Discarded
	if out.Tier == "" {
		out.Tier = route.TierForwardTo
	}
	for _, l := range r.Legs {
		leg := &mailferryv1.RouteLeg{Destination: l.Destination}
		for _, to := range l.To {
			leg.Recipients = append(leg.Recipients, l.Name(to))
		}
		out.Legs = append(out.Legs, leg)
	}
	return out, nil
}

// subject returns the message that is asked about, and its account.
func (s *Service) subject(ctx context.Context, req *mailferryv1.ExplainRouteRequest) (account.Account, route.Message, error) {
	if req.GetDeadId() == "" {
		a, err := s.account(ctx, req.GetRef())
		header := req.GetHeader()
		return a, route.Message{Header: header, Size: max(req.GetSize(), int64(len(header))), Mailbox: req.GetMailbox()}, err
	}
	e, err := s.letter(ctx, req.GetDeadId())
	if err != nil {
		return account.Account{}, route.Message{}, err
	}
	what := "dead letter " + fault.Clean(req.GetDeadId())
	l := e.GetLetter()
	m := l.GetMessage()
	if m == nil {
		return account.Account{}, route.Message{}, refusal(connect.CodeFailedPrecondition, fault.Policy,
			"see 'mailferry dead show'", "%s is a job, not a message", what)
	}
	fill(&l.AccountUid, m.GetAccountUid())
	fill(&l.Domain, m.GetDomain())
	fill(&l.Name, m.GetName())
	a, err := s.ownerOf(ctx, l)
	if errors.Is(err, directory.ErrNotFound) {
		return a, route.Message{}, refusal(connect.CodeFailedPrecondition, fault.Policy, "name an account and a file", "%s: its account is removed", what)
	}
	header := s.header(ctx, m)
	if err == nil && header == nil {
		err = fault.Errorf(fault.NotFound, "read", "its body cannot be had")
	}
	return a, route.Message{Header: append(header, "\r\n"...), Size: m.GetSize(), Mailbox: m.GetMailbox()}, asError(what, err)
}
