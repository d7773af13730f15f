package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/proto"
)

// NewUID returns the uid of a new account: 26 lower-case letters and digits, 130 random bits. It can
// stand as a token in subjects and keys.
func NewUID() string { return strings.ToLower(rand.Text()) }

// CreateAccount adds an account and returns it as stored. Its uid is made here unless the caller has
// taken one from [NewUID] before, to seal the password with it; the uid decides whose creation it is when an
// answer was lost, so it must be a new one. The name of a removed account is free.
func (d *Directory) CreateAccount(ctx context.Context, a account.Account) (account.Account, error) {
	if a.UID == "" {
		a.UID = NewUID()
	}
	a.CreatedAt = d.cfg.Now()
	a.UpdatedAt = a.CreatedAt
	return d.writeAccount(ctx, "create account", a, true, func(there *entry) error {
		if there != nil && !there.deleted {
			return exists("account " + a.Ref())
		}
		return nil
	})
}

// UpdateAccount replaces the account of a's name if it still is the one at a.Revision, and returns it as
// stored; otherwise it returns [ErrConflict], or [ErrNotFound] if it is gone or another one has its name.
// uid, domain, name and the time of creation are kept as they are.
func (d *Directory) UpdateAccount(ctx context.Context, a account.Account) (account.Account, error) {
	current, err := d.Account(ctx, a.Domain, a.Name)
	if err != nil {
		return account.Account{}, err
	}
	if a.UID != "" && a.UID != current.UID {
		return account.Account{}, notFound("account " + a.Ref())
	}
	a.UID, a.CreatedAt, a.UpdatedAt = current.UID, current.CreatedAt, d.cfg.Now()
	return d.writeAccount(ctx, "update account", a, false, func(there *entry) error {
		switch {
		case there == nil || there.deleted:
			return notFound("account " + a.Ref())
		case there.revision != a.Revision:
			return conflict("account " + a.Ref())
		}
		return nil
	})
}

func (d *Directory) writeAccount(ctx context.Context, op string, a account.Account, fresh bool, decide func(*entry) error) (account.Account, error) {
	if a.Domain == "" || a.Name == "" {
		return account.Account{}, fault.Errorf(fault.Internal, op, "an account needs a domain and a name")
	}
	p := a.Proto()
	p.Revision = 0
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err == nil && len(value) > maxValue-4096 { // the bucket counts subject and headers too
		err = errors.New("the record is too large")
	}
	if err != nil {
		return account.Account{}, fault.New(fault.Policy, op, err)
	}
	revision, err := d.accounts.do(ctx, op, write{key: accountKey(a.Domain, a.Name), value: value, fresh: fresh, decide: decide})
	if err != nil {
		return account.Account{}, err
	}
	p.Revision = revision
	return account.FromProto(p), nil
}

// DeleteAccount removes an account and leaves a tombstone that bears its uid. With a revision it removes only
// the account at that revision, else it returns [ErrConflict]. A record that cannot be read is removed too.
func (d *Directory) DeleteAccount(ctx context.Context, domain, name string, revision uint64) error {
	what := "account " + domain + "/" + name
	w := write{key: accountKey(domain, name), header: tombstone()}
	w.decide = func(there *entry) error {
		switch {
		case there == nil || there.deleted:
			return notFound(what)
		case revision != 0 && there.revision != revision:
			return conflict(what)
		}
		a, err := d.readAccount(*there)
		if err != nil {
			d.unreadable(d.accounts, *there, err)
		}
		w.header.Set(uidHeader, a.UID)
		return nil
	}
	_, err := d.accounts.do(ctx, "delete account", w)
	return err
}

// Account returns an account as its leader has it.
func (d *Directory) Account(ctx context.Context, domain, name string) (account.Account, error) {
	var a account.Account
	err := d.retry(ctx, "read account", func(ctx context.Context) error {
		e, err := d.accounts.get(ctx, accountKey(domain, name))
		if errors.Is(err, errNoKey) || err == nil && e.deleted {
			return notFound("account " + domain + "/" + name)
		}
		if err == nil {
			a, err = d.readAccount(e)
		}
		return err
	})
	return a, err
}

// AccountAt returns the account with the uid at the revision or a newer one. Any replica may answer; one
// that lags behind the revision is not believed, and the leader is asked. [ErrNotFound] means that the
// account is gone: there is its tombstone, or another account lives under its name. A record that the
// leader has never heard of is a loss of the directory: [ErrLost].
func (d *Directory) AccountAt(ctx context.Context, domain, name, uid string, revision uint64) (account.Account, error) {
	key := accountKey(domain, name)
	what := "account " + domain + "/" + name
	var a account.Account
	err := d.retry(ctx, "read account", func(ctx context.Context) error {
		e, err := d.accounts.direct(ctx, key)
		if err == nil && !e.deleted && e.revision >= revision {
			if a, err = d.readAccount(e); err == nil && a.UID == uid {
				return nil
			}
		}
		switch e, err = d.accounts.get(ctx, key); {
		case errors.Is(err, errNoKey):
			return fault.New(fault.Internal, what, ErrLost)
		case err != nil:
			return err
		case e.deleted:
			return notFound(what)
		}
		if a, err = d.readAccount(e); err == nil && a.UID != uid {
			return notFound(what)
		}
		return err
	})
	if err != nil {
		return account.Account{}, err
	}
	return a, nil
}

// readAccount reads a record. It has to be that of its key.
func (d *Directory) readAccount(e entry) (account.Account, error) {
	domain, name, ok := accountOfKey(e.key)
	if !ok {
		return account.Account{}, fault.Errorf(fault.Internal, "read account", "%q is not the key of an account", fault.Clean(e.key))
	}
	var p mailferryv1.Account
	err := proto.Unmarshal(e.value, &p)
	switch {
	case err != nil:
		err = errors.New("the record cannot be read")
	case p.GetDomain() != domain || p.GetName() != name:
		err = errors.New("the record is that of another account")
	case p.GetUid() == "":
		err = errors.New("the record has no uid")
	}
	if err != nil {
		return account.Account{}, fault.New(fault.Internal, fmt.Sprintf("account %s/%s", fault.Clean(domain), fault.Clean(name)), err)
	}
	p.Revision = e.revision
	return account.FromProto(&p), nil
}
