package transit

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/fault"
)

// What a caller has to tell apart; each comes wrapped in a fault error.
var (
	// ErrHeld refuses a message because TRANSIT holds one of its key: it is in flight already.
	ErrHeld = errors.New("already in transit")
	// ErrFull refuses a message because TRANSIT or BODIES is at its limit.
	ErrFull = errors.New("transit is full")
	// ErrBodyGone says that the body of a message is in the object store no more.
	ErrBodyGone = errors.New("the body is gone")
	// ErrBodyDamaged says that a body has not the size or the digest it was sent with.
	ErrBodyDamaged = errors.New("the body is damaged")
	// ErrNotFound says that there is no such dead letter.
	ErrNotFound = errors.New("no such dead letter")
	// ErrStopped is what Next returns after Stop.
	ErrStopped = errors.New("the intake is stopped")
	// ErrSettled refuses to settle a parcel a second time.
	ErrSettled = errors.New("the parcel is settled already")
)

var (
	errNoStream  = errors.New("no stream listens")
	errNoAnswer  = errors.New("no answer from NATS in time")
	errAbandoned = errors.New("abandoned")
)

// API error codes of nats-server.
const (
	codeInsufficientResources = 10023
	codeMemoryExceeded        = 10028
	codeStorageExceeded       = 10047
	codeStoreFailed           = 10077
)

// failure gives err a kind: what stops on purpose is Canceled, everything else that goes wrong
// between us and NATS is Internal, so that no remote server is blamed for it.
func failure(op string, err error) error {
	var e *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, op, err)
	case errors.Is(err, ErrHeld):
		return fault.New(fault.InUse, op, err)
	case errors.Is(err, ErrFull):
		return fault.New(fault.BackPressure, op, err)
	case errors.Is(err, ErrNotFound):
		return fault.New(fault.NotFound, op, err)
	}
	return fault.New(fault.Internal, op, err)
}

// refusal turns the error of a PubAck into ErrHeld or ErrFull where it means one of them: 10077 is
// every limit of a stream, told apart by its text only.
func refusal(e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeStoreFailed:
		if strings.Contains(e.Description, "per subject") {
			return ErrHeld
		}
		if strings.Contains(e.Description, "maximum messages") || strings.Contains(e.Description, "maximum bytes") {
			return ErrFull
		}
	case codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded:
		return ErrFull
	}
	return e
}

// isCode reports whether err is an API error with the code.
func isCode(err error, code jetstream.ErrorCode) bool {
	var e *jetstream.APIError
	if errors.As(err, &e) {
		return e.ErrorCode == code
	}
	return false
}
