// Package schedule says when an account is due next. It is pure: time is an argument, and the spread of
// accounts over an interval comes from a hash of their uid, so that a million accounts "every five
// minutes" start evenly and every replica computes the same time.
package schedule

import (
	"hash/fnv"
	"time"
)

// Next returns the first start of the account after the given time. Starts lie on a grid of the interval
// that is shifted by a hash of uid; they do not depend on when a run finished, so they do not drift.
func Next(uid string, interval time.Duration, after time.Time) time.Time {
	if interval <= 0 {
		return time.Time{}
	}
	offset := Offset(uid, interval)
	since := after.UnixNano() - int64(offset)
	n := since / int64(interval)
	if since < 0 && since%int64(interval) != 0 {
		n--
	}
	return time.Unix(0, (n+1)*int64(interval)+int64(offset)).UTC()
}

// Offset returns the shift of the account's grid: at least 0, less than interval.
func Offset(uid string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))
	x := h.Sum64()
	// FNV's high bits vary little for short inputs that differ at their end: finish as splitmix64 does.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return time.Duration(x % uint64(interval))
}
