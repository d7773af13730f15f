package ledger

import (
	"sort"
	"strconv"
	"strings"
)

// uidSet is a UID set as disjoint ranges in order.
type uidSet []uidRange

type uidRange struct{ lo, hi uint32 }

// parseUIDSet reads a sequence-set as the scripts write it ("1:4711,4713"); what is out of form or order is
// left out.
func parseUIDSet(s string) uidSet {
	var set uidSet
	for s != "" {
		var part string
		part, s, _ = strings.Cut(s, ",")
		first, last, isRange := strings.Cut(part, ":")
		lo, err := strconv.ParseUint(first, 10, 32)
		if err != nil {
			continue
		}
		hi := lo
		if isRange {
			if hi, err = strconv.ParseUint(last, 10, 32); err != nil || hi < lo {
				continue
			}
		}
		if n := len(set); n > 0 && uint32(lo) <= set[n-1].hi {
			continue
		}
		set = append(set, uidRange{uint32(lo), uint32(hi)})
	}
	return set
}

func (s uidSet) contains(uid uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].hi >= uid })
	return i < len(s) && s[i].lo <= uid
}

func (s uidSet) count() int {
	n := 0
	for _, r := range s {
		n += int(r.hi-r.lo) + 1
	}
	return n
}

// overlap counts what is in both.
func (s uidSet) overlap(t uidSet) int {
	n := 0
	for i, j := 0, 0; i < len(s) && j < len(t); {
		lo, hi := max(s[i].lo, t[j].lo), min(s[i].hi, t[j].hi)
		if lo <= hi {
			n += int(hi-lo) + 1
		}
		if s[i].hi < t[j].hi {
			i++
		} else {
			j++
		}
	}
	return n
}
