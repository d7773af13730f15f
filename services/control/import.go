package control

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// maxImport is the most accounts of a request, importing how many of them are stored at a time.
	maxImport = 1000
	importing = 64
)

// ImportAccounts adds many accounts. Each stands for itself; what could not be tried is a fault of its account, too.
func (s *Service) ImportAccounts(ctx context.Context, req *mailferryv1.ImportAccountsRequest) (*mailferryv1.ImportAccountsResponse, error) {
	n := len(req.GetAccounts())
	if n == 0 || n > maxImport {
		return nil, errField("accounts", "want 1 to %d", maxImport)
	}
	out, enrol := make([]*mailferryv1.ImportedAccount, n), make([]ledger.Enrolment, n)
	var g errgroup.Group
	g.SetLimit(importing)
	capped := s.capped(ctx, req)
	if capped { // one after the other, or they all find the last room that is left
		s.imports.Lock()
		defer s.imports.Unlock()
		g.SetLimit(1)
	}
	for i, r := range req.GetAccounts() {
		g.Go(func() error {
			out[i], enrol[i] = s.importAccount(ctx, r, capped)
			return nil
		})
	}
	_ = g.Wait()
	var added []ledger.Enrolment
	for _, e := range enrol {
		if e.Active {
			added = append(added, e)
		}
	}
	if err := s.Ledger.EnrollAll(ctx, added); err != nil { // the planner does, too
		s.Log.Warn("accounts that were imported are not enrolled yet", zap.Int("accounts", len(added)), zap.Error(err))
	}
	return &mailferryv1.ImportAccountsResponse{Accounts: out}, ctx.Err()
}

// capped says whether one of the accounts is of a domain that may not have any number, or this is not known.
func (s *Service) capped(ctx context.Context, req *mailferryv1.ImportAccountsRequest) bool {
	asked := map[string]bool{}
	for _, r := range req.GetAccounts() {
		domain, err := domainName(r.GetAccount().GetDomain(), false)
		if err != nil || asked[domain] {
			continue
		}
		asked[domain] = true
		if most, err := s.most(ctx, domain); most > 0 || err != nil {
			return true
		}
	}
	return false
}

// importAccount adds one. It answers how it is enrolled, the zero value if it is not.
func (s *Service) importAccount(ctx context.Context, req *mailferryv1.CreateAccountRequest, capped bool) (*mailferryv1.ImportedAccount, ledger.Enrolment) {
	a, _, err := s.wanted(ctx, req)
	var slot ledger.Slot
	if err == nil {
		slot, err = slotOf(a)
	}
	if err != nil {
		return refused(err), ledger.Enrolment{}
	}
	if capped {
		if err := s.roomFor(ctx, a); err != nil {
			return refused(err), ledger.Enrolment{}
		}
	}
	stored, err := s.create(ctx, a, req.GetPassword())
	if connect.CodeOf(err) == connect.CodeAlreadyExists {
		return s.existing(ctx, a), ledger.Enrolment{}
	}
	if err != nil {
		return refused(err), ledger.Enrolment{}
	}
	return &mailferryv1.ImportedAccount{}, ledger.Enrolment{Slot: slot, Account: stored.UID, Active: stored.Active}
}

// existing compares an account with the one that has its name.
func (s *Service) existing(ctx context.Context, want account.Account) *mailferryv1.ImportedAccount {
	is, err := s.Directory.Account(ctx, want.Domain, want.Name)
	if err != nil {
		return refused(asError("account "+want.Ref(), err))
	}
	is.UID, is.Revision, is.SealedPassword = "", 0, nil
	is.CredentialVersion, is.CreatedAt, is.UpdatedAt = want.CredentialVersion, time.Time{}, time.Time{}
	if !proto.Equal(is.Proto(), want.Proto()) {
		return refused(refusal(connect.CodeAlreadyExists, fault.Policy,
			"change it with 'mailferry account edit "+want.Ref()+"', or remove it first", "account %s exists already and is another", want.Ref()))
	}
	return &mailferryv1.ImportedAccount{Existed: true}
}

func refused(err error) *mailferryv1.ImportedAccount {
	f := faultOf(err)
	if f == nil { // it was not tried
		f = fault.Proto(err)
	}
	return &mailferryv1.ImportedAccount{Fault: f}
}
