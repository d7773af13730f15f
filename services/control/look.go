package control

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// maxLooks bounds how many silent runs are looked for at a time.
	maxLooks = 128
	// clockSkew is how far the clock of a worker may be behind ours; more costs time, not truth.
	clockSkew = 5 * time.Second
)

// finding is what control finds out about a run that is silent.
type finding int

const (
	findNothing finding = iota // queued or running
	findEnd                    // it has ended
	findOver                   // the run that was followed is over, our own is queued now
	findLost                   // the job was lost and is queued again
	findRan                    // the account ran: if its end is not heard by the next look, it was lost
)

// look looks for runs that are silent. It returns those that ended, and says whether a job was lost and is
// queued again.
func (w *watch) look(ctx context.Context, now time.Time) (done []ended, again bool, err error) {
	quiet := w.quiet(now, maxLooks)
	found := make([]finding, len(quiet))
	reports := make([]*mailferryv1.RunReport, len(quiet))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, e := range quiet {
		g.Go(func() (err error) {
			found[i], reports[i], err = w.lookAt(gctx, e, now)
			return err
		})
	}
	err = g.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range quiet {
		e := w.waits[q.account.UID]
		if e == nil || e.job != q.job { // heard of meanwhile
			continue
		}
		switch found[i] {
		case findNothing:
		case findRan:
			e.ran = true
		case findEnd:
			w.heard = now
			done = append(done, *w.end(e, reports[i]))
		case findOver:
			e.follows, e.since, e.heard = false, now, now
		case findLost:
			if e.tries++; e.tries == maxTries {
				done = append(done, *w.end(e, reportOf(e.account, e.job, now, lostFault())))
				continue
			}
			e.heard, again = now, true
		}
	}
	return done, again, err
}

func lostFault() *mailferryv1.Fault {
	return &mailferryv1.Fault{
		Kind: mailferryv1.FaultKind(fault.Internal), Message: "the job was queued three times and no run of it was seen",
		Advice: "see the logs of the workers, then fetch again",
	}
}

// lookAt looks for one run: a report of it, else whether the queue still has its job.
func (w *watch) lookAt(ctx context.Context, e waiting, now time.Time) (finding, *mailferryv1.RunReport, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	entry, _, err := w.s.Due.Get(ctx, e.account.UID)
	if err != nil && !errors.Is(err, due.ErrNotFound) {
		return findNothing, nil, err
	}
	ran := entry.LastRun.After(e.since.Add(-clockSkew))
	if !ran && now.Sub(e.heard) < w.s.cfg.Lost {
		return findNothing, nil, nil
	}
	if r, err := w.reported(ctx, e); r != nil || err != nil {
		return findEnd, r, err
	}
	if ran && !e.ran {
		return findRan, nil, nil
	}
	job := manualJob(e.account, now, "")
	job.ID = e.job
	switch err := w.s.Queue.Publish(ctx, job); {
	case errors.Is(err, queue.ErrCoalesced):
		return findNothing, nil, nil
	case err != nil:
		return findNothing, nil, err
	case e.follows:
		return findOver, nil, nil
	case ran:
		// A run without news leaves no report, only its time.
		return findEnd, reportOf(e.account, e.job, entry.LastRun, faultOfKind(entry.Kind)), nil
	}
	return findLost, nil, nil
}

// reported returns the report of the run that e waits for, or nil.
func (w *watch) reported(ctx context.Context, e waiting) (*mailferryv1.RunReport, error) {
	reports, err := w.s.Queue.Reports(ctx, e.account.UID, 5)
	if err != nil {
		return nil, err
	}
	for _, r := range reports {
		mine := r.GetJobId() == e.job || e.follows && r.GetFinishedAt().AsTime().After(e.since)
		if mine && !comesAgain(r) {
			return r, nil
		}
	}
	return nil, nil
}
