package control

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxRuns bounds how many reports are answered at a time.
const maxRuns = 1000

// ListRuns answers the last runs of an account.
func (s *Service) ListRuns(ctx context.Context, req *mailferryv1.ListRunsRequest) (*mailferryv1.ListRunsResponse, error) {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit < 0 || limit > maxRuns {
		return nil, errField("limit", "want 1 to %d", maxRuns)
	}
	if limit == 0 {
		limit = 20
	}
	runs, err := s.Queue.Reports(ctx, a.UID, limit)
	if err != nil {
		return nil, asError("runs of account "+a.Ref(), err)
	}
	return &mailferryv1.ListRunsResponse{Runs: runs}, nil
}

// Fetch triggers one account and streams the run until it has ended.
func (s *Service) Fetch(ctx context.Context, req *mailferryv1.FetchRequest, stream *connect.ServerStream[mailferryv1.FetchResponse]) error {
	a, err := s.account(ctx, req.GetRef())
	if err != nil {
		return err
	}
	if !a.Active {
		return errInactive(a)
	}
	_, wait, err := s.admit(ctx, a.Domain, 1)
	switch {
	case err != nil:
		return err
	case wait > 0:
		return errLimited(a.Domain, wait)
	}
	// Listen first: a fast run is over before the trigger has returned.
	progress, stop, err := s.Queue.FollowProgress(ctx, a.UID)
	if err != nil {
		return asError("fetch of account "+a.Ref(), err)
	}
	defer stop()
	w := newWatch(s, time.Now())
	failed, done := w.trigger(ctx, []account.Account{a}, time.Now())
	switch {
	case len(failed) > 0:
		f := failed[0].report.GetFault()
		return refusal(connect.CodeUnavailable, fault.Kind(f.GetKind()), "check that NATS is up: 'mailferry status'",
			"account %s was not triggered: %s", a.Ref(), f.GetMessage())
	case len(done) > 0:
		return stream.Send(endOf(done[0]))
	}
	e := w.quiet(time.Now().Add(s.cfg.Poll), 1)[0]
	first := &mailferryv1.FetchResponse{Progress: queued(e)}
	if e.follows {
		first.Progress.Phase = mailferryv1.Phase_PHASE_COALESCED
		first.Note = "the account is queued or running already: following that run"
	}
	if err := stream.Send(first); err != nil {
		return err
	}
	return s.follow(ctx, w, e, progress, stream)
}

func queued(e waiting) *mailferryv1.Progress {
	return &mailferryv1.Progress{AccountUid: e.account.UID, JobId: e.job, Phase: mailferryv1.Phase_PHASE_QUEUED}
}

// follow streams the run of e until it has ended.
func (s *Service) follow(ctx context.Context, w *watch, e waiting, progress <-chan *mailferryv1.Progress, stream *connect.ServerStream[mailferryv1.FetchResponse]) error {
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case p, ok := <-progress:
			if !ok {
				return errCutOff()
			}
			concerns, end := w.hear(p, time.Now())
			if !concerns {
				continue
			}
			out := &mailferryv1.FetchResponse{Progress: p}
			if p.GetPhase() == mailferryv1.Phase_PHASE_DONE && end == nil {
				out.Progress, out.Note = queued(e), "the run was stopped on purpose and is repeated"
			}
			if err := stream.Send(out); err != nil || end != nil {
				return err
			}
		case <-tick.C:
			over, err := s.tickOne(ctx, w, e, stream)
			if over || err != nil {
				return err
			}
		case <-s.drain:
			return errCutOff()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tickOne looks for the run itself; it says whether that has ended.
func (s *Service) tickOne(ctx context.Context, w *watch, e waiting, stream *connect.ServerStream[mailferryv1.FetchResponse]) (bool, error) {
	now := time.Now()
	done, again, err := w.look(ctx, now)
	switch {
	case len(done) > 0:
		return true, stream.Send(endOf(done[0]))
	case again:
		return false, stream.Send(&mailferryv1.FetchResponse{Progress: queued(e), Note: "the queue had lost the job: it is queued again"})
	case w.silent(now) && err != nil:
		return true, asError("fetch of account "+e.account.Ref(), err)
	case w.silent(now):
		return true, refusal(connect.CodeDeadlineExceeded, fault.Timeout,
			"check that a worker runs and is not stuck ('mailferry status', the logs of the workers); the run is seen with 'mailferry runs "+e.account.Ref()+"'",
			"account %s: nothing was heard of its run for %s; the job stays queued", e.account.Ref(), fault.Span(s.cfg.GiveUp))
	}
	return false, nil // an error of one look may pass
}

// endOf is the answer about a run that was not heard to end.
func endOf(e ended) *mailferryv1.FetchResponse {
	r := e.report
	return &mailferryv1.FetchResponse{Progress: &mailferryv1.Progress{
		RunId: r.GetRunId(), AccountUid: e.account.UID, JobId: r.GetJobId(), Phase: mailferryv1.Phase_PHASE_DONE,
		New: r.GetNew(), Fetched: r.GetFetched(), Delivered: r.GetDelivered(), Bytes: r.GetBytes(), Report: r,
	}}
}

func errCutOff() error {
	return refusal(connect.CodeUnavailable, fault.Canceled, "the runs go on; fetch again to follow them, or see 'mailferry runs'",
		"control is being stopped or lost its connection")
}

// FetchMany triggers the active accounts of a domain, or of all, or those of them with a label, and waits if asked to.
func (s *Service) FetchMany(ctx context.Context, req *mailferryv1.FetchManyRequest, stream *connect.ServerStream[mailferryv1.FetchManyResponse]) error {
	domain, err := domainName(req.GetDomain(), true)
	if err != nil {
		return err
	}
	label, err := labelName(req.GetLabel())
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(s.Directory.Accounts(ctx, domain))
	defer stop()
	b := newBulk(s, next, bulkConfig{wait: req.GetWait(), failing: req.GetFailing(), label: label}, stream)
	if err := b.run(ctx); err != nil {
		return asError("fetch", err)
	}
	if b.seen > 0 || domain == "" && label == "" {
		return nil
	}
	what := "there are no accounts"
	if domain != "" {
		what = "domain " + domain + " has no accounts"
	}
	if label != "" {
		what += " with the label " + label
	}
	return refusal(connect.CodeNotFound, fault.NotFound, "see 'mailferry account list' for the accounts there are", "%s", what)
}
