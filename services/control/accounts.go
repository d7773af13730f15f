package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// cleanTime bounds the work after a deletion; it goes on when the caller is gone.
const cleanTime = 30 * time.Second

// account returns the account a request names.
func (s *Service) account(ctx context.Context, ref *mailferryv1.AccountRef) (account.Account, error) {
	if ref.GetDomain() == "" || ref.GetName() == "" {
		return account.Account{}, errField("ref", "want the domain and the name of an account")
	}
	domain, err := domainName(ref.GetDomain(), false)
	if err != nil {
		return account.Account{}, err
	}
	name := strings.TrimSpace(ref.GetName())
	if len(name) > account.MaxNameLen {
		return account.Account{}, errField("name", "is longer than %d bytes", account.MaxNameLen)
	}
	a, err := s.Directory.Account(ctx, domain, name)
	if errors.Is(err, directory.ErrNotFound) {
		return a, errNoAccount(fault.Clean(domain + "/" + name))
	}
	return a, asError("account "+fault.Clean(domain+"/"+name), err)
}

// domainName returns the form a domain is stored in.
func domainName(s string, optional bool) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if s == "" && optional {
		return "", nil
	}
	if err := account.ValidateDomain(s); err != nil {
		return "", errInvalid(err)
	}
	return s, nil
}

// public returns the form of an account that leaves control: without its password.
func public(a account.Account) *mailferryv1.Account {
	p := a.Proto()
	p.SealedPassword = nil
	return p
}

// CreateAccount adds an account.
func (s *Service) CreateAccount(ctx context.Context, req *mailferryv1.CreateAccountRequest) (*mailferryv1.CreateAccountResponse, error) {
	a, notes, err := s.wanted(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.roomFor(ctx, a); err != nil {
		return nil, err
	}
	slot, err := slotOf(a)
	if err != nil {
		return nil, err
	}
	if a, err = s.create(ctx, a, req.GetPassword()); err != nil {
		return nil, err
	}
	if a.Active {
		// The planner enrols it too, from the change feed: an error here delays nothing for long.
		if err := s.Ledger.Enroll(ctx, slot, a.UID); err != nil {
			s.Log.Warn("account is not enrolled yet", zap.String("account", a.Ref()), zap.Error(err))
		}
	}
	return &mailferryv1.CreateAccountResponse{Account: public(a), Notes: notes}, nil
}

// wanted returns the account that is asked for, as it would be stored but for its uid and its password, and what its owner has
// to know.
func (s *Service) wanted(ctx context.Context, req *mailferryv1.CreateAccountRequest) (account.Account, []string, error) {
	if req.GetAccount() == nil {
		return account.Account{}, nil, errField("account", "is missing")
	}
	a := account.FromProto(req.GetAccount())
	a.UID, a.Revision, a.SealedPassword = "", 0, nil
	a.CredentialVersion, a.CreatedAt, a.UpdatedAt = 1, time.Time{}, time.Time{}
	notes, err := preset(&a, req.GetAddress(), req.GetProvider())
	if err != nil {
		return a, nil, err
	}
	a = a.WithDefaults()
	if err := s.permitted(ctx, a); err != nil {
		return a, nil, err
	}
	return a, notes, passwordOf(a, req.GetPassword())
}

// permitted refuses what is not valid, and what the fleet or the domain forbids.
func (s *Service) permitted(ctx context.Context, a account.Account) error {
	if err := a.Validate(); err != nil {
		return errInvalid(err)
	}
	if err := s.refuseOwn(ctx, a); err != nil {
		return err
	}
	tells := a.ClientAddress != "" && a.ClientAddress != account.ClientOff && len(a.Recipients.ReceivedBy) == 0
	dates := a.Date == account.DateReceived && len(a.Recipients.ReceivedBy) == 0
	if a.TLS != account.Disable && !a.TLSAllowInvalid && !a.ForwardsToMailbox() && !tells && !dates {
		return nil
	}
	set, err := s.Directory.Settings(ctx)
	if err != nil {
		return asError("settings", err)
	}
	d, err := s.Directory.Domain(ctx, a.Domain)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return asError("domain "+a.Domain, err)
	}
	switch {
	case a.TLS == account.Disable && set.RequireTLS:
		return errField("tls", "nobody signs in without TLS (setting require_tls): want detect or direct")
	case a.TLS == account.Disable && d.RequireTLS:
		return errField("tls", "nobody of %s signs in without TLS (its require-tls): want detect or direct", a.Domain)
	case a.ForwardsToMailbox() && d.MailboxDestination == "" && set.MailboxDestination == "":
		return errField("forward_to", "is a mailbox path, and there is no mailbox destination that could hold it: "+
			"'mailferry settings set mailbox_destination=imaps:HOST' or 'mailferry domain edit %s --mailbox-destination …'", a.Domain)
	case tells && len(d.ReceivedBy) == 0:
		return errField("client_address", "nobody says which hosts of the remote provider take mail from outside, and no other line is believed: "+
			"name them with --recipients-received-by, or 'mailferry domain edit %s --received-by …'", a.Domain)
	case dates && len(d.ReceivedBy) == 0:
		return errField("date", "nobody says which hosts of the remote provider take mail from outside, and no other Received line is believed: "+
			"name them with --recipients-received-by, or 'mailferry domain edit %s --received-by …'", a.Domain)
	case a.TLSAllowInvalid && !d.AllowInvalidTLS:
		return errField("tls_allow_invalid", "%s does not permit it ('mailferry domain edit %s --allow-invalid-tls'); "+
			"pin the certificate's key or give its CA instead", a.Domain, a.Domain)
	}
	return nil
}

// most returns how many accounts a domain may have, 0 for any number.
func (s *Service) most(ctx context.Context, domain string) (int, error) {
	set, err := s.Directory.Settings(ctx)
	if err != nil {
		return 0, asError("settings", err)
	}
	d, err := s.Directory.Domain(ctx, domain)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return 0, asError("domain "+domain, err)
	}
	return d.Caps.Or(set.Caps).Accounts, nil
}

// roomFor refuses an account of a domain that has as many as it may. Those that come at the same moment may all find room.
func (s *Service) roomFor(ctx context.Context, a account.Account) error {
	most, err := s.most(ctx, a.Domain)
	if most == 0 || err != nil {
		return err
	}
	n, err := s.Directory.AtMost(ctx, a.Domain)
	if err != nil {
		return asError("domain "+a.Domain, err)
	}
	if n < most {
		return nil
	}
	n = 0
	for there, err := range s.Directory.Accounts(ctx, a.Domain) {
		if err != nil {
			return asError("domain "+a.Domain, err)
		}
		if there.Name == a.Name {
			return nil // that it exists already says more
		}
		if n++; n >= most {
			return errFull(a.Domain, most)
		}
	}
	return nil
}

func errFull(domain string, most int) error {
	return refusal(connect.CodeResourceExhausted, fault.Policy, "remove one that is not needed any more, or raise it with 'mailferry domain edit "+domain+" --max-accounts N'",
		"domain %s has all the accounts that it may have: %d", domain, most)
}

// create stores a new account with its password.
func (s *Service) create(ctx context.Context, a account.Account, password string) (account.Account, error) {
	ref := a.Ref()
	a.UID = directory.NewUID() // before it is stored: the password is sealed under it
	sealed, err := s.Vault.Seal(password, a.SealContext())
	if err != nil {
		return a, asError("account "+ref, err)
	}
	a.SealedPassword = sealed
	a, err = s.Directory.CreateAccount(ctx, a)
	if errors.Is(err, directory.ErrExists) {
		return a, refusal(connect.CodeAlreadyExists, fault.Policy,
			"choose another name, or change it with 'mailferry account edit "+ref+"'", "account %s exists already", ref)
	}
	return a, asError("account "+ref, err)
}

// GetAccount answers an account and its state.
func (s *Service) GetAccount(ctx context.Context, req *mailferryv1.GetAccountRequest) (*mailferryv1.GetAccountResponse, error) {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	state, err := s.state(ctx, a)
	if err == nil {
		err = s.tlsState(ctx, a, state)
	}
	if err != nil {
		return nil, asError("account "+a.Ref(), err)
	}
	return &mailferryv1.GetAccountResponse{Account: public(a), State: state}, nil
}

// DeleteAccount removes an account and what it left behind. It is switched off first, so that no run starts any
// more, and its record goes last: as long as something is left, the account is there to be removed again.
func (s *Service) DeleteAccount(ctx context.Context, req *mailferryv1.DeleteAccountRequest) (*mailferryv1.DeleteAccountResponse, error) {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	if a.Active {
		a.Active = false
		switch off, err := s.Directory.UpdateAccount(ctx, a); {
		case errors.Is(err, directory.ErrConflict):
			return nil, errChanged(a)
		case errors.Is(err, directory.ErrNotFound):
			return nil, errNoAccount(a.Ref())
		case err != nil:
			return nil, asError("account "+a.Ref(), err)
		default:
			a = off
		}
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	err = s.erase(clean, a)
	if err == nil {
		err = s.Directory.DeleteAccount(clean, a.Domain, a.Name, 0)
	}
	if err == nil { // once more, for what was written meanwhile; whoever writes later finds the account gone
		if err := s.erase(clean, a); err != nil {
			s.Log.Warn("what was written while an account was deleted may be left", zap.String("uid", a.UID), zap.Error(err))
		}
	}
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		s.Log.Error("an account is switched off and not removed yet", zap.String("account", a.Ref()), zap.String("uid", a.UID), zap.Error(err))
		return nil, refusal(connect.CodeUnavailable, fault.KindOf(err), "remove it again",
			"account %s is switched off, but not all it left behind is removed: %s", a.Ref(), fault.Proto(err).GetMessage())
	}
	return &mailferryv1.DeleteAccountResponse{}, nil
}

// erase removes what an account left behind. Each step is tried, whatever became of those before.
func (s *Service) erase(ctx context.Context, a account.Account) error {
	slot, err := slotOf(a)
	if err == nil {
		err = s.Ledger.Erase(ctx, slot, a.UID)
	}
	if s.Consents != nil {
		err = errors.Join(err, s.Consents.Erase(ctx, a.UID))
	}
	return errors.Join(err, s.Transit.EraseAccount(ctx, a.UID), s.Queue.EraseAccount(ctx, a.UID), s.Notices.EraseAccount(ctx, a.UID),
		s.Directory.DeleteCollection(ctx, a.UID))
}

func errChanged(a account.Account) error {
	return refusal(connect.CodeAborted, fault.Policy, "read it again and repeat the change",
		"account %s was changed by somebody else meanwhile", a.Ref())
}
