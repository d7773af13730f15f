package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// What a script refuses. Each comes wrapped in a fault: Canceled, but for ErrWrongKey, which is Internal.
var (
	// ErrStale says that a write of a run was refused: its lock, its account or its epoch is no longer there.
	ErrStale = errors.New("this run may no longer write")
	// ErrUntrusted says that the lock was not renewed in time, so it may have another holder.
	ErrUntrusted = errors.New("the lock can no longer be trusted")
	// ErrReleased is the cause of a hold's context after Release.
	ErrReleased = errors.New("the lock was released")
	// ErrLeaseLost says that the mark no longer bears the lease's token.
	ErrLeaseLost = errors.New("the lease on the message is lost")
	// ErrGone says that the account was erased.
	ErrGone = errors.New("the account was deleted")
	// ErrNotEnrolled says that Enroll was not called for the account, or Withdraw was: it may delete nothing.
	ErrNotEnrolled = errors.New("the account is not enrolled as active")
	// ErrWrongKey says that the index was made with another installation key.
	ErrWrongKey = errors.New("wrong installation key")
)

// BusyError says why Acquire did not get the lock; its kind is in-use.
type BusyError struct {
	// Account and Job hold the lock; when Queued, Account is the one that waits longest.
	Account, Job string
	// TTL is how long the lock stands if nobody renews it.
	TTL time.Duration
	// Same says that a run of the same account holds it, since Since: it was told to repeat once.
	Same  bool
	Since time.Time
	// Watched says that no run holds it but a session that waits for changes. It was told to yield.
	Watched bool
	// Queued says that the lock is free but another account has waited longer.
	Queued bool
}

// Error says who is in the way.
func (e *BusyError) Error() string {
	switch {
	case e.Queued:
		return "another account waits longer for this mailbox"
	case e.Watched:
		return "the mailbox is watched, and the watcher was told to yield"
	case e.Same:
		return fmt.Sprintf("job %s of this account is running", e.Job)
	}
	return fmt.Sprintf("the mailbox is held for another account for up to %s", fault.Span(e.TTL.Round(time.Millisecond)))
}

// MovedError says that the account lives in another slot. Who finds it at the slot that the directory names calls
// Reclaim.
type MovedError struct {
	To Slot
	// Moving says that the move has not ended: try again later.
	Moving bool
}

// Error says so.
func (e *MovedError) Error() string {
	if e.Moving {
		return "the index of the account is being moved to another mailbox"
	}
	return "the index of the account was moved to another mailbox"
}
