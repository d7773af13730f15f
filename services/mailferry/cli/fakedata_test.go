package cli_test

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"google.golang.org/protobuf/types/known/timestamppb"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func alice() *mailferryv1.Account {
	return &mailferryv1.Account{
		Uid: "abcdefghij", Domain: "example.com", Name: "gmail-alice", Active: true, Protocol: mailferryv1.Protocol_PROTOCOL_IMAP,
		Host: "imap.gmail.com", Username: "alice@gmail.com", Tls: mailferryv1.TlsMode_TLS_MODE_DIRECT, ForwardTo: "alice@example.com",
		Interval: durationpb.New(5 * time.Minute), After: mailferryv1.AfterCollection_AFTER_COLLECTION_LEAVE,
		OnIndexLoss: mailferryv1.OnIndexLoss_ON_INDEX_LOSS_RECOLLECT, CreatedAt: at(-48 * time.Hour), UpdatedAt: at(-time.Hour), Revision: 7, Labels: []string{"eu", "vip"},
	}
}

func bob() *mailferryv1.Account {
	return &mailferryv1.Account{
		Uid: "klmnopqrst", Domain: "例え.jp", Name: "田中さん", Protocol: mailferryv1.Protocol_PROTOCOL_POP3, Active: true,
		Host: "pop.isp.net:1110", Username: "tanaka", Tls: mailferryv1.TlsMode_TLS_MODE_DETECT, ForwardTo: "tanaka@例え.jp",
		After:       mailferryv1.AfterCollection_AFTER_COLLECTION_DELETE,
		OnIndexLoss: mailferryv1.OnIndexLoss_ON_INDEX_LOSS_RECOLLECT, Revision: 9,
	}
}

func authFault() *mailferryv1.Fault {
	return &mailferryv1.Fault{
		Kind: mailferryv1.FaultKind_FAULT_KIND_AUTH, Message: `pop3 pass: "-ERR [AUTH] no"`,
		Advice: "check the user name and the password; an edit of the account is tried at once",
	}
}

func (f *fake) GetAccount(_ context.Context, r *mailferryv1.GetAccountRequest) (*mailferryv1.GetAccountResponse, error) {
	if r.GetRef().GetName() == "nobody" {
		return nil, refuse(connect.CodeNotFound, mailferryv1.FaultKind_FAULT_KIND_NOT_FOUND,
			"account "+r.GetRef().GetDomain()+"/nobody does not exist", "see 'mailferry account list' for the names there are")
	}
	if r.GetRef().GetName() == "isp" {
		a := bob()
		return &mailferryv1.GetAccountResponse{Account: a, State: bobState()}, nil
	}
	return &mailferryv1.GetAccountResponse{Account: alice(), State: aliceState()}, nil
}

func aliceState() *mailferryv1.AccountState {
	return &mailferryv1.AccountState{NextDueAt: at(3 * time.Minute), LastRunAt: at(-2 * time.Minute), Collected: 12345, InFlight: 2, Epoch: "e1", TlsVersion: "TLS 1.3", TlsSince: at(-48 * time.Hour)}
}

func bobState() *mailferryv1.AccountState {
	return &mailferryv1.AccountState{
		NextDueAt: at(6 * time.Hour), LastRunAt: at(-26 * time.Hour), LastFault: authFault(), FailingSince: at(-50 * time.Hour),
		Failures: 4, Collected: 7, Epoch: "e2",
	}
}

func (f *fake) ListAccounts(_ context.Context, r *mailferryv1.ListAccountsRequest) (*mailferryv1.ListAccountsResponse, error) {
	switch {
	case r.GetDomain() == "empty.example":
		return &mailferryv1.ListAccountsResponse{}, nil
	case r.GetPageToken() == "":
		return &mailferryv1.ListAccountsResponse{
			Accounts: []*mailferryv1.Account{alice()}, States: []*mailferryv1.AccountState{aliceState()}, NextPageToken: "p2",
		}, nil
	}
	return &mailferryv1.ListAccountsResponse{Accounts: []*mailferryv1.Account{bob()}, States: []*mailferryv1.AccountState{bobState()}}, nil
}

func (f *fake) CreateAccount(_ context.Context, r *mailferryv1.CreateAccountRequest) (*mailferryv1.CreateAccountResponse, error) {
	f.created = r
	return &mailferryv1.CreateAccountResponse{Account: r.GetAccount()}, nil
}

func (f *fake) ImportAccounts(_ context.Context, r *mailferryv1.ImportAccountsRequest) (*mailferryv1.ImportAccountsResponse, error) {
	res := &mailferryv1.ImportAccountsResponse{}
	for _, a := range r.GetAccounts() {
		one := &mailferryv1.ImportedAccount{Existed: a.GetAccount().GetName() == "there"}
		if a.GetAccount().GetForwardTo() == "" {
			one.Fault = &mailferryv1.Fault{Kind: mailferryv1.FaultKind_FAULT_KIND_POLICY, Message: "forward_to: is missing", Advice: "correct forward_to"}
		}
		res.Accounts = append(res.Accounts, one)
	}
	return res, nil
}

func (f *fake) UpdateAccount(_ context.Context, r *mailferryv1.UpdateAccountRequest) (*mailferryv1.UpdateAccountResponse, error) {
	if f.updated = append(f.updated, r); len(f.updated) <= f.changed {
		return nil, refuse(connect.CodeAborted, mailferryv1.FaultKind_FAULT_KIND_POLICY, "changed", "again")
	}
	moved := r.GetAccount().GetHost() != alice().GetHost()
	return &mailferryv1.UpdateAccountResponse{Account: r.GetAccount(), IndexCopied: moved && !r.GetNewMailbox(), IndexNew: moved && r.GetNewMailbox()}, nil
}

func (f *fake) DeleteAccount(context.Context, *mailferryv1.DeleteAccountRequest) (*mailferryv1.DeleteAccountResponse, error) {
	return &mailferryv1.DeleteAccountResponse{}, nil
}

func (f *fake) ResetIndex(context.Context, *mailferryv1.ResetIndexRequest) (*mailferryv1.ResetIndexResponse, error) {
	return &mailferryv1.ResetIndexResponse{Forgotten: 200}, nil
}

func report(fault *mailferryv1.Fault) *mailferryv1.RunReport {
	return &mailferryv1.RunReport{
		RunId: "r1", JobId: "j1", AccountUid: "abcdefghij", Domain: "example.com", Name: "gmail-alice",
		Trigger: mailferryv1.Trigger_TRIGGER_MANUAL, StartedAt: at(0), FinishedAt: at(2130 * time.Millisecond),
		Listed: 200, New: 200, Fetched: 200, Delivered: 200, Deleted: 3, Bytes: 34_567_890, Fault: fault,
	}
}

func step(p mailferryv1.Phase, fresh, fetched, delivered, bytes int64) *mailferryv1.FetchResponse {
	return &mailferryv1.FetchResponse{Progress: &mailferryv1.Progress{
		AccountUid: "abcdefghij", JobId: "j1", Phase: p, New: fresh, Fetched: fetched, Delivered: delivered, Bytes: bytes,
	}}
}

func done(fault *mailferryv1.Fault) *mailferryv1.FetchResponse {
	s := step(mailferryv1.Phase_PHASE_DONE, 200, 200, 200, 34_567_890)
	s.Progress.Report = report(fault)
	return s
}

func (f *fake) Fetch(_ context.Context, _ *mailferryv1.FetchRequest, s *connect.ServerStream[mailferryv1.FetchResponse]) error {
	for _, p := range f.progress {
		if err := s.Send(p); err != nil {
			return err
		}
	}
	if f.broken {
		return refuse(connect.CodeDeadlineExceeded, mailferryv1.FaultKind_FAULT_KIND_TIMEOUT,
			"account example.com/gmail-alice: nothing was heard of its run for 2m", "check that a worker runs")
	}
	return nil
}

func (f *fake) FetchMany(_ context.Context, r *mailferryv1.FetchManyRequest, s *connect.ServerStream[mailferryv1.FetchManyResponse]) error {
	f.fetched = r
	for _, p := range f.many {
		if err := s.Send(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) ListRuns(context.Context, *mailferryv1.ListRunsRequest) (*mailferryv1.ListRunsResponse, error) {
	return &mailferryv1.ListRunsResponse{Runs: []*mailferryv1.RunReport{report(nil), report(authFault())}}, nil
}

func (f *fake) GetStatus(context.Context, *mailferryv1.GetStatusRequest) (*mailferryv1.GetStatusResponse, error) {
	s := &mailferryv1.GetStatusResponse{
		Accounts: 1000, AccountsActive: 998, JobsQueued: 3, MessagesInTransit: 1, BytesInTransit: 2048, Dead: 2,
		Components: []*mailferryv1.Component{{Name: "nats", Ok: true}, {Name: "redis", Ok: !f.broken}},
	}
	if f.broken {
		s.Components[1].Detail = "connect: connection refused"
	}
	return s, nil
}

func (f *fake) ListDomains(context.Context, *mailferryv1.ListDomainsRequest) (*mailferryv1.ListDomainsResponse, error) {
	return &mailferryv1.ListDomainsResponse{Domains: []*mailferryv1.Domain{
		{Name: "example.com", Destination: "lmtp:unix:/run/lmtp", Revision: 3}, {Name: "例え.jp", Revision: 4},
	}}, nil
}

func (f *fake) PutDomain(_ context.Context, r *mailferryv1.PutDomainRequest) (*mailferryv1.PutDomainResponse, error) {
	f.domain = r
	return &mailferryv1.PutDomainResponse{Domain: r.GetDomain()}, nil
}

func (f *fake) DeleteDomain(context.Context, *mailferryv1.DeleteDomainRequest) (*mailferryv1.DeleteDomainResponse, error) {
	return &mailferryv1.DeleteDomainResponse{}, nil
}

func someSettings() *mailferryv1.Settings {
	return &mailferryv1.Settings{Interval: durationpb.New(10 * time.Minute), Pop3Locking: true, Destination: "lmtp:127.0.0.1:24", Revision: 1}
}

func (f *fake) GetSettings(context.Context, *mailferryv1.GetSettingsRequest) (*mailferryv1.GetSettingsResponse, error) {
	return &mailferryv1.GetSettingsResponse{Settings: someSettings()}, nil
}

func (f *fake) PutSettings(_ context.Context, r *mailferryv1.PutSettingsRequest) (*mailferryv1.PutSettingsResponse, error) {
	f.settings = r
	return &mailferryv1.PutSettingsResponse{Settings: someSettings()}, nil
}

func letter() *mailferryv1.DeadEntry {
	return &mailferryv1.DeadEntry{Id: "abcdefghij/p00112233445566", Letter: &mailferryv1.DeadLetter{
		BuriedAt: at(-time.Hour), Recipients: []string{"alice@example.com"}, Domain: "example.com", Name: "gmail-alice", AccountUid: "abcdefghij",
		Fault: &mailferryv1.Fault{
			Kind: mailferryv1.FaultKind_FAULT_KIND_DESTINATION_REJECTED, Message: `lmtp rcpt: "550 5.1.1 no such user"`, Advice: "check the Forward to address",
		},
		Message: &mailferryv1.FetchedMessage{Key: "p00112233445566", Size: 4711, RemoteHost: "imap.gmail.com", FetchedAt: at(-time.Hour)},
	}}
}

func (f *fake) ListDead(context.Context, *mailferryv1.ListDeadRequest) (*mailferryv1.ListDeadResponse, error) {
	gone := letter()
	gone.Id, gone.AccountGone = "zzz/p00112233445567", true
	return &mailferryv1.ListDeadResponse{Entries: []*mailferryv1.DeadEntry{letter(), gone}}, nil
}

func (f *fake) GetDead(context.Context, *mailferryv1.GetDeadRequest) (*mailferryv1.GetDeadResponse, error) {
	return &mailferryv1.GetDeadResponse{Entry: letter(), Header: []byte("From: x@example.org\r\nSubject: \x1b[31mred\r\n")}, nil
}

func (f *fake) RetryDead(_ context.Context, r *mailferryv1.RetryDeadRequest) (*mailferryv1.RetryDeadResponse, error) {
	if r.GetId() == "no/no" {
		return nil, refuse(connect.CodeNotFound, mailferryv1.FaultKind_FAULT_KIND_NOT_FOUND, "there is no dead letter no/no", "see 'mailferry dead list'")
	}
	return &mailferryv1.RetryDeadResponse{Outcome: "queued"}, nil
}

func (f *fake) DropDead(context.Context, *mailferryv1.DropDeadRequest) (*mailferryv1.DropDeadResponse, error) {
	return &mailferryv1.DropDeadResponse{}, nil
}

func (f *fake) TestAccount(_ context.Context, r *mailferryv1.TestAccountRequest) (*mailferryv1.TestAccountResponse, error) {
	f.tested = r
	out := &mailferryv1.TestAccountResponse{Account: alice(), Report: &mailferryv1.TestReport{
		Worker: "w1/17", Took: durationpb.New(1234 * time.Millisecond), Address: "192.0.2.1:993", Tls: "TLS 1.3", TlsMode: "direct",
		Certificate: &mailferryv1.Certificate{
			Subject: "CN=imap.gmail.com", Issuer: "CN=WR2,O=Google Trust Services,C=US", Names: []string{"imap.gmail.com"},
			NotBefore: at(-30 * 24 * time.Hour), NotAfter: at(30 * 24 * time.Hour), Pin: "ab01",
		},
		Capabilities: []string{"IMAP4REV1", "AUTH=PLAIN"}, Mechanism: "PLAIN", Messages: 40, Octets: 123_456,
		Warnings: []string{"the server's certificate expires soon"},
		Fetch: &mailferryv1.TestShare{Messages: 3, Octets: 6000, Examples: []*mailferryv1.TestMessage{
			{Mailbox: "INBOX", Uid: 71, Size: 2000}, {Mailbox: "INBOX", Uid: 72, Size: 2000},
		}},
		NotFetched: []*mailferryv1.TestCount{{Why: "collected already", Messages: 36}, {Why: "passed over for good", Messages: 1}},
		Stay:       []*mailferryv1.TestCount{{Why: "mail is left at the remote server", Messages: 40}},
	}}
	if r.GetRef().GetName() == "isp" {
		out.Account, out.Notes = bob(), []string{"access by POP3 has to be switched on"}
		out.Report = &mailferryv1.TestReport{
			Fault: authFault(), Worker: "w1/17", Took: durationpb.New(time.Second), Address: "192.0.2.2:1110", Tls: "none", Capabilities: []string{"TOP", "UIDL"},
		}
	}
	return out, nil
}

func (f *fake) ListProviders(_ context.Context, r *mailferryv1.ListProvidersRequest) (*mailferryv1.ListProvidersResponse, error) {
	google := &mailferryv1.Provider{
		Name: "google", Title: "Gmail", Domains: []string{"gmail.com", "googlemail.com", "a.example", "b.example"}, Username: "address", Oauth: "google",
		Imap:  &mailferryv1.Endpoint{Host: "imap.gmail.com", Port: 993, Tls: mailferryv1.TlsMode_TLS_MODE_DIRECT, Idle: durationpb.New(9 * time.Minute)},
		Pop3:  &mailferryv1.Endpoint{Host: "pop.gmail.com", Port: 995, Tls: mailferryv1.TlsMode_TLS_MODE_DIRECT, MinInterval: durationpb.New(10 * time.Minute), Notes: []string{"switch it on"}},
		Notes: []string{"it takes an app password"},
	}
	if r.GetName() != "" || r.GetAddress() != "" {
		return &mailferryv1.ListProvidersResponse{Providers: []*mailferryv1.Provider{google}}, nil
	}
	strato := &mailferryv1.Provider{Name: "strato", Imap: &mailferryv1.Endpoint{Host: "imap.strato.de"}}
	return &mailferryv1.ListProvidersResponse{Providers: []*mailferryv1.Provider{google, strato}}, nil
}

func (f *fake) ExplainSchedule(_ context.Context, r *mailferryv1.ExplainScheduleRequest) (*mailferryv1.ExplainScheduleResponse, error) {
	if r.GetRef().GetName() == "isp" {
		return &mailferryv1.ExplainScheduleResponse{Source: "domain", TimeZone: "UTC", HeldBack: "the account is not active"}, nil
	}
	if r.GetRef().GetName() == "shop" {
		return &mailferryv1.ExplainScheduleResponse{
			Source: "domain", TimeZone: "UTC", AdaptiveInterval: durationpb.New(8 * time.Minute), QuietRuns: 3, BoostedUntil: at(9 * time.Minute),
			Starts: []*mailferryv1.ScheduledStart{
				{At: at(time.Minute), Rule: "boost", Note: "somebody waits for a message"},
				{At: at(time.Hour), Rule: "adaptive 1m..1h", Note: "every 16m after 4 quiet runs"},
			},
		}, nil
	}
	if r.GetRef().GetName() == "held" {
		return &mailferryv1.ExplainScheduleResponse{
			Source: "settings", TimeZone: "UTC", MinInterval: durationpb.New(90 * time.Second), MinIntervalOf: "settings",
			HeldBack: "until 2026-07-01T12:09:00Z, after a run that ended as throttled: limit of a day: all that may be fetched is fetched",
			Starts: []*mailferryv1.ScheduledStart{
				{At: at(5 * time.Minute), Rule: "every 5m", Note: "held back"},
				{At: at(9 * time.Minute), Rule: "retry", Note: "it is not held back any more"}, {At: at(10 * time.Minute), Rule: "every 5m"},
			},
		}, nil
	}
	return &mailferryv1.ExplainScheduleResponse{
		Source: "account", TimeZone: "Europe/Berlin",
		Starts: []*mailferryv1.ScheduledStart{
			{At: at(time.Hour), Rule: "every 1h mon-fri 08:00-18:00"},
			{At: timestamppb.New(time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC)), Rule: "at 02:30", Note: "clocks skip 02:30 on 2027-03-28: the first instant after it"},
		},
	}, nil
}

func (f *fake) BoostAccount(_ context.Context, r *mailferryv1.BoostAccountRequest) (*mailferryv1.BoostAccountResponse, error) {
	return &mailferryv1.BoostAccountResponse{BoostedUntil: at(r.GetDuration().AsDuration()), NextDueAt: at(0), Interval: durationpb.New(time.Minute)}, nil
}
