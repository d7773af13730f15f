// Package fault holds the one closed list of what can go wrong, and the error that carries it.
//
// An error gets its kind in the room that saw it happen; everybody above wraps it with %w, and
// whoever decides asks [KindOf]. Text that came from a remote server passes [Clean] before it
// becomes part of an error.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Error is an error with a kind.
type Error struct {
	Kind Kind
	// Op is what was being done, lower case, for instance "pop3 list".
	Op  string
	Err error
	// Until is the time before which a retry is useless, where the remote named one.
	Until time.Time
}

// New returns an error of the kind, or nil if err is nil.
func New(kind Kind, op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Op: op, Err: err}
}

// Errorf returns an error of the kind with a formatted cause.
func Errorf(kind Kind, op, format string, args ...any) error {
	return &Error{Kind: kind, Op: op, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind only where it has none yet: what is known of it by [KindOf], else fallback.
func Wrap(fallback Kind, op string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", op, err)
	}
	k := guess(err)
	if k == Internal {
		k = fallback
	}
	return &Error{Kind: k, Op: op, Err: err}
}

// Error returns "op: cause".
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err: the outermost [Error] in its tree, else what contexts, sockets and
// system calls say, else Internal. It returns None for nil.
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return guess(err)
}

func guess(err error) Kind {
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.As(err, &dns):
		return DNS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Network
	case errors.As(err, &ne):
		if ne.Timeout() {
			return Timeout
		}
		return Network
	}
	return Internal
}

// UntilOf returns the time before which a retry is useless, or the zero time.
func UntilOf(err error) time.Time {
	var e *Error
	if errors.As(err, &e) {
		return e.Until
	}
	return time.Time{}
}

// Proto returns err as it is shown to people, or nil for nil.
func Proto(err error) *mailferryv1.Fault {
	if err == nil {
		return nil
	}
	k := KindOf(err)
	return &mailferryv1.Fault{Kind: mailferryv1.FaultKind(k), Message: cut(err.Error(), 600), Advice: k.Verdict().Advice}
}

// maxRemoteText bounds what is quoted of a remote server's answer, in bytes.
const maxRemoteText = 200

// Clean cuts text of a remote server to 200 bytes and escapes everything that is not printable,
// so that it can neither forge a log line nor flood one.
func Clean(s string) string {
	q := strconv.QuoteToGraphic(cut(s, maxRemoteText))
	return q[1 : len(q)-1]
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
