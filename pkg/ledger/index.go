package ledger

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// State is where a key stands in the index. Whether it is also marked says [Index.Mark].
type State uint8

// The states of a key.
const (
	StateNew State = iota
	StateCollected
	StateSkipped
	StateParked
	StateDeferred
	StateDeleting
)

// String returns the word of a state.
func (s State) String() string {
	words := [...]string{"new", "collected", "skipped", "parked", "deferred", "deleting"}
	if int(s) < len(words) {
		return words[s]
	}
	return "unknown"
}

// Counts is how many keys an account has in each state.
type Counts struct {
	Collected, Skipped, Parked, Deferred, Deleting, Marked int
	// Epoch of the index, "" if there is none; Job that holds the lock for this account, "" if none.
	Epoch, Job string
	// Watcher holds the lock for push, "" if nobody does, and since when.
	Watcher string
	Since   time.Time
}

const (
	entrySize  = 11
	skippedBit = 0x80
)

// Index is what an account has collected, with states and marks, as read in one step. It keeps the buckets
// as they lie in Redis: 11 bytes a key.
type Index struct {
	now     time.Time
	epoch   string
	listing uint32
	buckets []string
	entries int
	skipped int
	tail    map[string]string
	sets    map[string]boxSets
	states  map[string]keyState
	marks   map[string]Mark
	missing map[string]missing
	storm   bool
	pause   string
	quiet   map[string]quiet // by the first bytes of a raw key
	// confirmed says that what is deleting is gone: the server said so.
	confirmed bool
}

// boxSets are the UID sets of one IMAP mailbox.
type boxSets struct {
	validity           uint32
	collected, skipped uidSet
}

type keyState struct {
	kind   byte // as in the scripts: p d x g
	until  time.Time
	listed int64
	served bool // it keeps what a delivery recorded
}

// missing is a collected key that a complete listing did not have.
type missing struct{ listing, since uint32 }

// readIndex decodes the answer of the scripts' snapshot.
func readIndex(reply []any) *Index {
	ix := &Index{now: time.UnixMilli(number(reply, 1)), tail: make(map[string]string), sets: make(map[string]boxSets),
		states: make(map[string]keyState), marks: make(map[string]Mark), missing: make(map[string]missing),
		quiet: make(map[string]quiet)}
	pairs(list(reply, 2), ix.readMeta)
	pairs(list(reply, 3), func(field, s string) {
		if i, err := strconv.Atoi(field); err == nil && i >= 0 && i < len(ix.buckets) {
			ix.buckets[i] = s
		}
	})
	pairs(list(reply, 4), func(raw, value string) { ix.tail[raw] = value })
	pairs(list(reply, 5), ix.readSet)
	pairs(list(reply, 6), func(raw, s string) { ix.states[raw] = parseState(s) })
	pairs(list(reply, 7), func(raw, s string) {
		// A mark that cannot be read is one without a lease: it may be written over.
		m, _ := parseMark(s, ix.now)
		ix.marks[raw] = m
	})
	pairs(list(reply, 8), func(raw, s string) {
		if len(s) == 8 {
			ix.missing[raw] = missing{binary.BigEndian.Uint32([]byte(s)), binary.BigEndian.Uint32([]byte(s[4:]))}
		}
	})
	return ix
}

func (ix *Index) readMeta(field, s string) {
	n, _ := strconv.Atoi(s)
	switch field {
	case "epoch":
		ix.epoch = s
	case "listing":
		ix.listing = uint32(n)
	case "storm":
		ix.storm = true
	case "pause":
		ix.pause = s
	case "confirmed":
		ix.confirmed = true
	case "entries":
		ix.entries = n
	case "skipped":
		ix.skipped = n
	case "buckets":
		ix.buckets = make([]string, min(max(n, 0), 1<<20))
	}
}

func (ix *Index) readSet(field, s string) {
	if box, ok := strings.CutPrefix(field, quietField); ok && len(box) == 4 && ix.quiet != nil {
		if q, ok := parseQuiet(s); ok {
			ix.quiet[box] = q
		}
		return
	}
	v, set, ok := strings.Cut(s, ";")
	validity, err := strconv.ParseUint(v, 10, 32)
	if !ok || err != nil || len(field) != 5 {
		return
	}
	b := ix.sets[field[1:]]
	if field[0] == 'c' {
		if b.validity != uint32(validity) {
			b = boxSets{validity: uint32(validity)}
		}
		b.collected = parseUIDSet(set)
	} else if b.validity == 0 || b.validity == uint32(validity) {
		b.validity, b.skipped = uint32(validity), parseUIDSet(set)
	}
	ix.sets[field[1:]] = b
}

func parseState(s string) keyState {
	head, rest, _ := strings.Cut(s, "\n")
	f := strings.Split(head, " ")
	if len(f) < 2 || len(f[0]) != 1 {
		return keyState{}
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	st := keyState{kind: f[0][0], served: rest != ""}
	switch st.kind {
	case 'd', 'g':
		st.until = time.UnixMilli(n)
	default:
		st.listed = n
	}
	return st
}

// entry returns the 4-byte value of a key of 7 bytes, "" if it is not there.
func (ix *Index) entry(raw string) string {
	if v, ok := ix.tail[raw]; ok {
		return v
	}
	n := uint32(len(ix.buckets))
	if n == 0 || len(raw) != 7 {
		return ""
	}
	s := ix.buckets[bucketOf(raw, n)]
	for from := 0; ; {
		at := strings.Index(s[from:], raw)
		if at < 0 {
			return ""
		}
		if at += from; at%entrySize == 0 {
			return s[at+7 : at+entrySize]
		}
		from = at + 1
	}
}

// bucketOf is the scripts' linear hashing.
func bucketOf(raw string, n uint32) uint32 {
	x := binary.BigEndian.Uint32([]byte(raw[3:7]))
	m := uint32(1) << (bits.Len32(n) - 1)
	i := x & (2*m - 1)
	if i >= n {
		i = x & (m - 1)
	}
	return i
}

// State returns where a key stands; a key deferred until a time that has passed is new.
func (ix *Index) State(k Key) State { return ix.state(k.raw()) }

func (ix *Index) state(raw string) State {
	st := ix.states[raw]
	switch st.kind {
	case 'p':
		return StateParked
	case 'x':
		return StateDeleting
	}
	if len(raw) == 12 {
		if s := ix.imapState(raw); s != StateNew {
			return s
		}
	} else if v := ix.entry(raw); v != "" {
		if v[2]&skippedBit != 0 {
			return StateSkipped
		}
		return StateCollected
	}
	if st.kind == 'd' && st.until.After(ix.now) {
		return StateDeferred
	}
	return StateNew
}

func (ix *Index) imapState(raw string) State {
	if v, ok := ix.tail[raw]; ok {
		if v[2]&skippedBit != 0 {
			return StateSkipped
		}
		return StateCollected
	}
	b, ok := ix.sets[raw[:4]]
	if !ok || b.validity != binary.BigEndian.Uint32([]byte(raw[4:])) {
		return StateNew
	}
	uid := binary.BigEndian.Uint32([]byte(raw[8:]))
	switch {
	case b.collected.contains(uid):
		return StateCollected
	case b.skipped.contains(uid):
		return StateSkipped
	}
	return StateNew
}

// Mark returns the mark of a key, and whether it has one.
func (ix *Index) Mark(k Key) (Mark, bool) {
	m, ok := ix.marks[k.raw()]
	return m, ok
}

// Marks returns all marks, in no order.
func (ix *Index) Marks() iter.Seq2[Key, Mark] {
	return func(yield func(Key, Mark) bool) {
		for raw, m := range ix.marks {
			if k := keyOf(raw); k != "" && !yield(k, m) {
				return
			}
		}
	}
}

// Listed returns the folded LIST size (see [FoldSize]) under which a POP3 or content key was collected.
func (ix *Index) Listed(k Key) (uint16, bool) {
	raw := k.raw()
	if len(raw) != 7 {
		return 0, false
	}
	v := ix.entry(raw)
	if v == "" {
		return 0, false
	}
	return binary.BigEndian.Uint16([]byte(v)), true
}

// Days returns on how many days' ends ago, by Redis' clock, a POP3 or content key came into the index: 0 for
// today.
func (ix *Index) Days(k Key) (int, bool) {
	raw := k.raw()
	if len(raw) != 7 {
		return 0, false
	}
	v := ix.entry(raw)
	if v == "" {
		return 0, false
	}
	const wrap = skippedBit << 8
	today := int(ix.now.UnixMilli()/86400000 - 18262)
	days := (today - int(binary.BigEndian.Uint16([]byte(v[2:])))) & (wrap - 1)
	if days > wrap/2 { // the clock went back
		days = 0
	}
	return days, true
}

// Deleting returns the LIST size under which a deleting key was doomed.
func (ix *Index) Deleting(k Key) (listed int64, ok bool) {
	st := ix.states[k.raw()]
	return st.listed, st.kind == 'x'
}

// Validity returns the UIDVALIDITY of the UID sets of a key's mailbox, 0 if it has none.
func (ix *Index) Validity(k Key) uint32 {
	raw := k.raw()
	if len(raw) != 12 {
		return 0
	}
	return ix.sets[raw[:4]].validity
}

// ByContent says that it knows messages by another name than an IMAP one, as of a mailbox without UIDVALIDITY.
func (ix *Index) ByContent() bool { return ix.size() > 0 }

// Epoch is the epoch of the index, "" if there is none.
func (ix *Index) Epoch() string { return ix.epoch }

// Time is Redis' time at which the index was read.
func (ix *Index) Time() time.Time { return ix.now }

// Counts counts the keys in each state.
func (ix *Index) Counts() Counts {
	c := countIndex(ix.entries, ix.skipped, ix.tail, ix.sets)
	c.Marked, c.Epoch = len(ix.marks), ix.epoch
	for _, st := range ix.states {
		switch {
		case st.kind == 'p':
			c.Parked++
		case st.kind == 'x':
			c.Deleting++
		case st.kind == 'd' && st.until.After(ix.now):
			c.Deferred++
		}
	}
	return c
}

// countIndex counts collected and skipped keys; those that are also deleting count as collected.
func countIndex(entries, skipped int, tail map[string]string, sets map[string]boxSets) Counts {
	c := Counts{Collected: entries - skipped, Skipped: skipped}
	for _, b := range sets {
		c.Collected += b.collected.count()
		c.Skipped += b.skipped.count() - b.skipped.overlap(b.collected)
	}
	for raw, v := range tail {
		skipped := v[2]&skippedBit != 0
		if len(raw) == 12 {
			b := sets[raw[:4]]
			if b.validity != 0 && b.validity != binary.BigEndian.Uint32([]byte(raw[4:])) {
				continue
			}
			if !skipped && b.skipped.contains(binary.BigEndian.Uint32([]byte(raw[8:]))) {
				c.Skipped-- // it was skipped before
			}
		}
		if skipped {
			c.Skipped++
		} else {
			c.Collected++
		}
	}
	return c
}
