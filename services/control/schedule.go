package control

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxStarts bounds what ExplainSchedule answers.
const maxStarts = 1000

// ExplainSchedule answers when an account is run next, and by which rule.
func (s *Service) ExplainSchedule(ctx context.Context, req *mailferryv1.ExplainScheduleRequest) (*mailferryv1.ExplainScheduleResponse, error) {
	n := int(req.GetCount())
	if n < 0 || n > maxStarts {
		return nil, errField("count", "want 1 to %d", maxStarts)
	}
	if n == 0 {
		n = 10
	}
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	r, err := s.rules(ctx, a)
	if err != nil {
		return nil, err
	}
	parsed, err := schedule.Parse(r.Text.Entries, r.Text.Zone)
	if err != nil {
		return nil, errInvalid(err)
	}
	out := &mailferryv1.ExplainScheduleResponse{Source: r.Source, TimeZone: parsed.Zone.String()}
	parsed.Least = r.Least
	if r.Least > 0 {
		out.MinInterval, out.MinIntervalOf = durationpb.New(r.Least), r.LeastOf
	}
	for at := time.Now(); len(out.Starts) < n; {
		var start schedule.Start
		rule := "every " + r.Interval.String()
		if r.Interval > 0 {
			start.At = schedule.Next(a.UID, max(r.Interval, r.Least), at)
			if r.Interval < r.Least {
				start.Note = "raised to " + r.Least.String()
			}
		} else if start = parsed.Next(a.UID, at); !start.At.IsZero() {
			rule = start.Entry.String()
		}
		if start.At.IsZero() {
			break
		}
		out.Starts = append(out.Starts, &mailferryv1.ScheduledStart{At: timestamppb.New(start.At), Rule: rule, Note: start.Note})
		at = start.At.Add(max(0, r.Least-1))
	}
	out.HeldBack, err = s.heldBack(ctx, a)
	return out, err
}

// rules returns those that hold for an account.
func (s *Service) rules(ctx context.Context, a account.Account) (account.Rules, error) {
	d, err := s.Directory.Domain(ctx, a.Domain)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return account.Rules{}, asError("domain "+a.Domain, err)
	}
	set, err := s.Directory.Settings(ctx)
	if err != nil {
		return account.Rules{}, asError("settings", err)
	}
	return account.RulesOf(a.Interval, a.Schedule, d.Schedule, account.Rules{Interval: set.Interval, Text: set.Schedule}).AtLeast(d.MinInterval, set.MinInterval), nil
}

// heldBack says why an account is not run by its schedule, "" if it is.
func (s *Service) heldBack(ctx context.Context, a account.Account) (string, error) {
	if !a.Active {
		return "the account is not active", nil
	}
	e, _, err := s.Due.Get(ctx, a.UID)
	switch {
	case errors.Is(err, due.ErrNotFound):
		return "the account is new: no planner has taken it up yet", nil
	case err != nil:
		return "", asError("account "+a.Ref(), err)
	case e.NotBefore.After(time.Now()):
		return "after a run that ended as " + e.Kind.String() + " not before " + e.NotBefore.UTC().Format(time.RFC3339), nil
	}
	return "", nil
}
