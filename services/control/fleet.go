package control

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// checkTime bounds the check of a component.
const checkTime = 5 * time.Second

// GetStatus answers what the fleet is doing. A part that does not answer is shown, not an error: the status
// is asked for when something is wrong.
func (s *Service) GetStatus(ctx context.Context, _ *mailferryv1.GetStatusRequest) (*mailferryv1.GetStatusResponse, error) {
	out := &mailferryv1.GetStatusResponse{}
	checks := maps.Clone(s.Checks)
	if checks == nil {
		checks = map[string]func(context.Context) error{}
	}
	checks["directory"] = func(ctx context.Context) error {
		var all, active int64
		for a, err := range s.Directory.Accounts(ctx, "") {
			if err != nil {
				return err
			}
			all++
			if a.Active {
				active++
			}
		}
		out.Accounts, out.AccountsActive = all, active
		return nil
	}
	checks["queue"] = func(ctx context.Context) error {
		n, err := s.Queue.Pending(ctx)
		out.JobsQueued = int64(n)
		return err
	}
	checks["transit"] = func(ctx context.Context) error {
		st, err := s.Transit.Stats(ctx)
		out.MessagesInTransit, out.BytesInTransit, out.Dead = st.Messages, st.Bytes, st.Dead
		return err
	}
	out.Components = runChecks(ctx, checks)
	return out, nil
}

// runChecks runs all checks at once, each within its time.
func runChecks(ctx context.Context, checks map[string]func(context.Context) error) []*mailferryv1.Component {
	names := slices.Sorted(maps.Keys(checks))
	out := make([]*mailferryv1.Component, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, checkTime)
			defer cancel()
			c := &mailferryv1.Component{Name: name, Ok: true}
			if err := checks[name](ctx); err != nil {
				c.Ok, c.Detail = false, fault.Proto(err).GetMessage()
			}
			out[i] = c
			return nil
		})
	}
	_ = g.Wait()
	return out
}

// ListDomains answers the domains, sorted by name.
func (s *Service) ListDomains(ctx context.Context, _ *mailferryv1.ListDomainsRequest) (*mailferryv1.ListDomainsResponse, error) {
	domains, err := s.Directory.Domains(ctx)
	if err != nil {
		return nil, asError("domains", err)
	}
	slices.SortFunc(domains, func(a, b directory.Domain) int { return strings.Compare(a.Name, b.Name) })
	out := &mailferryv1.ListDomainsResponse{}
	for _, d := range domains {
		out.Domains = append(out.Domains, protoDomain(d))
	}
	return out, nil
}

func protoDomain(d directory.Domain) *mailferryv1.Domain {
	return &mailferryv1.Domain{
		Name: d.Name, Destination: d.Destination, Revision: d.Revision, RequireTls: d.RequireTLS, AllowInvalidTls: d.AllowInvalidTLS,
		EgressPorts: string(d.EgressPorts), EgressProxy: d.EgressProxy, EgressSource: d.EgressSource,
		MailboxDestination: d.MailboxDestination, Postmaster: d.Postmaster,
		LocalDomains: d.LocalDomains, AliasDomains: d.AliasDomains, Rules: account.RulesProto(d.Rules),
		ReceivedBy: d.ReceivedBy, ClientAddress: d.ClientAddress.Proto(),
		DestinationUsername: d.Login.Username, MailboxDestinationUsername: d.MailboxLogin.Username,
		WebhookUrl: d.WebhookURL, NotifyAdmin: d.NotifyAdmin,
		Schedule:            account.ScheduleProto(d.Schedule),
		MinInterval:         minInterval(d.MinInterval),
		EgressProxyUsername: d.ProxyLogin.Username,
		Weight:              int32(d.Weight), MaxRuns: int32(d.Caps.Runs), MaxJobsPerMinute: int32(d.Caps.JobsPerMinute), MaxAccounts: int32(d.Caps.Accounts), MaxOctetsPerDay: d.Caps.OctetsPerDay,
	}
}

// checkEgress refuses what no worker could use.
func checkEgress(d directory.Domain) error {
	err := d.EgressPorts.Validate()
	if err == nil && d.EgressProxy != "" {
		_, err = account.ProxyAddress(d.EgressProxy)
	}
	if err == nil && d.EgressSource != "" {
		_, err = account.SourceAddress(d.EgressSource)
	}
	return asField(err)
}

// asField is the API's form of an error of a field.
func asField(err error) error {
	var e *account.Error
	if errors.As(err, &e) {
		return errField(e.Field, "%s", e.Reason)
	}
	return err
}

// checkDestinations refuses what delivery could not use; "" is none.
func checkDestinations(destination, mailbox, postmaster string) error {
	d, err := route.ParseDestination(destination)
	if err != nil && destination != "" {
		return errField("destination", "%s", strings.TrimPrefix(err.Error(), "destination: "))
	}
	if d.Kind == route.IMAP || d.Kind == route.IMAPS {
		return errField("destination", "IMAP appends to mailboxes, past filters: it can be the mailbox_destination; the destination is for addresses")
	}
	if _, err := route.ParseMailboxDestination(mailbox); err != nil && mailbox != "" {
		return errField("mailbox_destination", "%s", strings.TrimPrefix(err.Error(), "destination: "))
	}
	if err := account.ValidateAddress("postmaster", postmaster); err != nil && postmaster != "" {
		return asField(err)
	}
	return nil
}

// PutDomain adds or changes a domain.
func (s *Service) PutDomain(ctx context.Context, req *mailferryv1.PutDomainRequest) (*mailferryv1.PutDomainResponse, error) {
	name, err := domainName(req.GetDomain().GetName(), false)
	if err != nil {
		return nil, err
	}
	d := directory.Domain{
		Name: name, Destination: strings.TrimSpace(req.GetDomain().GetDestination()), Revision: req.GetDomain().GetRevision(),
		RequireTLS: req.GetDomain().GetRequireTls(), AllowInvalidTLS: req.GetDomain().GetAllowInvalidTls(),
		EgressPorts: account.Ports(req.GetDomain().GetEgressPorts()), EgressProxy: req.GetDomain().GetEgressProxy(), EgressSource: req.GetDomain().GetEgressSource(),
		MailboxDestination: strings.TrimSpace(req.GetDomain().GetMailboxDestination()), Postmaster: strings.TrimSpace(req.GetDomain().GetPostmaster()),
		Schedule: account.ScheduleFromProto(req.GetDomain().GetSchedule()), MinInterval: req.GetDomain().GetMinInterval().AsDuration(),
		Weight: int(req.GetDomain().GetWeight()), Caps: directory.CapsFromProto(req.GetDomain()),
	}
	if err := errors.Join(account.ValidateSchedule(d.Schedule), account.ValidateMinInterval(d.MinInterval), d.ValidateCaps()); err != nil {
		return nil, asField(err)
	}
	if err := checkEgress(d); err != nil {
		return nil, err
	}
	if err := checkDestinations(d.Destination, d.MailboxDestination, d.Postmaster); err != nil {
		return nil, err
	}
	if err := mailOf(req.GetDomain(), &d); err != nil {
		return nil, err
	}
	there, err := s.Directory.Domain(ctx, name)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		if d.Revision != 0 {
			return nil, errNoDomain(name)
		}
	case err != nil:
		return nil, asError("domain "+name, err)
	case req.GetCreate():
		return nil, errDomainExists(name)
	case d.Revision == 0:
		d.Revision = there.Revision
	}
	if err := s.domainLogins(&d, there, req); err != nil {
		return nil, err
	}
	want := directory.Notify{WebhookURL: req.GetDomain().GetWebhookUrl(), SealedWebhookSecret: there.SealedWebhookSecret, NotifyAdmin: req.GetDomain().GetNotifyAdmin()}
	if d.Notify, err = s.notifyOf(want, req.WebhookSecret, name); err != nil {
		return nil, err
	}
	d, err = s.Directory.PutDomain(ctx, d)
	switch {
	case errors.Is(err, directory.ErrExists) && req.GetCreate():
		return nil, errDomainExists(name)
	case errors.Is(err, directory.ErrExists), errors.Is(err, directory.ErrConflict):
		return nil, refusal(connect.CodeAborted, fault.Policy, "read it again and repeat the change", "domain %s was changed by somebody else meanwhile", name)
	case err != nil:
		return nil, asError("domain "+name, err)
	}
	return &mailferryv1.PutDomainResponse{Domain: protoDomain(d)}, nil
}

func errNoDomain(name string) error {
	return refusal(connect.CodeNotFound, fault.NotFound, "see 'mailferry domain list'", "domain %s does not exist", name)
}

func errDomainExists(name string) error {
	return refusal(connect.CodeAlreadyExists, fault.Policy, "change it with 'mailferry domain edit "+name+"'", "domain %s exists already", name)
}

// DeleteDomain removes a domain that has no accounts.
func (s *Service) DeleteDomain(ctx context.Context, req *mailferryv1.DeleteDomainRequest) (*mailferryv1.DeleteDomainResponse, error) {
	name, err := domainName(req.GetName(), false)
	if err != nil {
		return nil, err
	}
	if _, err := s.Directory.Domain(ctx, name); errors.Is(err, directory.ErrNotFound) {
		return nil, errNoDomain(name)
	} else if err != nil {
		return nil, asError("domain "+name, err)
	}
	for a, err := range s.Directory.Accounts(ctx, name) {
		if err != nil {
			return nil, asError("domain "+name, err)
		}
		return nil, refusal(connect.CodeFailedPrecondition, fault.Policy,
			"remove them first ('mailferry account list "+name+"'); to use the global destination: mailferry domain edit "+name+" --destination ''",
			"domain %s still has accounts, for instance %s", name, a.Ref())
	}
	if err := s.Directory.DeleteDomain(ctx, name); err != nil {
		return nil, asError("domain "+name, err)
	}
	return &mailferryv1.DeleteDomainResponse{}, nil
}

// GetSettings answers the settings.
func (s *Service) GetSettings(ctx context.Context, _ *mailferryv1.GetSettingsRequest) (*mailferryv1.GetSettingsResponse, error) {
	set, err := s.Directory.Settings(ctx)
	if err != nil {
		return nil, asError("settings", err)
	}
	return &mailferryv1.GetSettingsResponse{Settings: protoSettings(set)}, nil
}

func protoSettings(s directory.Settings) *mailferryv1.Settings {
	return &mailferryv1.Settings{
		Interval: durationpb.New(s.Interval), Pop3Locking: s.POP3Locking, Destination: s.Destination, Revision: s.Revision,
		RequireTls: s.RequireTLS, RemoteDeletion: proto.Bool(!s.NoRemoteDeletion), EgressPorts: string(s.EgressPorts), Budgets: string(s.Budgets),
		MailboxDestination: s.MailboxDestination, Postmaster: s.Postmaster,
		DestinationUsername: s.Login.Username, MailboxDestinationUsername: s.MailboxLogin.Username,
		WebhookUrl: s.WebhookURL, NotifyAdmin: s.NotifyAdmin,
		Schedule: account.ScheduleProto(s.Schedule), MinInterval: minInterval(s.MinInterval),
		MaxRuns: int32(s.Caps.Runs), MaxJobsPerMinute: int32(s.Caps.JobsPerMinute), MaxAccounts: int32(s.Caps.Accounts), MaxOctetsPerDay: s.Caps.OctetsPerDay,
	}
}

// minInterval is nil for none.
func minInterval(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// PutSettings changes the settings that are set in the request.
func (s *Service) PutSettings(ctx context.Context, req *mailferryv1.PutSettingsRequest) (*mailferryv1.PutSettingsResponse, error) {
	if err := checkDestinations(strings.TrimSpace(req.GetDestination()), strings.TrimSpace(req.GetMailboxDestination()), strings.TrimSpace(req.GetPostmaster())); err != nil {
		return nil, err
	}
	if d := req.GetInterval(); d != nil && (d.CheckValid() != nil || d.AsDuration() < account.MinInterval || d.AsDuration() > account.MaxInterval) {
		return nil, errField("interval", "want %s to %s", fault.Span(account.MinInterval), fault.Span(account.MaxInterval))
	}
	if err := account.Ports(req.GetEgressPorts()).Validate(); err != nil {
		return nil, asField(err)
	}
	if err := account.ValidateMinInterval(req.GetMinInterval().AsDuration()); err != nil {
		return nil, asField(err)
	}
	if err := account.Budgets(req.GetBudgets()).Validate(); err != nil {
		return nil, asField(err)
	}
	if err := errors.Join(account.ValidateSchedule(account.ScheduleFromProto(req.GetSchedule())), directory.CapsFromProto(req).Validate(0)); err != nil {
		return nil, asField(err)
	}
	set, err := s.Directory.UpdateSettings(ctx, func(set *directory.Settings) error {
		there := *set
		if req.Destination != nil {
			set.Destination = strings.TrimSpace(req.GetDestination())
		}
		if req.MailboxDestination != nil {
			set.MailboxDestination = strings.TrimSpace(req.GetMailboxDestination())
		}
		if req.Schedule != nil {
			set.Schedule = account.ScheduleFromProto(req.GetSchedule())
		}
		if req.Postmaster != nil {
			set.Postmaster = strings.TrimSpace(req.GetPostmaster())
		}
		if req.Pop3Locking != nil {
			set.POP3Locking = req.GetPop3Locking()
		}
		if req.RequireTls != nil {
			set.RequireTLS = req.GetRequireTls()
		}
		if req.RemoteDeletion != nil {
			set.NoRemoteDeletion = !req.GetRemoteDeletion()
		}
		if req.EgressPorts != nil {
			set.EgressPorts = account.Ports(req.GetEgressPorts())
		}
		if req.MinInterval != nil {
			set.MinInterval = req.GetMinInterval().AsDuration()
		}
		if req.Budgets != nil {
			set.Budgets = account.Budgets(req.GetBudgets())
		}
		setCaps(&set.Caps, req)
		if req.GetInterval() != nil {
			set.Interval = req.GetInterval().AsDuration()
		}
		if req.WebhookUrl != nil {
			set.WebhookURL = req.GetWebhookUrl()
		}
		if req.NotifyAdmin != nil {
			set.NotifyAdmin = req.GetNotifyAdmin()
		}
		var err error
		if set.Notify, err = s.notifyOf(set.Notify, req.WebhookSecret, ""); err != nil {
			return err
		}
		return s.settingsLogins(set, there, req)
	})
	if err != nil {
		return nil, asError("settings", err)
	}
	return &mailferryv1.PutSettingsResponse{Settings: protoSettings(set)}, nil
}

func setCaps(c *directory.Caps, req *mailferryv1.PutSettingsRequest) {
	want := directory.CapsFromProto(req)
	if req.MaxRuns != nil {
		c.Runs = want.Runs
	}
	if req.MaxJobsPerMinute != nil {
		c.JobsPerMinute = want.JobsPerMinute
	}
	if req.MaxAccounts != nil {
		c.Accounts = want.Accounts
	}
	if req.MaxOctetsPerDay != nil {
		c.OctetsPerDay = want.OctetsPerDay
	}
}
