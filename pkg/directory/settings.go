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
	"google.golang.org/protobuf/types/known/durationpb"
)

// Settings hold for the whole fleet.
type Settings struct {
	// Interval is the global schedule.
	Interval time.Duration
	// POP3Locking: one session per remote mailbox in the whole fleet; off, one per account.
	POP3Locking bool
	// Destination of domains that have none of their own.
	Destination string
	// RequireTLS: no account signs in without TLS.
	RequireTLS bool
	// NoRemoteDeletion stops all deleting and moving at remote servers.
	NoRemoteDeletion bool
	// EgressPorts is where sessions of all accounts may go to.
	EgressPorts account.Ports
	// Budgets are what the fleet may do at remote hosts.
	Budgets account.Budgets
	// MailboxDestination and Postmaster of domains that have none of their own.
	MailboxDestination, Postmaster string
	// Login at Destination, and MailboxLogin at MailboxDestination.
	Login, MailboxLogin Login
	Notify
	// Schedule is the global one where it has entries, in place of Interval.
	Schedule schedule.Text
	// MinInterval is the least time between two scheduled runs of an account, 0 for none.
	MinInterval time.Duration
	// Caps of each domain that says nothing of its own.
	Caps Caps
	// Revision of the record, not part of it; 0 if none was ever written.
	Revision uint64
}

// DefaultSettings hold until others are written.
func DefaultSettings() Settings { return Settings{Interval: 10 * time.Minute, POP3Locking: true} }

const settingsKey = "global"

// Settings returns the settings, the default ones if none were ever written.
func (d *Directory) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	err := d.retry(ctx, "read settings", func(ctx context.Context) error {
		there, err := d.settings.find(ctx, settingsKey)
		if err == nil {
			s, err = readSettings(there)
		}
		return err
	})
	return s, err
}

// UpdateSettings lets change edit the settings, writes them and returns them as stored. change is called
// again when somebody else was faster; its error ends the update and is returned.
func (d *Directory) UpdateSettings(ctx context.Context, change func(*Settings) error) (Settings, error) {
	for {
		s, err := d.Settings(ctx)
		if err != nil {
			return Settings{}, err
		}
		if err := change(&s); err != nil {
			return Settings{}, err
		}
		err = d.putSettings(ctx, &s)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, ErrConflict) {
			return Settings{}, err
		}
	}
}

func (d *Directory) putSettings(ctx context.Context, s *Settings) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(&mailferryv1.Settings{
		Interval: durationpb.New(s.Interval), Pop3Locking: s.POP3Locking, Destination: s.Destination, RequireTls: s.RequireTLS,
		RemoteDeletion: proto.Bool(!s.NoRemoteDeletion), EgressPorts: string(s.EgressPorts), Budgets: string(s.Budgets),
		MailboxDestination: s.MailboxDestination, Postmaster: s.Postmaster,
		DestinationUsername: s.Login.Username, SealedDestinationPassword: []byte(s.Login.Sealed),
		MailboxDestinationUsername: s.MailboxLogin.Username, SealedMailboxDestinationPassword: []byte(s.MailboxLogin.Sealed),
		WebhookUrl: s.WebhookURL, SealedWebhookSecret: []byte(s.SealedWebhookSecret), NotifyAdmin: s.NotifyAdmin,
		Schedule: account.ScheduleProto(s.Schedule), MinInterval: minProto(s.MinInterval),
		MaxRuns: int32(s.Caps.Runs), MaxJobsPerMinute: int32(s.Caps.JobsPerMinute), MaxAccounts: int32(s.Caps.Accounts), MaxOctetsPerDay: s.Caps.OctetsPerDay,
	})
	if err != nil {
		return fault.New(fault.Policy, "put settings", err)
	}
	revision, err := d.settings.do(ctx, "put settings", write{
		key: settingsKey, value: value,
		decide: func(there *entry) error {
			if there == nil && s.Revision != 0 || there != nil && there.revision != s.Revision {
				return conflict("settings")
			}
			return nil
		},
	})
	if err == nil {
		s.Revision = revision
	}
	return err
}

func readSettings(e *entry) (Settings, error) {
	s := DefaultSettings()
	if e == nil {
		return s, nil
	}
	s.Revision = e.revision
	if e.deleted {
		return s, nil
	}
	var p mailferryv1.Settings
	if err := proto.Unmarshal(e.value, &p); err != nil {
		return Settings{}, fault.Errorf(fault.Internal, "settings", "the record cannot be read")
	}
	if i := p.GetInterval().AsDuration(); i > 0 {
		s.Interval = i
	}
	s.EgressPorts, s.Budgets = account.Ports(p.GetEgressPorts()), account.Budgets(p.GetBudgets())
	s.MailboxDestination, s.Postmaster = p.GetMailboxDestination(), p.GetPostmaster()
	s.Login = Login{p.GetDestinationUsername(), string(p.GetSealedDestinationPassword())}
	s.MailboxLogin = Login{p.GetMailboxDestinationUsername(), string(p.GetSealedMailboxDestinationPassword())}
	s.Notify = Notify{p.GetWebhookUrl(), string(p.GetSealedWebhookSecret()), p.GetNotifyAdmin()}
	s.Schedule = account.ScheduleFromProto(p.GetSchedule())
	s.MinInterval = max(0, p.GetMinInterval().AsDuration())
	s.Caps = CapsFromProto(&p)
	s.NoRemoteDeletion = p.RemoteDeletion != nil && !p.GetRemoteDeletion()
	s.POP3Locking, s.Destination, s.RequireTLS = p.GetPop3Locking(), p.GetDestination(), p.GetRequireTls()
	return s, nil
}

// minProto is nil for none.
func minProto(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
