package worker

import (
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// progress tells whoever follows the account where a run is. It is sent at most five times a second, and
// nothing depends on its arrival.
type progress struct {
	q    *queue.Queue
	job  queue.Job
	mu   sync.Mutex
	last time.Time
	p    *queue.Progress
}

const progressEvery = 200 * time.Millisecond

func newProgress(q *queue.Queue, job queue.Job) *progress {
	return &progress{q: q, job: job, p: &queue.Progress{AccountUid: job.AccountUID, JobId: job.ID}}
}

func (p *progress) started(r *queue.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.RunId = r.RunId
	p.send(mailferryv1.Phase_PHASE_CONNECTING)
}

func (p *progress) listed(r *queue.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.New = r.New
	p.send(mailferryv1.Phase_PHASE_LISTED)
}

// fetched and delivered count up.
func (p *progress) fetched(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Fetched++
	p.p.Bytes += bytes
	p.throttled(mailferryv1.Phase_PHASE_FETCHING)
}

func (p *progress) delivered(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Delivered += n
	phase := mailferryv1.Phase_PHASE_FETCHING
	if p.p.Fetched >= p.p.New {
		phase = mailferryv1.Phase_PHASE_DELIVERING
	}
	p.throttled(phase)
}

func (p *progress) coalesced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(mailferryv1.Phase_PHASE_COALESCED)
}

func (p *progress) done(r *queue.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Report = r
	p.send(mailferryv1.Phase_PHASE_DONE)
}

func (p *progress) throttled(phase mailferryv1.Phase) {
	if time.Since(p.last) >= progressEvery {
		p.send(phase)
	}
}

func (p *progress) send(phase mailferryv1.Phase) {
	p.last, p.p.Phase = time.Now(), phase
	_ = p.q.SendProgress(p.p)
}
