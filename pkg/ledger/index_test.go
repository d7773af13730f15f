package ledger

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// twin is the index as anybody would write it.
type twin map[Key]State

// TestIndexTwin lets random commits, skips and deletions run through the scripts, with small buckets, and
// compares with a map.
func TestIndexTwin(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{})
			h.mutate("local LOAD, TAIL, MANY, ENTRY = 128, 128, 32, 11", "local LOAD, TAIL, MANY, ENTRY = 6, 10, 4, 11")
			rnd := rand.New(rand.NewPCG(seed, 2))
			hold := h.open("a1", "e1")
			key := func(i int) Key { return h.uid(i) }
			if seed == 2 {
				key = func(i int) Key { return h.keyer.IMAP([]string{"INBOX", "Sent"}[i%2], 7, uint32(1+i/2)) }
			}
			all := make(twin)
			for range 150 {
				h.churn(hold, rnd, all, key)
			}
			h.compare(hold, all, key)
		})
	}
}

// churn commits, skips, or forgets some of 400 keys.
func (h *house) churn(hold *Hold, rnd *rand.Rand, all twin, key func(int) Key) {
	h.t.Helper()
	from := rnd.IntN(400)
	switch rnd.IntN(4) {
	case 0, 1:
		n := 1 + rnd.IntN(20)
		h.commitAll("a1", "e1", n, func(i int) Key { return key(from + i) })
		for i := range n {
			all[key(from+i)] = StateCollected
		}
	case 2:
		h.ok(hold.Skip(ctx, []Item{{key(from), 5}, {key(from + 1), 5}}))
		for i := range 2 {
			if all[key(from+i)] == StateNew {
				all[key(from+i)] = StateSkipped
			}
		}
	default:
		var keys []Key
		for i := range 1 + rnd.IntN(30) {
			if k := key(from + i); len(k.raw()) == 7 && all[k] == StateCollected {
				keys = append(keys, k)
				delete(all, k)
			}
		}
		h.ok(hold.Reused(ctx, keys))
		h.pass(h.cfg.Ghost + time.Second) // their ghosts would answer the next commit
		h.env.Client.HSet(ctx, h.slot.key("lock"), "until", 1<<50)
	}
}

func (h *house) compare(hold *Hold, all twin, key func(int) Key) {
	h.t.Helper()
	ix := h.reload(hold)
	collected, skipped := 0, 0
	for i := range 500 {
		want := all[key(i)]
		if got := ix.State(key(i)); got != want {
			h.t.Errorf("key %d: %v, want %v", i, got, want)
		}
		switch want {
		case StateCollected:
			collected++
		case StateSkipped:
			skipped++
		}
	}
	if c := ix.Counts(); c.Collected != collected || c.Skipped != skipped {
		h.t.Errorf("counts %+v, want %d collected and %d skipped", c, collected, skipped)
	}
	c, err := h.State(ctx, h.slot, "a1")
	h.ok(err)
	if c.Collected != collected || c.Skipped != skipped {
		h.t.Errorf("state %+v, want %d collected and %d skipped", c, collected, skipped)
	}
}

// TestUIDSetTwin puts UIDs into a set in a random order, through the scripts, and reads it as Go does.
func TestUIDSetTwin(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.open("a1", "e1")
	rnd := rand.New(rand.NewPCG(3, 4))
	want := make(map[uint32]bool)
	for range 40 {
		spread := 1 + rnd.IntN(2000)
		h.commitAll("a1", "e1", 150, func(int) Key {
			uid := uint32(1 + rnd.IntN(spread))
			if rnd.IntN(50) == 0 {
				uid = 1<<32 - 1 - uid
			}
			want[uid] = true
			return h.keyer.IMAP("INBOX", 7, uid)
		})
	}
	h.commitAll("a1", "e1", 129, func(i int) Key { return h.keyer.IMAP("other", 7, uint32(1+i)) }) // folds what is open
	raw := h.keyer.IMAP("INBOX", 7, 1).raw()
	text := h.rdb.HGet(ctx, h.slot.accountKeys("a1")[3], "c"+raw[:4]).Val()
	var set uidSet
	if len(text) > 2 {
		set = parseUIDSet(text[2:])
	}
	if n := set.count(); n != len(want) {
		t.Fatalf("%d UIDs, want %d", n, len(want))
	}
	for i, r := range set {
		if i > 0 && r.lo <= set[i-1].hi+1 {
			t.Fatalf("ranges %v and %v are one", set[i-1], r)
		}
	}
	for uid := range want {
		if !set.contains(uid) {
			t.Fatalf("no %d", uid)
		}
	}
}

func TestUIDSet(t *testing.T) {
	t.Parallel()
	set := parseUIDSet("1:3,5,7:9,8,x,20:10,4294967295")
	if n := set.count(); n != 8 {
		t.Errorf("%d UIDs in %v", n, set)
	}
	if n := set.overlap(parseUIDSet("2:8,4294967295")); n != 6 {
		t.Errorf("overlap %d", n)
	}
	if n := parseUIDSet("1:4294967295").count(); n != 1<<32-1 {
		t.Errorf("all UIDs are %d", n)
	}
}

func TestFoldSize(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]uint16{0: 0, 1: 1, 65535: 65535, 65536: 1, 65537: 0} {
		if got := FoldSize(size); got != want {
			t.Errorf("%d folds to %d, want %d", size, got, want)
		}
	}
}

// TestAlignment finds a key whose bytes also lie across two entries.
func TestAlignment(t *testing.T) {
	t.Parallel()
	raw := "\x01\x02\x03\x04\x05\x06\x07"
	across := "\x00\x00\x00\x00\x00\x01\x02" + "\x03\x04\x05\x06" + "\x07\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	ix := &Index{buckets: []string{across}}
	if ix.entry(raw) != "" {
		t.Error("found across two entries")
	}
	ix.buckets[0] += raw + "\x00\x05\x00\x01"
	if v := ix.entry(raw); v == "" || binary.BigEndian.Uint16([]byte(v)) != 5 {
		t.Errorf("entry %q", v)
	}
}
