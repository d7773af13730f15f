package schedule

import (
	"strconv"
	"time"
)

// Curve is how long an account waits after failures in a row: First after one, twice as long for each one more, at most
// Cap. One whose Cap is its First is flat: a slow probe. None waits at no time.
type Curve struct{ First, Cap time.Duration }

// Wait returns how long an account waits after its n-th failure in a row (n from 1).
func (c Curve) Wait(n int) time.Duration {
	d := c.First
	for i := 1; i < n && d < c.Cap; i++ {
		d *= 2
	}
	return min(d, c.Cap)
}

// Retry returns when an account is tried again that failed at the time now for the n-th time in a row: as its curve says, and
// not before until, if that is set. So that those that failed together do not come together, up to a tenth of the time is
// added, a minute at most: by a hash of uid and n, so that every replica computes the same.
func Retry(uid string, c Curve, n int, now, until time.Time) time.Time {
	at := now.Add(c.Wait(n))
	if until.After(at) {
		at = until
	}
	if most := min(at.Sub(now)/10, time.Minute); most > 0 {
		at = at.Add(Offset(uid+strconv.Itoa(n), most))
	}
	return at
}
