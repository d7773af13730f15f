package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// maxTries bounds how often a lost job is queued again.
	maxTries = 3
	// publishTime bounds how long the queue may take to confirm jobs.
	publishTime = 15 * time.Second
	// settleTime is how long a run may take from telling its end to settling its job.
	settleTime = 250 * time.Millisecond
)

// waiting is one account whose run a caller waits for.
type waiting struct {
	account account.Account
	job     string
	// follows: the trigger was coalesced, so the end of any run of the account counts.
	follows bool
	since   time.Time // when it was triggered
	heard   time.Time // last sign of the run
	looked  time.Time // when control looked for itself, or heard
	tries   int
	ran     bool // the due index says that the account ran since
	// stranger is the report of a run of another job that ended since.
	stranger *mailferryv1.RunReport
}

// watch triggers runs and waits for their ends. It believes progress messages first; they may be lost, so
// it looks at the due index and the reports where a run is silent, and asks the queue whether the job is
// still there by publishing it again: the queue refuses a second one.
type watch struct {
	s       *Service
	request string // its jobs are of this request, "" for none

	mu    sync.Mutex
	waits map[string]*waiting // by account uid
	heard time.Time           // last sign of any run
}

// ended is a run that a caller waited for and what it came to.
type ended struct {
	account account.Account
	report  *mailferryv1.RunReport
}

func newWatch(s *Service, now time.Time) *watch {
	return &watch{s: s, waits: map[string]*waiting{}, heard: now}
}

// count returns how many runs are waited for.
func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits)
}

// trigger queues a manual job for each account and waits for those the queue has. The others are
// returned with the fault, and those whose run has ended already.
func (w *watch) trigger(ctx context.Context, accounts []account.Account, now time.Time) (failed, done []ended) {
	jobs := make([]queue.Job, len(accounts))
	waits := make([]*waiting, len(accounts))
	w.mu.Lock()
	for i, a := range accounts {
		jobs[i] = manualJob(a, now, w.request)
		// Known before it is queued: its end may be heard before the queue has answered.
		waits[i] = &waiting{account: a, job: jobs[i].ID, since: now, heard: now, looked: now}
		w.waits[a.UID] = waits[i]
	}
	w.mu.Unlock()
	errs := w.s.publish(ctx, jobs)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, err := range errs {
		e := waits[i]
		switch {
		case err == nil:
		case !errors.Is(err, queue.ErrCoalesced):
			failed = append(failed, *w.end(e, reportOf(e.account, e.job, now, fault.Proto(err))))
		case e.stranger != nil:
			done = append(done, *w.end(e, e.stranger))
		default:
			e.follows = true
		}
	}
	return failed, done
}

func newJobID() string { return "m" + strings.ToLower(rand.Text()[:20]) }

// manualJob returns a job of an account; of a request that has a name, the queue takes it once.
func manualJob(a account.Account, now time.Time, request string) queue.Job {
	j := queue.Job{
		ID: newJobID(), AccountUID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Trigger: queue.Manual, DueAt: now,
	}
	if request != "" {
		j.ID, j.Once = jobOf(request, a.UID), true
	}
	return j
}

// publish queues jobs. Those that are coalesced are tried once more a moment later: a run tells its end just
// before its job leaves the queue, and whoever fetches again at once means another run.
func (s *Service) publish(ctx context.Context, jobs []queue.Job) []error {
	errs := s.publishOnce(ctx, jobs)
	var again []queue.Job
	var at []int
	for i, err := range errs {
		if errors.Is(err, queue.ErrCoalesced) {
			again, at = append(again, jobs[i]), append(at, i)
		}
	}
	if len(again) == 0 {
		return errs
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return errs
	}
	for i, err := range s.publishOnce(ctx, again) {
		if err == nil {
			errs[at[i]] = nil
		}
	}
	return errs
}

func (s *Service) publishOnce(ctx context.Context, jobs []queue.Job) []error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	return s.Queue.PublishAll(ctx, jobs)
}

// hear takes a progress message. It says whether it concerns a run that is waited for, and returns the run if it ended.
func (w *watch) hear(p *mailferryv1.Progress, now time.Time) (concerns bool, end *ended) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.waits[p.GetAccountUid()]
	if !ok {
		return false, nil
	}
	over := p.GetPhase() == mailferryv1.Phase_PHASE_DONE && !comesAgain(p.GetReport())
	if p.GetJobId() != e.job && !e.follows {
		if over {
			e.stranger = p.GetReport()
		}
		return false, nil
	}
	e.heard, e.looked, w.heard = now, now, now
	if p.GetPhase() == mailferryv1.Phase_PHASE_COALESCED {
		e.follows = true
	}
	if over {
		return true, w.end(e, p.GetReport())
	}
	return true, nil
}

// comesAgain says that a run was cut off on purpose: its job is handed back and another run follows.
func comesAgain(r *mailferryv1.RunReport) bool {
	return fault.Kind(r.GetFault().GetKind()) == fault.Canceled
}

// end stops waiting for e.
func (w *watch) end(e *waiting, r *mailferryv1.RunReport) *ended {
	delete(w.waits, e.account.UID)
	if r == nil {
		r = reportOf(e.account, e.job, time.Now(), nil)
	}
	return &ended{e.account, r}
}

// silent says that nothing was heard or found of any run for too long.
func (w *watch) silent(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Sub(w.heard) >= w.s.cfg.GiveUp
}

// quiet returns copies of the waits that are silent, the longest unseen first.
func (w *watch) quiet(now time.Time, limit int) []waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*waiting
	for _, e := range w.waits {
		if now.Sub(e.looked) >= w.s.cfg.Poll {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *waiting) int {
		return cmp.Or(a.looked.Compare(b.looked), cmp.Compare(a.account.UID, b.account.UID))
	})
	all = all[:min(len(all), limit)]
	out := make([]waiting, len(all))
	for i, e := range all {
		e.looked = now
		out[i] = *e
	}
	return out
}

// reportOf stands in for a report that was not written or not seen.
func reportOf(a account.Account, job string, at time.Time, f *mailferryv1.Fault) *mailferryv1.RunReport {
	return &mailferryv1.RunReport{
		JobId: job, AccountUid: a.UID, Domain: a.Domain, Name: a.Name,
		Trigger: mailferryv1.Trigger_TRIGGER_MANUAL, FinishedAt: timestamppb.New(at), Fault: f,
	}
}

func faultOfKind(k fault.Kind) *mailferryv1.Fault {
	if k == fault.None {
		return nil
	}
	return &mailferryv1.Fault{Kind: mailferryv1.FaultKind(k), Message: "the last run failed", Advice: k.Verdict().Advice}
}
