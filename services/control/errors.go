package control

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// refusal returns an error of the API: what happened, and as a detail its kind and what to do.
func refusal(code connect.Code, kind fault.Kind, advice, format string, args ...any) *connect.Error {
	msg := fmt.Sprintf(format, args...)
	e := connect.NewError(code, errors.New(msg))
	d, err := connect.NewErrorDetail(&mailferryv1.Fault{Kind: mailferryv1.FaultKind(kind), Message: msg, Advice: advice})
	if err == nil {
		e.AddDetail(d)
	}
	return e
}

func errUnauthenticated() *connect.Error {
	return refusal(connect.CodeUnauthenticated, fault.Auth,
		"send the token of this installation: --token-file, MAILFERRY_TOKEN_FILE or MAILFERRY_TOKEN", "the token is missing or not known")
}

// errField refuses a request because of one of its fields.
func errField(field, format string, args ...any) *connect.Error {
	reason := fmt.Sprintf(format, args...)
	return refusal(connect.CodeInvalidArgument, fault.Policy, "correct "+field, "%s: %s", field, reason)
}

// errInvalid turns what a validation says into an errField.
func errInvalid(err error) *connect.Error {
	var a *account.Error
	if errors.As(err, &a) {
		return errField(a.Field, "%s", a.Reason)
	}
	return refusal(connect.CodeInvalidArgument, fault.Policy, "correct the request", "%s", err)
}

func errNoAccount(ref string) *connect.Error {
	return refusal(connect.CodeNotFound, fault.NotFound, "see 'mailferry account list' for the names there are",
		"account %s does not exist", ref)
}

// asError gives an error of a room its code. An error of the API passes as it is; what says which account
// or thing it is about.
func asError(what string, err error) error {
	if err == nil {
		return nil
	}
	var done *connect.Error
	if errors.As(err, &done) {
		return done
	}
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	kind := fault.KindOf(err)
	code, advice := connect.CodeInternal, "see the logs of control; 'mailferry status' shows what answers"
	switch kind {
	case fault.NotFound:
		code, advice = connect.CodeNotFound, "see 'mailferry account list' for the names there are"
	case fault.Policy:
		code, advice = connect.CodeFailedPrecondition, fault.Policy.Verdict().Advice
	case fault.BackPressure:
		code, advice = connect.CodeResourceExhausted, "deliveries are slower than fetches; try again in a minute"
	case fault.Timeout, fault.Network, fault.Refused, fault.Unavailable, fault.DNS:
		code, advice = connect.CodeUnavailable, "check that NATS and Redis are up: 'mailferry status'"
	case fault.Canceled:
		code, advice = connect.CodeUnavailable, "try again"
	default:
	}
	return refusal(code, kind, advice, "%s: %s", what, fault.Proto(err).GetMessage())
}
