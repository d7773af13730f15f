package control_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

// fetch triggers an account and returns the answers.
func (h *house) fetch(ctx context.Context, name string) ([]*mailferryv1.FetchResponse, error) {
	s, err := h.runs.Fetch(ctx, &mailferryv1.FetchRequest{Ref: ref(name)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	var out []*mailferryv1.FetchResponse
	for s.Receive() {
		out = append(out, s.Msg())
	}
	return out, s.Err()
}

func phases(rs []*mailferryv1.FetchResponse) string {
	s := ""
	for _, r := range rs {
		s += r.GetProgress().GetPhase().String()[6:] + " "
	}
	return s
}

func last(rs []*mailferryv1.FetchResponse) *mailferryv1.RunReport {
	if len(rs) == 0 {
		return nil
	}
	return rs[len(rs)-1].GetProgress().GetReport()
}

// planned gives an account its entry in the due index, as the planner does.
func (h *house) planned(a *mailferryv1.Account) {
	h.t.Helper()
	e := due.Entry{UID: a.GetUid(), Domain: a.GetDomain(), Name: a.GetName(), Revision: a.GetRevision(), Active: true}
	if err := h.due.Put(h.t.Context(), e, time.Now().Add(time.Hour)); err != nil {
		h.t.Fatal(err)
	}
}

func TestAFetchStreamsTheRunOfItsJob(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	h.work(func(ctx context.Context, c *queue.Claim) {
		if c.Trigger != queue.Manual || c.Domain != "example.com" || c.Name != "a" || c.Revision == 0 || time.Since(c.DueAt) > time.Minute {
			t.Errorf("%+v", c.Job)
		}
		other := &queue.Claim{Job: c.Job}
		other.ID = "other"
		h.say(other, mailferryv1.Phase_PHASE_DONE, 99, nil) // a run that is not ours
		h.run(ctx, c, 3)
	})
	for range 3 { // one right after the other
		rs, err := h.fetch(t.Context(), "a")
		if err != nil || phases(rs) != "QUEUED CONNECTING LISTED DONE " || last(rs).GetFetched() != 3 {
			t.Fatalf("%s %v", phases(rs), err)
		}
	}
	_, err := h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Active = false })
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.fetch(t.Context(), "a")
	wantError(t, err, connect.CodeFailedPrecondition, fault.Policy, "account example.com/a is inactive", "--active")
	_, err = h.fetch(t.Context(), "nobody")
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "example.com/nobody")
}

// A run tells its end just before its job leaves the queue.
func TestAFetchRightAfterAnotherIsAnotherRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	again := make(chan struct{}, 1)
	var runs atomic.Int64
	h.work(func(ctx context.Context, c *queue.Claim) {
		n := runs.Add(1)
		h.say(c, mailferryv1.Phase_PHASE_DONE, n, nil)
		if n == 1 {
			<-again // the job stays until the second trigger was refused once
		}
		h.ack(ctx, c)
	})
	if rs, err := h.fetch(t.Context(), "a"); err != nil || last(rs).GetNew() != 1 {
		t.Fatal(phases(rs), err)
	}
	time.AfterFunc(50*time.Millisecond, func() { again <- struct{}{} })
	rs, err := h.fetch(t.Context(), "a")
	if err != nil || phases(rs) != "QUEUED DONE " || last(rs).GetNew() != 2 {
		t.Errorf("%s %v", phases(rs), err)
	}
}

func TestAFailedRunIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.planned(h.add("a"))
	want := fault.Proto(fault.Errorf(fault.Auth, "pop3 pass", "-ERR no"))
	h.work(func(ctx context.Context, c *queue.Claim) {
		if _, err := h.due.Settle(ctx, c.AccountUID, due.Ended{Kind: fault.Auth, NotBefore: time.Now().Add(time.Hour), At: time.Now()}); err != nil {
			t.Error(err)
		}
		if err := h.queue.PutReport(ctx, h.report(c, 0, want)); err != nil {
			t.Error(err)
		}
		h.say(c, mailferryv1.Phase_PHASE_DONE, 0, want)
		h.ack(ctx, c)
	})
	rs, err := h.fetch(t.Context(), "a")
	if err != nil || last(rs).GetFault().GetKind() != want.GetKind() || last(rs).GetFault().GetAdvice() == "" {
		t.Fatalf("%v %v", rs, err)
	}
	got, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("a")})
	if s := got.GetState(); err != nil || s.GetLastFault().GetMessage() != want.GetMessage() || s.GetFailures() != 1 || s.GetLastRunAt() == nil {
		t.Errorf("%v %v", got, err)
	}
	runs, err := h.runs.ListRuns(t.Context(), &mailferryv1.ListRunsRequest{Ref: ref("a")})
	if err != nil || len(runs.GetRuns()) != 1 {
		t.Errorf("%v %v", runs, err)
	}
}

func TestATriggerJoinsTheRunThatIsGoingOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	started, finish := make(chan struct{}), make(chan struct{})
	var runs atomic.Int32
	h.work(func(ctx context.Context, c *queue.Claim) {
		if runs.Add(1) == 1 {
			close(started)
			<-finish
		}
		h.run(ctx, c, 1)
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if rs, err := h.fetch(t.Context(), "a"); err != nil || last(rs) == nil {
			t.Error(phases(rs), err)
		}
	})
	<-started
	s, err := h.runs.Fetch(t.Context(), &mailferryv1.FetchRequest{Ref: ref("a")})
	if err != nil || !s.Receive() || s.Msg().GetProgress().GetPhase() != mailferryv1.Phase_PHASE_COALESCED || s.Msg().GetNote() == "" {
		t.Fatal(err, s.Msg())
	}
	close(finish)
	var end *mailferryv1.RunReport
	for s.Receive() {
		end = s.Msg().GetProgress().GetReport()
	}
	if s.Err() != nil || end.GetNew() != 1 || runs.Load() != 1 {
		t.Errorf("%v %v after %d runs", end, s.Err(), runs.Load())
	}
	wg.Wait()
}

// The worker that coalesces a job says so; the caller then follows the run that holds the lock.
func TestATriggerThatTheLockCoalescesFollowsTheHolder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	h.work(func(ctx context.Context, c *queue.Claim) {
		h.say(c, mailferryv1.Phase_PHASE_COALESCED, 0, nil)
		holder := &queue.Claim{Job: c.Job}
		holder.ID = "holder"
		h.ack(ctx, c)
		h.say(holder, mailferryv1.Phase_PHASE_LISTED, 5, nil)
		h.say(holder, mailferryv1.Phase_PHASE_DONE, 5, nil)
	})
	rs, err := h.fetch(t.Context(), "a")
	if err != nil || phases(rs) != "QUEUED COALESCED LISTED DONE " || last(rs).GetNew() != 5 {
		t.Errorf("%s %v", phases(rs), err)
	}
}

func TestLostProgressHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.planned(h.add("news"))
	h.planned(h.add("none"))
	h.work(func(ctx context.Context, c *queue.Claim) {
		if c.Name == "news" {
			if err := h.queue.PutReport(ctx, h.report(c, 4, nil)); err != nil {
				t.Error(err)
			}
		}
		if _, err := h.due.Settle(ctx, c.AccountUID, due.Ended{Kind: fault.None, At: time.Now()}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		h.ack(ctx, c)
	})
	for name, want := range map[string]int64{"news": 4, "none": 0} {
		rs, err := h.fetch(t.Context(), name)
		if err != nil || last(rs) == nil || last(rs).GetNew() != want || last(rs).GetFault() != nil {
			t.Errorf("%s: %s %v", name, phases(rs), err)
		}
	}
}

func TestALostJobIsQueuedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	ctx := t.Context()
	s, err := h.runs.Fetch(ctx, &mailferryv1.FetchRequest{Ref: ref("a")})
	if err != nil || !s.Receive() {
		t.Fatal(err, s.Err())
	}
	jobs, err := h.nats.JS.Stream(ctx, "JOBS")
	if err != nil {
		t.Fatal(err)
	}
	if err := jobs.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if !s.Receive() || s.Msg().GetNote() == "" {
		t.Fatalf("%v %v", s.Msg(), s.Err())
	}
	h.work(func(ctx context.Context, c *queue.Claim) { h.run(ctx, c, 1) })
	var end *mailferryv1.RunReport
	for s.Receive() {
		end = s.Msg().GetProgress().GetReport()
	}
	if s.Err() != nil || end.GetNew() != 1 {
		t.Errorf("%v %v", end, s.Err())
	}
}

func TestSilenceEndsWithWhatToDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.GiveUp = 1500 * time.Millisecond })
	h.add("a")
	_, err := h.fetch(t.Context(), "a") // no worker
	wantError(t, err, connect.CodeDeadlineExceeded, fault.Timeout, "example.com/a", "the job stays queued", "check that a worker runs")
	_, err = h.many(t.Context(), "", true)
	wantError(t, err, connect.CodeDeadlineExceeded, fault.Timeout, "check that workers run")
}

func TestDrainEndsTheStreamsNotTheRuns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	s, err := h.runs.Fetch(t.Context(), &mailferryv1.FetchRequest{Ref: ref("a")})
	if err != nil || !s.Receive() {
		t.Fatal(err)
	}
	h.svc.Drain()
	if s.Receive() {
		t.Fatal(s.Msg())
	}
	wantError(t, s.Err(), connect.CodeUnavailable, fault.Canceled, "the runs go on")
	if n, err := h.queue.Pending(t.Context()); err != nil || n != 1 {
		t.Errorf("%d jobs, %v", n, err)
	}
}

// many triggers the accounts of a domain and returns the last answer and the reports.
func (h *house) many(ctx context.Context, domain string, wait bool) ([]*mailferryv1.FetchManyResponse, error) {
	s, err := h.runs.FetchMany(ctx, &mailferryv1.FetchManyRequest{Domain: domain, Wait: wait})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	var out []*mailferryv1.FetchManyResponse
	for s.Receive() {
		out = append(out, s.Msg())
	}
	return out, s.Err()
}

func TestManyAreFetchedThroughASmallWindow(t *testing.T) {
	t.Parallel()
	const n = 700
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.Window, c.Lost = 300, 3*time.Second })
	for i := range n {
		a := sample(fmt.Sprintf("a%d", i))
		a.Active = i%100 != 0
		res, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: a, Password: canary})
		if err != nil {
			t.Fatal(err)
		}
		h.planned(res.GetAccount())
	}
	var open, most, runs, queued atomic.Int64
	h.work(func(ctx context.Context, c *queue.Claim) {
		most.Store(max(most.Load(), open.Add(1)))
		defer open.Add(-1)
		k := runs.Add(1)
		if k%20 == 0 {
			n, err := h.queue.Pending(ctx)
			if err != nil && ctx.Err() == nil { // a run that was queued again may outlive the test
				t.Error(err)
			}
			queued.Store(max(queued.Load(), int64(n)))
		}
		if _, err := h.due.Settle(ctx, c.AccountUID, due.Ended{Kind: fault.None, At: time.Now()}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		switch {
		case k%10 == 0: // its progress is lost
			h.ack(ctx, c)
		case k == 7:
			h.say(c, mailferryv1.Phase_PHASE_DONE, 0, fault.Proto(fault.Errorf(fault.DNS, "dial", "no such host")))
			h.ack(ctx, c)
		default:
			h.run(ctx, c, 2)
		}
	})
	rs, err := h.many(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	end := rs[len(rs)-1]
	const active = n - n/100
	if end.GetAccounts() != active || end.GetTriggered() != active || end.GetFinished() != active || end.GetFailed() != 1 {
		t.Errorf("%v", end)
	}
	if r := runs.Load(); r > active+active/5 {
		t.Errorf("%d runs of %d accounts", r, active) // one more for each that was not heard
	}
	if f := end.GetFetched(); f > 2*active || f < 2*(active-active/5) || end.GetBytes() != 10*f {
		t.Errorf("%v", end)
	}
	seen := map[string]bool{}
	for _, r := range rs {
		if name := r.GetReport().GetName(); name != "" {
			if seen[name] {
				t.Errorf("%s is reported twice", name)
			}
			seen[name] = true
		}
	}
	if most.Load() > 64 || queued.Load() > 300 {
		t.Errorf("%d at a time, %d queued", most.Load(), queued.Load())
	}
	if len(seen) != active {
		t.Errorf("%d reports", len(seen))
	}
}

func TestManyWithoutWaiting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	h.add("b")
	rs, err := h.many(t.Context(), "example.com", false)
	if err != nil || rs[len(rs)-1].GetTriggered() != 2 {
		t.Fatal(rs, err)
	}
	testenv.Eventually(t, 30*time.Second, "both are queued", func() bool {
		n, err := h.queue.Pending(t.Context())
		return err == nil && n == 2
	})
	_, err = h.many(t.Context(), "another.example", true)
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "another.example", "account list")
	if rs, err := h.many(t.Context(), "", false); err != nil || rs[len(rs)-1].GetTriggered() != 2 { // coalesced
		t.Error(rs, err)
	}
}
