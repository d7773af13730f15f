package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
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
	e, _, err := s.Due.Get(ctx, a.UID)
	if err != nil && !errors.Is(err, due.ErrNotFound) {
		return nil, asError("account "+a.Ref(), err)
	}
	out := &mailferryv1.ExplainScheduleResponse{Source: r.Source, TimeZone: parsed.Zone.String()}
	if out.HeldBack, err = s.heldBack(ctx, a, e, errors.Is(err, due.ErrNotFound)); err != nil {
		return nil, asError("account "+a.Ref(), err)
	}
	parsed.Least, parsed.Quiet = r.Least, e.Quiet
	if r.Least > 0 {
		out.MinInterval, out.MinIntervalOf = durationpb.New(r.Least), r.LeastOf
	}
	for _, entry := range parsed.Entries {
		if entry.Upto > 0 && !entry.Off && out.AdaptiveInterval == nil {
			out.AdaptiveInterval, out.QuietRuns = durationpb.New(entry.Interval(e.Quiet, r.Least)), int32(e.Quiet)
		}
	}
	now := time.Now()
	if e.BoostedUntil.After(now) {
		out.BoostedUntil = stamp(e.BoostedUntil)
	}
	out.Starts = starts(a.UID, r, parsed, e.BoostedUntil, now, n)
	if a.Active && e.NotBefore.After(now) && a.Revision <= e.Revision { // else the edit forgives
		out.Starts = retried(out.Starts, e.NotBefore, r.Interval > 0 || parsed.AnyTime(), n)
	}
	return out, nil
}

// starts returns the next n of an account, as they will be if nothing is found meanwhile.
func starts(uid string, r account.Rules, parsed schedule.Schedule, boosted, at time.Time, n int) (out []*mailferryv1.ScheduledStart) {
	for len(out) < n {
		var start schedule.Start
		rule, least := "every "+fault.Span(r.Interval), r.Least
		if r.Interval > 0 {
			start.At = schedule.Next(uid, max(r.Interval, r.Least), at)
			if r.Interval < r.Least {
				start.Note = "raised to " + fault.Span(r.Least)
			}
		} else if start = parsed.Next(uid, at); !start.At.IsZero() {
			rule = start.Entry.String()
			if start.Entry.Upto > 0 && start.Note == "" {
				start.Note = fmt.Sprintf("every %s after %d quiet runs", fault.Span(start.Entry.Interval(parsed.Quiet, r.Least)), parsed.Quiet)
			}
		}
		if soon := schedule.Boosted(uid, r.Least, boosted, at); !soon.IsZero() && (start.At.IsZero() || !soon.After(start.At)) {
			start, rule, least = schedule.Start{At: soon, Note: "somebody waits for a message"}, "boost", schedule.BoostInterval(r.Least)
		}
		if start.At.IsZero() {
			break
		}
		out = append(out, &mailferryv1.ScheduledStart{At: timestamppb.New(start.At), Rule: rule, Note: start.Note})
		at = start.At.Add(max(0, least-1))
		parsed.Quiet++
	}
	return out
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

// retried says of starts that they are held back until a time. Where the schedule is an interval, the account is run at that
// time; else at the first start behind it.
func retried(starts []*mailferryv1.ScheduledStart, until time.Time, anyTime bool, n int) []*mailferryv1.ScheduledStart {
	held := 0
	for held < len(starts) && starts[held].GetAt().AsTime().Before(until) {
		starts[held].Note = strings.TrimPrefix(starts[held].GetNote()+"; held back", "; ")
		held++
	}
	if anyTime && len(starts) > 0 {
		starts = slices.Insert(starts, held, &mailferryv1.ScheduledStart{At: timestamppb.New(until), Rule: "retry", Note: "it is not held back any more"})
	}
	return starts[:min(n, len(starts))]
}

// heldBack says why an account is not run by its schedule, "" if it is.
func (s *Service) heldBack(ctx context.Context, a account.Account, e due.Entry, unknown bool) (string, error) {
	switch {
	case !a.Active:
		return "the account is not active", nil
	case unknown:
		return "the account is new: no planner has taken it up yet", nil
	case !e.NotBefore.After(time.Now()):
		return "", nil
	case e.Kind == fault.None:
		return "until " + e.NotBefore.UTC().Format(time.RFC3339) + ", as its last run has said", nil
	}
	f, err := s.lastFault(ctx, a.UID, e.Kind)
	return "until " + e.NotBefore.UTC().Format(time.RFC3339) + ", after a run that ended as " + e.Kind.String() + ": " + f.GetMessage(), err
}
