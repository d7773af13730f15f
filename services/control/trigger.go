package control

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

type (
	triggerRequest  = mailferryv1.TriggerRequest
	triggerResponse = mailferryv1.TriggerResponse
)

const (
	accepted       = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_ACCEPTED
	alreadyRunning = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_ALREADY_RUNNING
	inactive       = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_INACTIVE
	unknown        = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_UNKNOWN
	limited        = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_LIMITED
	invalid        = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_INVALID
	unavailable    = mailferryv1.TriggerOutcome_TRIGGER_OUTCOME_UNAVAILABLE
)

// Trigger triggers one account or several and answers at once.
func (s *Service) Trigger(ctx context.Context, req *triggerRequest) (*triggerResponse, error) {
	return s.trigger(ctx, req), nil
}

// Run answers triggers that come over NATS, until Drain or the end of ctx.
func (s *Service) Run(ctx context.Context) error {
	return s.Queue.ServeTriggers(ctx, s.drain, s.overNATS(s.trigger), s.overNATS(s.carry))
}

// overNATS is for triggers what edge is for calls of the API.
func (s *Service) overNATS(do queue.Answer) queue.Answer {
	return func(ctx context.Context, req *triggerRequest) (res *triggerResponse) {
		log := s.Log.With(zap.String("request", fault.Clean(req.GetRequestId())),
			zap.String("account", fault.Clean(req.GetDomain()+"/"+req.GetName())))
		defer func() {
			if r := recover(); r != nil {
				log.Error("panic", zap.String("type", fmt.Sprintf("%T", r)), zap.ByteString("stack", debug.Stack()))
				res = &triggerResponse{RequestId: req.GetRequestId(), Outcome: unavailable, Message: "the trigger stopped with a panic: see the log of control"}
			}
		}()
		res = do(ctx, req)
		log.Info("trigger", zap.Stringer("outcome", res.GetOutcome()), zap.String("job", res.GetJobId()))
		return res
	}
}

// trigger triggers one account; a request for several is kept, to be carried out by whichever control takes it.
func (s *Service) trigger(ctx context.Context, req *triggerRequest) *triggerResponse {
	return s.answer(ctx, req, func(ctx context.Context, res *triggerResponse) error {
		if res.GetRequestId() == "" {
			res.RequestId = newJobID()
		}
		kept := &triggerRequest{RequestId: res.GetRequestId(), Domain: req.GetDomain(), All: req.GetAll(), Failing: req.GetFailing(), Label: req.GetLabel()}
		return asError("trigger", s.Queue.PublishTrigger(ctx, kept))
	})
}

// carry carries out a trigger that was published: one of several accounts, one after the other, at the pace that
// the budgets of their domains allow.
func (s *Service) carry(ctx context.Context, req *triggerRequest) *triggerResponse {
	return s.answer(ctx, req, func(ctx context.Context, _ *triggerResponse) error {
		next, stop := iter.Pull2(s.Directory.Accounts(ctx, req.GetDomain()))
		defer stop()
		b := newBulk(s, next, bulkConfig{failing: req.GetFailing(), label: req.GetLabel(), request: req.GetRequestId()}, nobody{})
		return asError("trigger", b.run(ctx))
	})
}

// nobody listens to how far a trigger is.
type nobody struct{}

func (nobody) Send(*mailferryv1.FetchManyResponse) error { return nil }

// answer answers a request: one of one account by itself, one of several by what many does with it.
func (s *Service) answer(ctx context.Context, req *triggerRequest, many func(context.Context, *triggerResponse) error) *triggerResponse {
	res := &triggerResponse{RequestId: req.GetRequestId(), Outcome: accepted}
	err := checkTrigger(req)
	switch {
	case err != nil:
	case req.GetName() == "":
		err = many(ctx, res)
	default:
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		err = s.triggerOne(ctx, req, res)
	}
	var refused *connect.Error
	if errors.As(err, &refused) {
		res.Outcome, res.Message = outcomeOf(refused), wordsOf(refused)
	}
	return res
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)

// checkTrigger refuses a request that does not say one thing, and brings its domain to the form that is stored.
func checkTrigger(req *triggerRequest) error {
	switch {
	case !requestID.MatchString(req.GetRequestId()):
		return errField("request_id", "want 1 to 64 of A-Z a-z 0-9 . _ -")
	case req.GetAll() && (req.GetDomain() != "" || req.GetName() != ""):
		return errField("all", "goes without domain and name")
	case req.GetName() != "" && req.GetFailing():
		return errField("failing", "goes with several accounts")
	case req.GetName() != "" && req.GetLabel() != "":
		return errField("label", "goes with several accounts")
	}
	if _, err := labelName(req.GetLabel()); err != nil {
		return err
	}
	if req.GetAll() || req.GetDomain() == "" && req.GetName() == "" && req.GetLabel() != "" {
		return nil
	}
	domain, err := domainName(req.GetDomain(), false)
	req.Domain = domain
	return err
}

// triggerOne triggers one account.
func (s *Service) triggerOne(ctx context.Context, req *triggerRequest, res *triggerResponse) error {
	a, err := s.account(ctx, &mailferryv1.AccountRef{Domain: req.GetDomain(), Name: req.GetName()})
	if err != nil {
		return err
	}
	res.AccountUid = a.UID
	if !a.Active {
		res.Outcome, res.Message = inactive, errInactive(a).Message()
		return nil
	}
	_, wait, err := s.admit(ctx, a.Domain, 1)
	if err != nil {
		return err
	}
	if wait > 0 {
		res.Outcome, res.RetryAt = limited, timestamppb.New(time.Now().Add(wait))
		res.Message = errLimited(a.Domain, wait).Message()
		return nil
	}
	slot, err := slotOf(a)
	if err != nil {
		return err
	}
	running, err := s.Ledger.State(ctx, slot, a.UID)
	if err != nil {
		return asError("account "+a.Ref(), err)
	}
	job := manualJob(a, time.Now(), req.GetRequestId())
	res.JobId = job.ID
	switch err := s.publish(ctx, []queue.Job{job})[0]; {
	case errors.Is(err, queue.ErrCoalesced):
		res.Outcome, res.JobId = alreadyRunning, s.Queue.Held(ctx, queue.Manual, a.UID)
	case err != nil:
		return asError("account "+a.Ref(), err)
	}
	if running.Job != "" && running.Job != job.ID { // it is repeated for this job once it ends
		res.Outcome, res.JobId = alreadyRunning, running.Job
	}
	return nil
}

// admit takes up to n triggers out of the budget of a domain. It returns how many there were, and when there is one
// more where that is fewer.
func (s *Service) admit(ctx context.Context, domain string, n int) (int, time.Duration, error) {
	got, wait, err := s.Budget.Triggers(ctx, domain, s.cfg.Triggers, n)
	if err != nil {
		return 0, 0, asError("domain "+domain, err)
	}
	if got < n {
		return got, max(wait, time.Millisecond), nil
	}
	return got, 0, nil
}

func errInactive(a account.Account) *connect.Error {
	return refusal(connect.CodeFailedPrecondition, fault.Policy,
		"activate it: mailferry account edit "+a.Ref()+" --active", "account %s is inactive", a.Ref())
}

func errLimited(domain string, wait time.Duration) *connect.Error {
	return refusal(connect.CodeResourceExhausted, fault.Throttled, "wait so long, or let control take more of a domain (--triggers-per-minute)",
		"%s has used up its triggers for now: the next one is taken in %s", domain, fault.Span(wait.Round(time.Millisecond)))
}

// jobOf is the id of the job of an account that a request asks for: of the same request, the same job.
func jobOf(request, uid string) string {
	sum := sha256.Sum256([]byte(request + "\x00" + uid))
	return "m" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:20])
}

func outcomeOf(e *connect.Error) mailferryv1.TriggerOutcome {
	switch e.Code() {
	case connect.CodeNotFound:
		return unknown
	case connect.CodeInvalidArgument:
		return invalid
	default:
		return unavailable
	}
}

// wordsOf says what happened and what to do.
func wordsOf(e *connect.Error) string {
	for _, d := range e.Details() {
		v, err := d.Value()
		if f, ok := v.(*mailferryv1.Fault); err == nil && ok {
			return f.GetMessage() + "; " + f.GetAdvice()
		}
	}
	return e.Message()
}
