package simulate

import (
	"math"
	"math/bits"
	"time"
)

// lags counts waits of milliseconds: exactly below 128 ms, else to within a hundredth.
type lags struct {
	n   [27 * 64]uint64
	all uint64
	max uint32
}

func (l *lags) add(ms uint32) {
	l.n[slot(ms)]++
	l.all++
	l.max = max(l.max, ms)
}

// slot is the place of a wait: 64 for each doubling.
func slot(ms uint32) int {
	if ms < 128 {
		return int(ms)
	}
	up := bits.Len32(ms) - 7
	return up*64 + int(ms>>up)
}

// least is the shortest wait of a slot.
func least(slot int) uint32 {
	if slot < 128 {
		return uint32(slot)
	}
	up := slot/64 - 1
	return uint32(slot-up*64) << up
}

// quantile returns the wait that a share q of all is not longer than.
func (l *lags) quantile(q float64) time.Duration {
	want := uint64(math.Ceil(q * float64(l.all)))
	var seen uint64
	for i, n := range l.n {
		if seen += n; n > 0 && seen >= want {
			return ms(min(least(i+1)-1, l.max))
		}
	}
	return 0
}

func (l *lags) merge(o *lags) {
	for i, n := range o.n {
		l.n[i] += n
	}
	l.all += o.all
	l.max = max(l.max, o.max)
}

func ms(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
