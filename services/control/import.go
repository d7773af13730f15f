package control

import (
	"context"
	"sync"
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

// imported is an account of a request.
type imported struct {
	want     account.Account
	password string
	slot     ledger.Slot
	// out is what became of it, nil while this is not known. added says that it was added.
	out   *mailferryv1.ImportedAccount
	added account.Account
}

// ImportAccounts adds many accounts. Each stands for itself; what could not be tried is a fault of its account, too.
func (s *Service) ImportAccounts(ctx context.Context, req *mailferryv1.ImportAccountsRequest) (*mailferryv1.ImportAccountsResponse, error) {
	n := len(req.GetAccounts())
	if n == 0 || n > maxImport {
		return nil, errField("accounts", "want 1 to %d", maxImport)
	}
	all := make([]*imported, n)
	atOnce(n, func(i int) { all[i] = s.imported(ctx, req.GetAccounts()[i]) })
	s.passOver(ctx, all)
	s.addAll(ctx, all)
	res := &mailferryv1.ImportAccountsResponse{}
	var enrol []ledger.Enrolment
	for _, a := range all {
		res.Accounts = append(res.Accounts, a.out)
		if a.added.Active {
			enrol = append(enrol, ledger.Enrolment{Slot: a.slot, Account: a.added.UID, Active: true})
		}
	}
	if err := s.Ledger.EnrollAll(ctx, enrol); err != nil { // the planner does, too
		s.Log.Warn("accounts that were imported are not enrolled yet", zap.Int("accounts", len(enrol)), zap.Error(err))
	}
	return res, ctx.Err()
}

// atOnce does f for each of n, some at a time.
func atOnce(n int, f func(i int)) {
	var g errgroup.Group
	g.SetLimit(importing)
	for i := range n {
		g.Go(func() error { f(i); return nil })
	}
	_ = g.Wait()
}

// imported reads an account of a request.
func (s *Service) imported(ctx context.Context, req *mailferryv1.CreateAccountRequest) *imported {
	a := &imported{password: req.GetPassword()}
	var err error
	if a.want, _, err = s.wanted(ctx, req); err == nil {
		a.slot, err = slotOf(a.want)
	}
	if err != nil {
		a.out = refused(err)
	}
	return a
}

// passOver decides those whose names are taken, as far as that can be known before they are stored.
func (s *Service) passOver(ctx context.Context, all []*imported) {
	var named []account.Account
	for _, a := range undecided(all) {
		named = append(named, a.want)
	}
	there, err := s.Directory.Find(ctx, named)
	if err != nil {
		return // each will say so
	}
	for _, a := range undecided(all) {
		if is, ok := there[a.want.Ref()]; ok {
			a.out = existing(is, a.want)
		}
	}
}

func undecided(all []*imported) []*imported {
	var some []*imported
	for _, a := range all {
		if a.out == nil {
			some = append(some, a)
		}
	}
	return some
}

// addAll stores those that are not decided, in their order as many as their domains have room for.
func (s *Service) addAll(ctx context.Context, all []*imported) {
	rooms := rooms{s: s, most: map[string]int{}, left: map[string]int{}}
	defer rooms.close()
	rooms.open(ctx, undecided(all))
	for waiting := undecided(all); len(waiting) > 0; waiting = undecided(all) {
		var some []*imported
		for _, a := range waiting {
			if rooms.take(a.want.Domain) {
				some = append(some, a)
			}
		}
		atOnce(len(some), func(i int) { s.add(ctx, some[i]) })
		for _, a := range some { // what became none leaves its room to the next
			if a.added.UID == "" {
				rooms.left[a.want.Domain]++
			}
		}
		if len(some) == 0 {
			for _, a := range waiting {
				a.out = refused(errFull(a.want.Domain, rooms.most[a.want.Domain]))
			}
		}
	}
}

// add stores one.
func (s *Service) add(ctx context.Context, a *imported) {
	stored, err := s.create(ctx, a.want, a.password)
	switch {
	case connect.CodeOf(err) == connect.CodeAlreadyExists:
		is, err := s.Directory.Account(ctx, a.want.Domain, a.want.Name)
		if err != nil {
			a.out = refused(asError("account "+a.want.Ref(), err))
			return
		}
		a.out = existing(is, a.want)
	case err != nil:
		a.out = refused(err)
	default:
		a.out, a.added = &mailferryv1.ImportedAccount{}, stored
	}
}

// rooms is how many accounts may be added to domains; of those that may have any number it knows nothing.
type rooms struct {
	s          *Service
	held       bool
	most, left map[string]int // by domain
}

// open counts once for each domain. Whoever adds to the same ones meanwhile waits, or both find the last room that is left.
func (r *rooms) open(ctx context.Context, all []*imported) {
	names, wanted := map[string]error{}, map[string]int{}
	for _, a := range all {
		names[a.want.Domain] = nil
		wanted[a.want.Domain]++
	}
	domains := make([]string, 0, len(names))
	for domain := range names {
		domains = append(domains, domain)
	}
	var mu sync.Mutex
	atOnce(len(domains), func(i int) {
		most, err := r.s.most(ctx, domains[i])
		mu.Lock()
		defer mu.Unlock()
		names[domains[i]] = err
		if most > 0 {
			r.most[domains[i]] = most
		}
	})
	if len(r.most) > 0 {
		r.s.imports.Lock()
		r.held = true
	}
	for domain, most := range r.most {
		n, err := r.s.count(ctx, domain, wanted[domain], most)
		r.left[domain], names[domain] = most-n, err
	}
	for _, a := range all {
		if err := names[a.want.Domain]; err != nil {
			a.out = refused(err)
		}
	}
}

func (r *rooms) close() {
	if r.held {
		r.s.imports.Unlock()
	}
}

// take takes room for one.
func (r *rooms) take(domain string) bool {
	if r.most[domain] == 0 {
		return true
	}
	if r.left[domain] <= 0 {
		return false
	}
	r.left[domain]--
	return true
}

// count counts the accounts of a domain, up to most. Where there is room for so many more, those may count too that were removed:
// they need not be looked at.
func (s *Service) count(ctx context.Context, domain string, more, most int) (n int, err error) {
	if n, err = s.Directory.AtMost(ctx, domain); err != nil || n+more <= most {
		return n, asError("domain "+domain, err)
	}
	n = 0
	for _, err := range s.Directory.Accounts(ctx, domain) {
		if err != nil {
			return 0, asError("domain "+domain, err)
		}
		if n++; n >= most {
			break
		}
	}
	return n, nil
}

// existing compares an account with the one that has its name.
func existing(is, want account.Account) *mailferryv1.ImportedAccount {
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
