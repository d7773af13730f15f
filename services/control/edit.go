package control

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// UpdateAccount changes an account. Another host, port, username or protocol is another slot of the ledger:
// the index is taken along first, so that a run that starts right after the change finds it, and is taken
// back if the directory refuses the change.
func (s *Service) UpdateAccount(ctx context.Context, req *mailferryv1.UpdateAccountRequest) (*mailferryv1.UpdateAccountResponse, error) {
	want := req.GetAccount()
	old, err := s.account(ctx, &mailferryv1.AccountRef{Domain: want.GetDomain(), Name: want.GetName()})
	if err != nil {
		return nil, err
	}
	if want.GetRevision() != 0 && want.GetRevision() != old.Revision {
		return nil, errChanged(old)
	}
	if want.GetUid() != "" && want.GetUid() != old.UID {
		return nil, errChanged(old) // removed and added again under its name
	}
	a, err := s.merge(ctx, old, req)
	if err != nil {
		return nil, err
	}
	m, err := moveOf(old, a, req.GetNewMailbox())
	if err != nil {
		return nil, err
	}
	if req.GetForgetTls() { // before the edit, whose new revision makes workers look again
		forget := func(c *directory.Collection) { c.TLSTarget, c.TLSVersion, c.TLSSince = "", "", time.Time{} }
		if err := s.Directory.UpdateCollection(ctx, old.UID, forget); err != nil {
			return nil, asError("account "+a.Ref(), err)
		}
	}
	if err := s.prepare(ctx, m); err != nil {
		s.takeBack(ctx, m)
		return nil, asError("account "+a.Ref(), err)
	}
	updated, err := s.Directory.UpdateAccount(ctx, a)
	if err != nil {
		s.takeBack(ctx, m)
	}
	switch {
	case errors.Is(err, directory.ErrConflict):
		return nil, errChanged(a)
	case errors.Is(err, directory.ErrNotFound):
		return nil, errNoAccount(a.Ref())
	case err != nil:
		return nil, asError("account "+a.Ref(), err)
	}
	s.leave(ctx, m, updated)
	return &mailferryv1.UpdateAccountResponse{Account: public(updated), IndexCopied: m.kind == moveCopy, IndexNew: m.kind == moveNew}, nil
}

// merge returns the account as it shall be stored.
func (s *Service) merge(ctx context.Context, old account.Account, req *mailferryv1.UpdateAccountRequest) (account.Account, error) {
	a := account.FromProto(req.GetAccount())
	a.UID, a.Domain, a.Name, a.CreatedAt, a.Revision = old.UID, old.Domain, old.Name, old.CreatedAt, old.Revision
	a.SealedPassword, a.CredentialVersion = old.SealedPassword, old.CredentialVersion
	a = a.WithDefaults()
	if err := s.permitted(ctx, a); err != nil {
		return a, err
	}
	if req.Password != nil {
		if err := account.ValidatePassword(req.GetPassword()); err != nil {
			return a, errInvalid(err)
		}
		sealed, err := s.Vault.Seal(req.GetPassword(), old.SealContext())
		if err != nil {
			return a, asError("account "+old.Ref(), err)
		}
		a.SealedPassword = sealed
	}
	if a.Auth != account.OAuth2 && len(a.SealedPassword) == 0 {
		return a, errField("password", "is missing: the account had none while it signed in with OAuth 2.0")
	}
	if req.Password != nil || a.Host != old.Host || a.Username != old.Username {
		a.CredentialVersion++
	}
	return a, nil
}

type moveKind int

const (
	moveNone moveKind = iota // the same remote mailbox
	moveCopy                 // the same under another name: the index goes along
	moveNew                  // another one: an empty index
)

// move is what an edit does to the account's place in the ledger.
type move struct {
	kind     moveKind
	old      account.Account
	from, to ledger.Slot
	active   bool
}

// moveOf compares the remote mailboxes. Message keys of POP3 mean nothing to IMAP, so that another protocol
// is another mailbox.
func moveOf(old, a account.Account, fresh bool) (move, error) {
	m := move{old: old, active: a.Active}
	var err error
	if m.from, err = slotOf(old); err != nil {
		return m, err
	}
	if m.to, err = slotOf(a); err != nil {
		return m, err
	}
	switch {
	case m.from == m.to:
	case fresh || old.Protocol != a.Protocol:
		m.kind = moveNew
	default:
		m.kind = moveCopy
	}
	return m, nil
}

// prepare makes the new slot ready.
func (s *Service) prepare(ctx context.Context, m move) error {
	switch m.kind {
	case moveCopy:
		if err := s.Ledger.Copy(ctx, m.from, m.to, m.old.UID); err != nil {
			return err
		}
	case moveNew:
		if err := s.prepareNew(ctx, m); err != nil {
			return err
		}
	default:
	}
	if m.active {
		return s.Ledger.Enroll(ctx, m.to, m.old.UID)
	}
	return nil
}

// prepareNew makes sure that the new slot is free to use. What is in flight keeps the old slot, where it is
// committed. An index that was taken away from the new slot before left a signpost there.
func (s *Service) prepareNew(ctx context.Context, m move) error {
	_, err := s.Ledger.State(ctx, m.to, m.old.UID)
	var moved *ledger.MovedError
	if errors.As(err, &moved) {
		return refusal(connect.CodeFailedPrecondition, fault.Policy,
			"change it without --new-mailbox, then start anew with 'mailferry index reset "+m.old.Ref()+"'",
			"account %s: its index was taken from that mailbox to the present one before, so it is not a new mailbox", m.old.Ref())
	}
	if err != nil {
		return err
	}
	return s.Directory.UpdateCollection(ctx, m.old.UID, func(c *directory.Collection) { c.Epoch, c.Since = "", time.Time{} })
}

// takeBack undoes prepare where the edit did not come to its end, so that the account goes on as it was.
func (s *Service) takeBack(ctx context.Context, m move) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	var err error
	switch {
	case m.kind == moveCopy:
		err = s.Ledger.Copy(ctx, m.to, m.from, m.old.UID)
	case m.kind == moveNew, m.active && !m.old.Active:
		err = s.Ledger.Withdraw(ctx, m.to, m.old.UID)
	}
	if err != nil {
		s.Log.Error("a refused edit is not undone in the ledger", zap.String("account", m.old.Ref()), zap.Error(err))
	}
}

// leave withdraws the account from the slot that it no longer uses, so that nobody waits for it there.
func (s *Service) leave(ctx context.Context, m move, a account.Account) {
	var err error
	switch {
	case m.kind != moveNone:
		err = s.Ledger.Withdraw(ctx, m.from, a.UID)
	case !a.Active && m.old.Active:
		err = s.Ledger.Withdraw(ctx, m.to, a.UID)
	}
	if err != nil {
		s.Log.Warn("account is not withdrawn from its old mailbox: nothing is deleted there", zap.String("account", a.Ref()), zap.Error(err))
	}
}

// newEpoch makes the name of an epoch.
func newEpoch() string { return strings.ToLower(rand.Text()[:16]) }

// ResetIndex forgets what an account has collected.
func (s *Service) ResetIndex(ctx context.Context, req *mailferryv1.ResetIndexRequest) (*mailferryv1.ResetIndexResponse, error) {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	slot, err := slotOf(a)
	if err != nil {
		return nil, err
	}
	epoch := newEpoch()
	n, err := s.Ledger.Reset(ctx, slot, a.UID, epoch)
	if err != nil {
		return nil, asError("account "+a.Ref(), err)
	}
	// A lost index is told from a new account by this record: it follows the epoch.
	err = s.Directory.UpdateCollection(ctx, a.UID, func(c *directory.Collection) {
		if c.Epoch != "" {
			c.Epoch = epoch
		}
	})
	if err != nil {
		return nil, asError("account "+a.Ref(), err)
	}
	return &mailferryv1.ResetIndexResponse{Forgotten: int64(n)}, nil
}
