package control

import (
	"context"
	"crypto/rand"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/account/providers"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// testTime bounds a test with all that belongs to it: a worker takes a minute, and may be busy before.
	testTime = 80 * time.Second
	// defaultExamples and maxExamples bound the messages that a test names.
	defaultExamples, maxExamples = 10, 1000
)

// TestAccount has a worker sign in and look. What a test finds, good or bad, is an answer; an error means that there
// was none.
func (s *Service) TestAccount(ctx context.Context, req *mailferryv1.TestAccountRequest) (*mailferryv1.TestAccountResponse, error) {
	job := &mailferryv1.TestJob{Id: rand.Text(), Saved: req.GetRef() != nil, Examples: req.GetExamples()}
	switch {
	case job.GetExamples() == 0:
		job.Examples = defaultExamples
	case job.GetExamples() < 0 || job.GetExamples() > maxExamples:
		return nil, errField("examples", "want 1 to %d", maxExamples)
	}
	until := time.Now().Add(testTime).Truncate(time.Second)
	job.Deadline = timestamppb.New(until)
	a, notes, err := s.tested(ctx, req, until)
	if err != nil {
		return nil, err
	}
	what := "test of account " + a.Ref()
	blocked, err := s.Ledger.TestBlocked(ctx, a.Domain)
	if err != nil {
		return nil, asError(what, err)
	}
	if !blocked.IsZero() {
		return nil, refusal(connect.CodeResourceExhausted, fault.Throttled, "wait until then",
			"%s has tested accounts too often of late: the next test is possible at %s", a.Domain, blocked.UTC().Format(time.RFC3339))
	}
	job.Account = a.Proto()
	if job.GetSaved() { // the worker reads the rest itself
		told := account.Account{Domain: a.Domain, Name: a.Name, UID: a.UID, Revision: a.Revision}
		job.Account, job.Rules = told.WithRules(a).Proto(), req.GetAccount() != nil
	}
	report, err := s.Queue.Test(ctx, job)
	if err != nil {
		return nil, testError(what, err)
	}
	warnings, err := s.ownWarnings(ctx, a)
	if err != nil {
		return nil, err
	}
	report.Warnings = append(report.Warnings, warnings...)
	if len(notes) == 0 && report.GetFault() != nil { // what its owner has to do at the provider may be the reason
		notes = notesOf(a)
	}
	return &mailferryv1.TestAccountResponse{Report: report, Account: public(a), Notes: notes}, nil
}

// tested returns the account that a request names, or the one that it holds with its password sealed for this test.
func (s *Service) tested(ctx context.Context, req *mailferryv1.TestAccountRequest, until time.Time) (account.Account, []string, error) {
	if req.GetRef() != nil {
		if req.GetPassword() != "" || req.GetAddress() != "" || req.GetProvider() != "" {
			return account.Account{}, nil, errField("ref", "names an account that is saved: it is tested with its own server and password")
		}
		a, err := s.account(ctx, req.GetRef())
		if err == nil && req.GetAccount() != nil {
			a = a.WithRules(account.FromProto(req.GetAccount()).WithDefaults())
			err = s.permitted(ctx, a)
		}
		return a, nil, err
	}
	if req.GetAccount() == nil {
		return account.Account{}, nil, errField("account", "is missing")
	}
	a := account.FromProto(req.GetAccount())
	a.UID, a.Revision, a.SealedPassword = directory.NewUID(), 0, nil
	notes, err := preset(&a, req.GetAddress(), req.GetProvider())
	if err != nil {
		return a, nil, err
	}
	if a.Name == "" {
		a.Name = "test"
	}
	if a.ForwardTo == "" {
		a.ForwardTo = "test@" + a.Domain
	}
	a = a.WithDefaults()
	if err := s.permitted(ctx, a); err != nil {
		return a, nil, err
	}
	if err := passwordOf(a, req.GetPassword()); err != nil {
		return a, nil, err
	}
	if a.SealedPassword, err = s.Vault.Seal(req.GetPassword(), a.TestContext(until)); err != nil {
		return a, nil, asError("account "+a.Ref(), err)
	}
	return a, notes, nil
}

// passwordOf refuses a password that the account cannot sign in with.
func passwordOf(a account.Account, password string) error {
	if a.Auth == account.OAuth2 && password == "" {
		return nil
	}
	if err := account.ValidatePassword(password); err != nil {
		return errInvalid(err)
	}
	return nil
}

// testError says why there is no answer.
func testError(what string, err error) error {
	switch fault.KindOf(err) {
	case fault.Unavailable:
		return refusal(connect.CodeUnavailable, fault.Unavailable, "check that a worker runs and reaches NATS: 'mailferry status', the logs of the workers",
			"%s: %s", what, fault.Proto(err).GetMessage())
	case fault.Throttled:
		return refusal(connect.CodeResourceExhausted, fault.Throttled, "try again in a moment", "%s: %s", what, fault.Proto(err).GetMessage())
	}
	return asError(what, err)
}

// preset fills in what the provider of an address knows, and returns what the owner has to know of it.
func preset(a *account.Account, address, name string) ([]string, error) {
	if address == "" && name == "" {
		return nil, nil
	}
	if err := account.ValidateAddress("address", address); err != nil {
		return nil, errInvalid(err)
	}
	p, ok := providers.ByAddress(address)
	if name != "" {
		if p, ok = providers.Named(name); !ok {
			return nil, errField("provider", "%s is none that is known: see 'mailferry providers list'", fault.Clean(name))
		}
	}
	if !ok && a.Host == "" {
		return nil, errField("address", "no provider is known for it: give protocol, host and username (--protocol, --host, --username), "+
			"or name the provider (--preset, see 'mailferry providers list')")
	}
	if a.Username == "" && a.Host != "" {
		a.Username = address
	}
	if !ok {
		return nil, nil
	}
	if err := p.Fill(a, address); err != nil {
		return nil, errInvalid(err)
	}
	return notesOf(*a), nil
}

// notesOf returns what an owner has to know of the provider whose server an account names.
func notesOf(a account.Account) []string {
	host, _, err := a.HostPort()
	if err != nil {
		return nil
	}
	p, ok := providers.ByHost(host)
	if !ok {
		return nil
	}
	return p.NotesFor(a.Protocol)
}

// ListProviders answers the table, or the part of it that is asked for.
func (*Service) ListProviders(_ context.Context, req *mailferryv1.ListProvidersRequest) (*mailferryv1.ListProvidersResponse, error) {
	all := providers.All()
	if name, address := req.GetName(), req.GetAddress(); name != "" || address != "" {
		p, ok := providers.Named(name)
		if address != "" {
			p, ok = providers.ByAddress(address)
		}
		if !ok {
			return nil, refusal(connect.CodeNotFound, fault.NotFound, "see 'mailferry providers list'", "no provider of that name or address is known")
		}
		all = []providers.Provider{p}
	}
	out := &mailferryv1.ListProvidersResponse{}
	for _, p := range all {
		out.Providers = append(out.Providers, p.Proto())
	}
	return out, nil
}
