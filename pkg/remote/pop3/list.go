package pop3

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

const (
	// maxUniqueID is what is kept of a unique-id. RFC 1939 §7 allows 70 octets; servers send more. One that
	// is longer than this is no key.
	maxUniqueID = 512
	// maxListLine bounds a line of UIDL or LIST; a longer one is passed over.
	maxListLine = 1024
	// octetsPerLine bounds a listing as a whole, per message that may be listed; octetsPerMessage, per message
	// that STAT has counted and moreThanCounted on top.
	octetsPerLine    = 128
	octetsPerMessage = maxUniqueID + 16
	moreThanCounted  = 1000
	// messagesPerAnswer is how many messages a server lists in the time that it has for an answer.
	messagesPerAnswer = 10_000
)

// entry is one line of UIDL or LIST.
type entry struct {
	number int
	text   string // UIDL: the unique-id
	size   int64  // LIST: octets
}

// table is what one of the two commands listed.
type table struct {
	entries []entry
	lines   int    // that came, good or bad
	note    string // what is wrong with it, the first thing only
	refused error  // -ERR
}

func (t *table) complain(format string, args ...any) {
	if t.note == "" {
		t.note = fmt.Sprintf(format, args...)
	}
}

// List asks STAT, UIDL and LIST, at once if the server takes commands at once, and keeps what UIDL and LIST
// agree on.
func (s *session) List(ctx context.Context) (remote.Listing, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return remote.Listing{}, err
	}
	defer leave()
	count, uidl, list, err := s.listings()
	if err != nil {
		return remote.Listing{}, s.end("pop3 list", err)
	}
	return merge(count, uidl, list), nil
}

func (s *session) listings() (count int, uidl, list table, err error) {
	commands := []string{"STAT", "UIDL", "LIST"}
	ahead := s.window() >= len(commands)
	if ahead {
		s.t.hold = true
		for _, c := range commands {
			if err = s.c.Send(c); err != nil {
				return
			}
		}
		if err = s.t.flush(); err != nil {
			return
		}
	}
	for _, c := range commands {
		ok := false
		if ahead {
			ok, err = s.answer()
		} else {
			ok, err = s.command(c)
		}
		if err != nil {
			return
		}
		switch c {
		case "STAT":
			count, err = s.stat(ok)
		case "UIDL":
			uidl, err = s.table(ok, count, parseUIDL)
		case "LIST":
			list, err = s.table(ok, count, parseLIST)
		}
		if err != nil {
			return
		}
	}
	return count, uidl, list, s.refusedTables(count, &uidl, &list)
}

// stat reads the answer to STAT (RFC 1939 §5): the number of messages.
func (s *session) stat(ok bool) (int, error) {
	if !ok {
		return 0, s.refusal("pop3 stat", fault.Unavailable)
	}
	f := bytes.Fields(s.t.status[len("+OK"):])
	if len(f) == 0 {
		return 0, fault.Errorf(fault.Protocol, "pop3 stat", "no number of messages: %s", s.t.quote(string(s.t.status)))
	}
	n, valid := number(f[0])
	if !valid && string(f[0]) != "0" {
		return 0, fault.Errorf(fault.Protocol, "pop3 stat", "not a number of messages: %s", s.t.quote(string(s.t.status)))
	}
	return n, nil
}

// refusedTables decides what a -ERR to UIDL or LIST means: an empty maildrop, a server without UIDL
// (it is optional), or a failure.
func (s *session) refusedTables(count int, uidl, list *table) error {
	if count == 0 {
		return nil
	}
	if list.refused != nil {
		return list.refused
	}
	if uidl.refused == nil {
		return nil
	}
	if k := fault.KindOf(uidl.refused); k != fault.Protocol {
		return uidl.refused
	}
	for _, e := range list.entries { // without unique-ids
		uidl.entries = append(uidl.entries, entry{number: e.number})
	}
	uidl.lines, uidl.note = list.lines, list.note
	return nil
}

// table reads a multi-line answer with at most Limits.List entries, in octets and time that go with what STAT
// has counted.
func (s *session) table(ok bool, count int, parse func([]byte) (entry, bool)) (table, error) {
	if !ok {
		return table{refused: s.refusal("pop3 list", fault.Protocol)}, nil
	}
	most := min(s.t.limits.List, count+moreThanCounted)
	octets := min(int64(s.t.limits.List)*octetsPerLine, int64(most)*octetsPerMessage)
	s.t.AnswerWithin(s.t.limits.Command * time.Duration(1+most/messagesPerAnswer))
	b := newBody(s.t.r, octets+bufferSize)
	t := readTable(b, most, parse)
	if errors.Is(b.end, io.EOF) {
		return t, nil
	}
	if b.end != nil {
		return t, b.end
	}
	return t, fault.Errorf(fault.Protocol, "pop3 list", "the listing is larger than %d octets", b.limit)
}

// readTable reads entries until b ends. A line that cannot be read is passed over and noted.
func readTable(b io.Reader, limit int, parse func([]byte) (entry, bool)) table {
	var t table
	r := bufio.NewReaderSize(b, maxListLine)
	for {
		line, err := r.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if len(line) > 0 {
			t.lines++
			e, ok := parse(bytes.TrimRight(line, "\r\n"))
			switch {
			case long || !ok:
				t.complain("line %d cannot be read", t.lines)
			case len(t.entries) == limit:
				t.complain("more than %d messages are listed", limit)
			default:
				t.entries = append(t.entries, e)
			}
		}
		if err != nil {
			return t
		}
	}
}

// parseUIDL reads "number unique-id" (RFC 1939 §7). Real servers send more than one blank, blanks within the
// unique-id, and none at all.
func parseUIDL(line []byte) (entry, bool) {
	num, rest, _ := bytes.Cut(bytes.TrimLeft(line, " "), []byte(" "))
	n, ok := number(num)
	uid := bytes.Trim(rest, " ")
	if len(uid) > maxUniqueID {
		uid = nil
	}
	return entry{number: n, text: string(uid)}, ok
}

// parseLIST reads "number octets" (RFC 1939 §5). The size is advice: one that cannot be read is 0.
func parseLIST(line []byte) (entry, bool) {
	f := bytes.Fields(line)
	if len(f) == 0 {
		return entry{}, false
	}
	n, ok := number(f[0])
	e := entry{number: n}
	if len(f) > 1 {
		e.size = octets(f[1])
	}
	return e, ok
}

// number reads a message number, 1 to 2^31-1: digits and nothing else.
func number(b []byte) (int, bool) {
	n := octets(b)
	return int(n), n > 0 && n <= math.MaxInt32
}

// octets reads digits; 0 for anything else, also for what is larger than an int64 can hold.
func octets(b []byte) int64 {
	if len(b) == 0 || len(b) > 18 {
		return 0
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// merge keeps what UIDL and LIST agree on, by number. What they, or STAT, say differently makes the listing
// incomplete; a number that one of the two gives twice is kept for neither.
func merge(count int, uidl, list table) remote.Listing {
	var doubt table // of the listing as a whole
	for _, t := range []struct {
		name string
		table
	}{{"UIDL", uidl}, {"LIST", list}} {
		if t.note != "" {
			doubt.complain("%s: %s", t.name, t.note)
		}
	}
	if count != uidl.lines || count != list.lines {
		doubt.complain("STAT counts %d messages, UIDL %d, LIST %d", count, uidl.lines, list.lines)
	}
	uids, sizes := once(uidl.entries, "UIDL", &doubt), once(list.entries, "LIST", &doubt)
	seen := make(map[string]int, len(uids))
	for _, e := range uids {
		seen[e.text]++
	}
	items := make([]remote.Item, 0, len(uids))
	for _, e := range uids {
		for len(sizes) > 0 && sizes[0].number < e.number {
			doubt.complain("LIST has number %d, UIDL has not", sizes[0].number)
			sizes = sizes[1:]
		}
		if len(sizes) == 0 || sizes[0].number != e.number {
			doubt.complain("UIDL has number %d, LIST has not", e.number)
			continue
		}
		if seen[e.text] > 1 { // no key
			e.text = ""
		}
		items = append(items, remote.Item{Number: e.number, UniqueID: e.text, Size: sizes[0].size})
		sizes = sizes[1:]
	}
	if len(sizes) > 0 {
		doubt.complain("LIST has number %d, UIDL has not", sizes[0].number)
	}
	return remote.Listing{Items: items, Complete: doubt.note == "", Note: doubt.note}
}

// once returns the entries in the order of their numbers, without those whose number comes twice.
func once(entries []entry, name string, doubt *table) []entry {
	byNumber := func(a, b entry) int { return cmp.Compare(a.number, b.number) }
	if !slices.IsSortedFunc(entries, byNumber) {
		slices.SortFunc(entries, byNumber)
	}
	out := entries[:0]
	for i := 0; i < len(entries); {
		same := i + 1
		for same < len(entries) && entries[same].number == entries[i].number {
			same++
		}
		if same == i+1 {
			out = append(out, entries[i])
		} else {
			doubt.complain("%s has number %d twice", name, entries[i].number)
		}
		i = same
	}
	return out
}
