package control

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Bounds of a boost.
const (
	boostFor              = 10 * time.Minute
	leastBoost, mostBoost = time.Minute, time.Hour
)

// BoostAccount has an account run every minute for a while.
func (s *Service) BoostAccount(ctx context.Context, req *mailferryv1.BoostAccountRequest) (*mailferryv1.BoostAccountResponse, error) {
	d := boostFor
	if req.GetDuration() != nil {
		if d = req.GetDuration().AsDuration(); d < leastBoost || d > mostBoost {
			return nil, errField("duration", "want %s to %s", fault.Span(leastBoost), fault.Span(mostBoost))
		}
	}
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	if !a.Active {
		return nil, errInactive(a)
	}
	r, err := s.rules(ctx, a)
	if err != nil {
		return nil, err
	}
	if _, wait, err := s.admit(ctx, a.Domain, 1); err != nil || wait > 0 {
		if err == nil {
			err = errLimited(a.Domain, wait)
		}
		return nil, err
	}
	every := schedule.BoostInterval(r.Least)
	until, next, err := s.Due.Boost(ctx, a.UID, d, every)
	switch {
	case errors.Is(err, due.ErrNotFound):
		return nil, refusal(connect.CodeUnavailable, fault.Unavailable, "try again in a moment; 'mailferry status' says whether a planner is there",
			"account %s is new: no planner has taken it up yet", a.Ref())
	case err != nil:
		return nil, asError("account "+a.Ref(), err)
	}
	return &mailferryv1.BoostAccountResponse{BoostedUntil: timestamppb.New(until), NextDueAt: timestamppb.New(next), Interval: durationpb.New(every)}, nil
}
