package ledger

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Mark says of a message that it is on its way to its destination.
type Mark struct {
	// Raw is the mark as read; MarkRequest.Seen takes it.
	Raw string
	// Epoch of the index under which it was made.
	Epoch        string
	Size, Listed int64
	// Attempts counts fetches, Takes deliveries that have neither ended it nor given it back.
	Attempts, Takes int
	// Until is when the lease on it ends, zero if there is none; Leased says that it is live.
	Until  time.Time
	Leased bool
	// Route is what delivery decided, nil if nothing yet; Served are the recipients that have it.
	Route  []byte
	Served []string
}

var errMark = errors.New("not a mark")

// parseMark decodes a mark as the scripts write it.
func parseMark(raw string, now time.Time) (Mark, error) {
	m := Mark{Raw: raw}
	head, blob, ok := strings.Cut(raw, "\n")
	f := strings.Split(head, " ")
	if !ok || len(f) != 7 || !word(f[0]) {
		return m, errMark
	}
	var n [5]int64
	for i, j := range []int{1, 2, 3, 4, 6} {
		v, err := strconv.ParseInt(f[j], 10, 64)
		if err != nil || v < 0 {
			return m, errMark
		}
		n[i] = v
	}
	route, served, err := parseBlob(blob)
	if err != nil || n[2] > 1<<31-1 || n[3] > 1<<31-1 {
		return m, errMark
	}
	m.Epoch, m.Size, m.Listed, m.Attempts, m.Takes = f[0], n[0], n[1], int(n[2]), int(n[3])
	m.Route, m.Served = route, served
	if n[4] != 0 {
		m.Until = time.UnixMilli(n[4])
		m.Leased = m.Until.After(now)
	}
	return m, nil
}

// blob is the part of a mark that no script reads: route, then the recipients served, each behind its
// length; "" when there is neither.
func blob(route []byte, served []string) string {
	if len(route) == 0 && len(served) == 0 {
		return ""
	}
	b := binary.AppendUvarint(nil, uint64(len(route)))
	b = append(b, route...)
	for _, s := range served {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return string(b)
}

func parseBlob(s string) (route []byte, served []string, err error) {
	for first := true; s != ""; first = false {
		n, w := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
		if w <= 0 || n > uint64(len(s)-w) {
			return nil, nil, errMark
		}
		part := s[w : w+int(n)]
		s = s[w+int(n):]
		switch {
		case !first:
			served = append(served, part)
		case n > 0:
			route = []byte(part)
		}
	}
	return route, served, nil
}
