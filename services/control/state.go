package control

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// defaultPage and maxPage bound a page of accounts.
	defaultPage, maxPage = 100, 1000
	// parallel is how many accounts' states are read at a time.
	parallel = 16
)

// state gathers what the fleet knows of an account.
func (s *Service) state(ctx context.Context, a account.Account) (*mailferryv1.AccountState, error) {
	out := &mailferryv1.AccountState{Status: mailferryv1.AccountStatus_ACCOUNT_STATUS_OK}
	if !a.Active {
		out.Status = statuses[due.Suspended]
	}
	e, at, err := s.Due.Get(ctx, a.UID)
	switch {
	case errors.Is(err, due.ErrNotFound): // new: the planner has not seen it yet
	case err != nil:
		return nil, err
	default:
		out.NextDueAt, out.LastRunAt, out.FailingSince = stamp(at), stamp(e.LastRun), stamp(e.FailingSince)
		out.Failures, out.QuietRuns = int64(e.Failures), int32(e.Quiet)
		if e.BoostedUntil.After(time.Now()) {
			out.BoostedUntil = stamp(e.BoostedUntil)
		}
		if e.Active = a.Active; a.Revision <= e.Revision { // else the edit forgives
			out.Status = statuses[e.Status()]
		}
		if e.NotBefore.After(at) && !at.IsZero() {
			out.NextDueAt = stamp(e.NotBefore)
		}
	}
	if out.LastFault, err = s.lastFault(ctx, a.UID, e.Kind); err != nil {
		return nil, err
	}
	slot, err := slotOf(a)
	if err != nil {
		return nil, err
	}
	c, err := s.Ledger.State(ctx, slot, a.UID)
	var moved *ledger.MovedError
	switch {
	case errors.As(err, &moved): // an edit is under way
	case err != nil:
		return nil, err
	}
	out.Collected, out.InFlight, out.Skipped = int64(c.Collected), int64(c.Marked), int64(c.Skipped)
	out.Parked, out.Deferred, out.Deleting = int64(c.Parked), int64(c.Deferred), int64(c.Deleting)
	out.Epoch, out.RunningJob = c.Epoch, c.Job
	out.WatchedBy, out.WatchedSince = c.Watcher, stamp(c.Since)
	return out, nil
}

var statuses = map[due.Status]mailferryv1.AccountStatus{
	due.OK: mailferryv1.AccountStatus_ACCOUNT_STATUS_OK, due.Failing: mailferryv1.AccountStatus_ACCOUNT_STATUS_FAILING,
	due.Throttled: mailferryv1.AccountStatus_ACCOUNT_STATUS_THROTTLED, due.Suspended: mailferryv1.AccountStatus_ACCOUNT_STATUS_SUSPENDED,
	due.ConsentNeeded: mailferryv1.AccountStatus_ACCOUNT_STATUS_CONSENT_NEEDED, due.OverQuota: mailferryv1.AccountStatus_ACCOUNT_STATUS_OVER_QUOTA,
}

// tlsState says how the account was seen at its present server.
func (s *Service) tlsState(ctx context.Context, a account.Account, out *mailferryv1.AccountState) error {
	target, err := a.Target()
	if err != nil {
		return err
	}
	c, err := s.Directory.Collection(ctx, a.UID)
	if err == nil && c.TLSTarget == target {
		out.TlsVersion, out.TlsSince = c.TLSVersion, stamp(c.TLSSince)
	}
	return err
}

// lastFault returns the fault of the last run: the kind from the due index, its words from the last report
// of that kind.
func (s *Service) lastFault(ctx context.Context, uid string, kind fault.Kind) (*mailferryv1.Fault, error) {
	if kind == fault.None {
		return nil, nil
	}
	reports, err := s.Queue.Reports(ctx, uid, 1)
	if err != nil {
		return nil, err
	}
	for _, r := range reports {
		if fault.Kind(r.GetFault().GetKind()) == kind {
			return r.GetFault(), nil
		}
	}
	return faultOfKind(kind), nil
}

// states gathers the states of a page.
func (s *Service) states(ctx context.Context, accounts []account.Account) ([]*mailferryv1.AccountState, error) {
	out := make([]*mailferryv1.AccountState, len(accounts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, a := range accounts {
		g.Go(func() (err error) {
			out[i], err = s.state(ctx, a)
			return err
		})
	}
	return out, g.Wait()
}

// failing returns those of the accounts whose last run failed.
func (s *Service) failing(ctx context.Context, accounts []account.Account) ([]account.Account, error) {
	fails := make([]bool, len(accounts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, a := range accounts {
		g.Go(func() error {
			e, _, err := s.Due.Get(gctx, a.UID)
			fails[i] = e.Kind != fault.None
			if errors.Is(err, due.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []account.Account
	for i, a := range accounts {
		if fails[i] {
			out = append(out, a)
		}
	}
	return out, nil
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// pageToken names the last account of a page; it is opaque to callers.
func pageToken(last account.Account) string {
	return base64.RawURLEncoding.EncodeToString([]byte(last.Ref()))
}

func readPageToken(s string) (account.Account, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	domain, name, ok := strings.Cut(string(b), "/")
	if err != nil || s != "" && !ok || len(b) > 512 {
		return account.Account{}, errField("page_token", "is not one that an answer held")
	}
	return account.Account{Domain: domain, Name: name}, nil
}
