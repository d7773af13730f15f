package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// testLimit bounds a test as a whole, testSilence each answer in it.
	testLimit   = time.Minute
	testSilence = 30 * time.Second
	// testsAtOnce is how many tests a worker does at once, beside its runs.
	testsAtOnce = 4
	// maxExamples bounds the messages that a report names, and maxNamed those that are named by their header.
	maxExamples = 1000
	maxNamed    = 200
)

// probe is a test of an account: a session that looks and changes nothing, at the remote server, in the index or in
// the directory. Only a refused sign-in is counted.
type probe struct {
	*run
	out      *mailferryv1.TestReport
	trace    remote.Trace
	saved    bool
	examples int
}

// test does a test. A panic is a fault of kind internal, of this test only.
func (w *Worker) test(ctx context.Context, j *mailferryv1.TestJob) *mailferryv1.TestReport {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, testLimit, fault.Errorf(fault.Timeout, "test", "it took longer than %s", fault.Span(testLimit)))
	defer cancel()
	p := &probe{
		run: &run{w: w, log: w.Log, report: &queue.Report{}}, out: &mailferryv1.TestReport{Worker: w.cfg.Name},
		saved: j.GetSaved(), examples: min(max(int(j.GetExamples()), 0), maxExamples),
	}
	err := p.do(ctx, j)
	p.connection()
	p.out.Fault, p.out.Took = shown(err), durationpb.New(time.Since(start))
	w.Log.Info("tested", zap.String("account", j.GetAccount().GetDomain()+"/"+j.GetAccount().GetName()), zap.Bool("saved", p.saved),
		zap.Stringer("kind", fault.KindOf(err)), zap.Duration("took", time.Since(start)))
	return p.out
}

func (p *probe) do(ctx context.Context, j *mailferryv1.TestJob) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("a test panicked", zap.String("type", fmt.Sprintf("%T", r)), zap.Stack("stack"))
			err = fault.Errorf(fault.Internal, "test", "panic; see the log of worker %s", p.w.cfg.Name)
		}
	}()
	if p.acc, err = p.w.tested(ctx, j); err != nil {
		return err
	}
	if p.slot, err = ledger.SlotOfAccount(p.acc); err != nil {
		return err
	}
	p.hold, err = p.w.acquire(ctx, ledger.AcquireRequest{
		Slot: p.slot, Account: p.acc.UID, Job: j.GetId(), Owner: p.w.cfg.Name, PerAccount: !p.w.settings.Load().POP3Locking, Test: true,
	})
	if err != nil {
		return inUse(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
		_, _ = p.hold.Release(ctx) // else it lapses by itself
	}()
	p.index = p.hold.Index()
	return p.underLock(p.hold.Context())
}

// underLock connects, lists and judges, and leaves without a trace.
func (p *probe) underLock(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer p.session.Abort() // without effect after a Close in order
	var err error
	if p.listing, err = p.session.List(ctx); err != nil {
		return err
	}
	if err := p.judge(ctx); err != nil {
		return err
	}
	p.warn()
	if !p.session.Info().Consumes {
		_ = p.session.Close(ctx) // nothing was asked of the session: nothing depends on its end
	}
	return nil
}

// connect signs in as a run does.
func (p *probe) connect(ctx context.Context) error {
	t, domain, err := p.w.target(ctx, p.acc)
	if err != nil {
		return err
	}
	t.DialContext = p.w.within(p.acc, domain, t.DialContext, true)
	limits := p.w.cfg.Session.WithDefaults()
	limits.Command = min(limits.Command, testSilence)
	p.session, err = p.w.signIn(ctx, p.acc, remote.Dialer{
		TLS: p.w.cfg.TLS, Limits: limits, Trusted: p.hold.Trusted, Trace: &p.trace,
	}, t)
	return err
}

// tested returns the account that a test is of: as the directory has it, or, where it is not saved, as it came with
// its password, which was sealed for this test.
func (w *Worker) tested(ctx context.Context, j *mailferryv1.TestJob) (account.Account, error) {
	a := account.FromProto(j.GetAccount())
	if j.GetSaved() {
		saved, err := w.Directory.AccountAt(ctx, a.Domain, a.Name, a.UID, a.Revision)
		if errors.Is(err, directory.ErrNotFound) {
			err = fault.Errorf(fault.NotFound, "test", "account %s was removed", fault.Clean(a.Ref()))
		}
		if err == nil && j.GetRules() {
			saved = saved.WithRules(a)
			err = fault.New(fault.Policy, "test", saved.Validate())
		}
		return saved, err
	}
	if err := a.Validate(); err != nil || a.UID == "" {
		return a, fault.Errorf(fault.Internal, "test", "the request holds no account: %v", err)
	}
	if len(a.SealedPassword) == 0 {
		return a, nil
	}
	password, err := w.Vault.Unseal(a.SealedPassword, a.TestContext(j.GetDeadline().AsTime()))
	if err == nil {
		a.SealedPassword, err = w.Vault.Seal(password, a.SealContext()) // as those of saved accounts are
	}
	return a, err
}

// inUse says why a test did not get the lock, without a word about other tenants.
func inUse(err error) error {
	const op = "test"
	var busy *ledger.BusyError
	switch {
	case !errors.As(err, &busy):
		return err
	case busy.Same:
		return fault.Errorf(fault.InUse, op, "the mailbox is in use by a run of this account that is going on since %s",
			busy.Since.UTC().Format(time.RFC3339))
	case busy.Queued:
		return fault.Errorf(fault.InUse, op, "the mailbox is about to be used by a run that waits for it")
	}
	return fault.Errorf(fault.InUse, op, "the mailbox is in use by another session of ours")
}
