package control_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// TestStartsThatAreHeldBack explains the schedule of an account that is held back by its last run: on an interval it is run at
// that time, by the calendar at the first start behind it; an edit forgives.
func TestStartsThatAreHeldBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	until := time.Now().Add(150 * time.Minute).Truncate(time.Millisecond)
	for name, text := range map[string]schedule.Text{"interval": {}, "calendar": {Entries: []string{"every 1h 00:00-23:59"}}} {
		a := h.add(name)
		a.Interval, a.Schedule = durationpb.New(time.Hour), account.ScheduleProto(text)
		if len(text.Entries) > 0 {
			a.Interval = nil
		}
		edited, err := h.accounts.UpdateAccount(t.Context(), &mailferryv1.UpdateAccountRequest{Account: a})
		if err != nil {
			t.Fatal(err)
		}
		h.planned(edited.GetAccount())
		if _, err := h.due.Settle(t.Context(), a.GetUid(), due.Ended{Kind: fault.Auth, NotBefore: until, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		explain := func() *mailferryv1.ExplainScheduleResponse {
			got, err := h.accounts.ExplainSchedule(t.Context(), &mailferryv1.ExplainScheduleRequest{Ref: ref(name), Count: 8})
			if err != nil || len(got.GetStarts()) != 8 {
				t.Fatalf("%v, %v", got, err)
			}
			return got
		}
		got := explain()
		if why := got.GetHeldBack(); !strings.Contains(why, "until "+until.UTC().Format(time.RFC3339)+", after a run that ended as auth: ") {
			t.Errorf("%s: %q", name, why)
		}
		retries := 0
		var last time.Time
		for _, s := range got.GetStarts() {
			at := s.GetAt().AsTime()
			if held := at.Before(until); held != (s.GetNote() == "held back") || at.Before(last) {
				t.Errorf("%s: %v", name, s)
			}
			if last = at; s.GetRule() == "retry" && at.Equal(until) {
				retries++
			}
		}
		if want := map[string]int{"interval": 1}[name]; retries != want {
			t.Errorf("%s: %d retries, want %d: %v", name, retries, want, got.GetStarts())
		}
		if _, err := h.edit(name, func(r *mailferryv1.UpdateAccountRequest) { r.Account.Labels = []string{"x"} }); err != nil {
			t.Fatal(err)
		}
		for _, s := range explain().GetStarts() {
			if s.GetNote() == "held back" || s.GetRule() == "retry" {
				t.Errorf("%s, after an edit: %v", name, s)
			}
		}
	}
}
