package directory

import (
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/proto"
)

// Domain is a tenant.
type Domain struct {
	Name string
	// Destination of its mail, "" for the global one.
	Destination string
	// RequireTLS: none of its accounts signs in without TLS.
	RequireTLS bool
	// AllowInvalidTLS: its accounts may take invalid certificates.
	AllowInvalidTLS bool
	// EgressPorts its sessions may go to, besides the rule of the settings. EgressProxy they go through, as
	// socks5://host:port, and EgressSource they come from; "" for none.
	EgressPorts               account.Ports
	EgressProxy, EgressSource string
	// MailboxDestination is where mail for its mailbox paths goes, and Postmaster who gets what every recipient
	// refused for good; "" for the global one.
	MailboxDestination, Postmaster string
	// LocalDomains are local besides the domain itself; addresses in AliasDomains are its own.
	LocalDomains, AliasDomains []string
	// ReceivedBy are the hosts that take mail from outside, and ClientAddress says how destinations learn who gave it to
	// them, for its accounts that do not say so themselves.
	ReceivedBy    []string
	ClientAddress account.ClientAddress
	// Rules for the mail of its accounts.
	Rules []account.Rule
	// Login at Destination, and MailboxLogin at MailboxDestination.
	Login, MailboxLogin Login
	// ProxyLogin is how EgressProxy is signed in to.
	ProxyLogin Login
	Notify
	// Schedule of its accounts that have none of their own.
	Schedule schedule.Text
	// MinInterval is the least time between two scheduled runs of an account, 0 for that of the settings.
	MinInterval time.Duration
	// Weight is how many slots its runs have, next to the weights of other domains, when slots are short; 0 counts as 1.
	Weight int
	// Caps of its own.
	Caps Caps
	// Revision of the record, not part of it.
	Revision uint64
}

// Domains returns all domains in the order of their names. Records that cannot be read are passed over.
func (d *Directory) Domains(ctx context.Context) ([]Domain, error) {
	var out []Domain
	for e, err := range d.domains.list(ctx, "list domains", ">", byToken) {
		if err != nil {
			return nil, err
		}
		dom, err := readDomain(e)
		if err != nil {
			d.unreadable(d.domains, e, err)
			continue
		}
		out = append(out, dom)
	}
	return out, nil
}

func byToken(key string) string {
	s, _ := untoken(key)
	return s
}

// Domain returns a domain as its leader has it.
func (d *Directory) Domain(ctx context.Context, name string) (Domain, error) {
	var dom Domain
	err := d.retry(ctx, "read domain", func(ctx context.Context) error {
		e, err := d.domains.get(ctx, token(name))
		if errors.Is(err, errNoKey) || err == nil && e.deleted {
			return notFound("domain " + name)
		}
		if err == nil {
			dom, err = readDomain(e)
		}
		return err
	})
	return dom, err
}

// PutDomain adds the domain if dom.Revision is 0, and returns [ErrExists] if it is there; otherwise it
// replaces the domain at that revision, and returns [ErrConflict] if it is not at it any more.
func (d *Directory) PutDomain(ctx context.Context, dom Domain) (Domain, error) {
	if dom.Name == "" {
		return Domain{}, fault.Errorf(fault.Internal, "put domain", "a domain needs a name")
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(&mailferryv1.Domain{
		Name: dom.Name, Destination: dom.Destination, RequireTls: dom.RequireTLS, AllowInvalidTls: dom.AllowInvalidTLS,
		EgressPorts: string(dom.EgressPorts), EgressProxy: dom.EgressProxy, EgressSource: dom.EgressSource,
		MailboxDestination: dom.MailboxDestination, Postmaster: dom.Postmaster,
		LocalDomains: dom.LocalDomains, AliasDomains: dom.AliasDomains, Rules: account.RulesProto(dom.Rules),
		ReceivedBy: dom.ReceivedBy, ClientAddress: dom.ClientAddress.Proto(),
		DestinationUsername: dom.Login.Username, SealedDestinationPassword: []byte(dom.Login.Sealed),
		MailboxDestinationUsername: dom.MailboxLogin.Username, SealedMailboxDestinationPassword: []byte(dom.MailboxLogin.Sealed),
		EgressProxyUsername: dom.ProxyLogin.Username, SealedEgressProxyPassword: []byte(dom.ProxyLogin.Sealed),
		WebhookUrl: dom.WebhookURL, SealedWebhookSecret: []byte(dom.SealedWebhookSecret), NotifyAdmin: dom.NotifyAdmin,
		Schedule: account.ScheduleProto(dom.Schedule), MinInterval: minProto(dom.MinInterval),
		Weight: int32(dom.Weight), MaxRuns: int32(dom.Caps.Runs), MaxJobsPerMinute: int32(dom.Caps.JobsPerMinute), MaxAccounts: int32(dom.Caps.Accounts), MaxOctetsPerDay: dom.Caps.OctetsPerDay,
	})
	if err != nil {
		return Domain{}, fault.New(fault.Policy, "put domain", err)
	}
	what := "domain " + dom.Name
	dom.Revision, err = d.domains.do(ctx, "put domain", write{
		key: token(dom.Name), value: value,
		decide: func(there *entry) error {
			live := there != nil && !there.deleted
			switch {
			case dom.Revision == 0 && live:
				return exists(what)
			case dom.Revision != 0 && (!live || there.revision != dom.Revision):
				return conflict(what)
			}
			return nil
		},
	})
	if err != nil {
		return Domain{}, err
	}
	return dom, nil
}

// DeleteDomain removes a domain.
func (d *Directory) DeleteDomain(ctx context.Context, name string) error {
	_, err := d.domains.do(ctx, "delete domain", write{
		key: token(name), header: tombstone(),
		decide: func(there *entry) error {
			if there == nil || there.deleted {
				return notFound("domain " + name)
			}
			return nil
		},
	})
	return err
}

func readDomain(e entry) (Domain, error) {
	name, ok := untoken(e.key)
	var p mailferryv1.Domain
	if err := proto.Unmarshal(e.value, &p); err != nil || !ok || p.GetName() != name {
		return Domain{}, fault.Errorf(fault.Internal, "domain "+fault.Clean(name), "the record cannot be read")
	}
	return Domain{
		Name: name, Destination: p.GetDestination(), RequireTLS: p.GetRequireTls(), AllowInvalidTLS: p.GetAllowInvalidTls(),
		EgressPorts: account.Ports(p.GetEgressPorts()), EgressProxy: p.GetEgressProxy(), EgressSource: p.GetEgressSource(),
		MailboxDestination: p.GetMailboxDestination(), Postmaster: p.GetPostmaster(),
		LocalDomains: p.GetLocalDomains(), AliasDomains: p.GetAliasDomains(), Rules: account.RulesFromProto(p.GetRules()),
		ReceivedBy: p.GetReceivedBy(), ClientAddress: account.ClientAddressFromProto(p.GetClientAddress()),
		Login:        Login{p.GetDestinationUsername(), string(p.GetSealedDestinationPassword())},
		MailboxLogin: Login{p.GetMailboxDestinationUsername(), string(p.GetSealedMailboxDestinationPassword())},
		ProxyLogin:   Login{p.GetEgressProxyUsername(), string(p.GetSealedEgressProxyPassword())},
		Notify:       Notify{p.GetWebhookUrl(), string(p.GetSealedWebhookSecret()), p.GetNotifyAdmin()},
		Schedule:     account.ScheduleFromProto(p.GetSchedule()),
		MinInterval:  max(0, p.GetMinInterval().AsDuration()),
		Weight:       int(p.GetWeight()), Caps: CapsFromProto(&p),
		Revision: e.revision,
	}, nil
}
