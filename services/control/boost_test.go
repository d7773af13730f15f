package control_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

func TestABoostIsBoundedAndShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.Triggers = 3 })
	a, ctx := h.add("a"), t.Context()
	ref := &mailferryv1.AccountRef{Domain: a.GetDomain(), Name: a.GetName()}
	for _, d := range []time.Duration{time.Second, 2 * time.Hour, -time.Minute} {
		if _, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref, Duration: durationpb.New(d)}); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("for %v: %v", d, err)
		}
	}
	if _, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("no planner has seen it: %v", err)
	}
	h.planned(a)
	got, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(got.GetBoostedUntil().AsTime()); left > 10*time.Minute || left < 5*time.Minute || time.Until(got.GetNextDueAt().AsTime()) > 0 || got.GetInterval().AsDuration() != time.Minute {
		t.Errorf("%v", got)
	}
	again, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref, Duration: durationpb.New(time.Minute)})
	if err != nil || !again.GetBoostedUntil().AsTime().Equal(got.GetBoostedUntil().AsTime()) {
		t.Errorf("a shorter one: %v, %v", again, err)
	}
	shown, err := h.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: ref})
	if err != nil || !shown.GetState().GetBoostedUntil().AsTime().Equal(got.GetBoostedUntil().AsTime()) {
		t.Errorf("account show: %v, %v", shown.GetState(), err)
	}
	_, err = h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref})
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "example.com") {
		t.Errorf("the fourth that the domain asks for in a minute, which has three: %v", err)
	}
}

func TestAnAdaptiveScheduleIsExplained(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, ctx := h.add("a"), t.Context()
	ref := &mailferryv1.AccountRef{Domain: a.GetDomain(), Name: a.GetName()}
	a.Interval, a.Schedule = nil, account.ScheduleProto(schedule.Text{Entries: []string{"adaptive 1m..1h"}})
	edited, err := h.accounts.UpdateAccount(ctx, &mailferryv1.UpdateAccountRequest{Account: a})
	if err != nil {
		t.Fatal(err)
	}
	h.planned(edited.GetAccount())
	for range 3 {
		if _, err := h.due.Settle(ctx, a.GetUid(), due.Ended{Kind: fault.None, At: time.Now().Add(-time.Hour), Found: due.Nothing}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.accounts.ExplainSchedule(ctx, &mailferryv1.ExplainScheduleRequest{Ref: ref, Count: 9})
	if err != nil || got.GetAdaptiveInterval().AsDuration() != 8*time.Minute || got.GetQuietRuns() != 3 || len(got.GetStarts()) != 9 {
		t.Fatalf("%v, %v", got, err)
	}
	if s := got.GetStarts(); s[1].GetNote() != "every 16m after 4 quiet runs" || s[8].GetAt().AsTime().Sub(s[7].GetAt().AsTime()) != time.Hour {
		t.Errorf("%v", s)
	}
	if _, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref}); err != nil {
		t.Fatal(err)
	}
	got, err = h.accounts.ExplainSchedule(ctx, &mailferryv1.ExplainScheduleRequest{Ref: ref})
	if err != nil || got.GetStarts()[0].GetRule() != "boost" || got.GetBoostedUntil() == nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := h.dir.UpdateSettings(ctx, func(s *directory.Settings) error { s.MinInterval = 5 * time.Minute; return nil }); err != nil {
		t.Fatal(err)
	}
	boost, err := h.accounts.BoostAccount(ctx, &mailferryv1.BoostAccountRequest{Ref: ref})
	if err != nil || boost.GetInterval().AsDuration() != 5*time.Minute {
		t.Errorf("the installation wants five minutes: %v, %v", boost, err)
	}
}
