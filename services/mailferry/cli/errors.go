package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// UsageError is a command line that cannot be understood.
type UsageError struct{ Reason string }

// Error returns the reason.
func (e *UsageError) Error() string { return e.Reason }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// failure is an operation that failed, in words for people.
type failure struct{ kind, message, advice string }

func (f *failure) Error() string {
	var b strings.Builder
	b.WriteString(f.message)
	if f.advice != "" {
		b.WriteString("; " + f.advice)
	}
	if f.kind != "" {
		b.WriteString(" [" + f.kind + "]")
	}
	return b.String()
}

// errFault returns the fault of a run or an answer as an error about what, nil for none.
func errFault(what string, f *mailferryv1.Fault) error {
	if f == nil {
		return nil
	}
	msg := f.GetMessage()
	if what != "" {
		msg = what + ": " + msg
	}
	return &failure{fault.Kind(f.GetKind()).String(), msg, f.GetAdvice()}
}

// errReported ends a command whose failure was printed already.
var errReported = errors.New("failed")

// Fail prints err as one line on standard error and returns the exit code; nil is 0.
func Fail(env *Env, err error) int {
	var u *UsageError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errReported):
		return ExitFailed
	case errors.As(err, &u):
		_, _ = fmt.Fprintf(env.Stderr, "mailferry: %s\n", oneLine(u.Reason))
		return ExitUsage
	}
	printError(env, err)
	return ExitFailed
}

func printError(env *Env, err error) {
	f := explain(err)
	if env.json {
		line, _ := json.Marshal(map[string]map[string]string{"error": {"kind": f.kind, "message": f.message, "advice": f.advice}})
		_, _ = fmt.Fprintf(env.Stderr, "%s\n", line)
		return
	}
	_, _ = fmt.Fprintf(env.Stderr, "mailferry: %s\n", oneLine(f.Error()))
}

// explain finds the words for an error.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return &failure{"canceled", "interrupted", "what was triggered goes on; see 'mailferry runs'"}
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return &failure{fault.KindOf(err).String(), err.Error(), ""}
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if f, ok := v.(*mailferryv1.Fault); ok {
				return &failure{fault.Kind(f.GetKind()).String(), f.GetMessage(), f.GetAdvice()}
			}
		}
	}
	switch ce.Code() {
	case connect.CodeUnimplemented:
		return &failure{"protocol", "the server does not know this call", "is --server the address of mailferry's control, of the same version?"}
	case connect.CodeCanceled:
		return &failure{"canceled", "interrupted", "what was triggered goes on; see 'mailferry runs'"}
	}
	return &failure{strings.ReplaceAll(ce.Code().String(), "_", "-"), ce.Message(), ""}
}

// oneLine keeps a message on one line and harmless on a terminal.
func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }
