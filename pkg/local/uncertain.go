package local

import "errors"

// UncertainError wraps the failure of a hand-over whose outcome is not known: the last octets were
// sent and no answer came. Trying again may make a second copy.
type UncertainError struct {
	Err error
	// Shared says that it is another hand-over's failure, too, and counts once.
	Shared bool
}

// Error returns the cause and says that the outcome is not known.
func (e *UncertainError) Error() string { return e.Err.Error() + " (outcome not known)" }

// Unwrap returns the cause.
func (e *UncertainError) Unwrap() error { return e.Err }

// Uncertain says whether err leaves the outcome of a hand-over open.
func Uncertain(err error) bool {
	var u *UncertainError
	return errors.As(err, &u)
}
