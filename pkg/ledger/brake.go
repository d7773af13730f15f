package ledger

import (
	"context"
	"encoding/binary"
)

const (
	// chunkSize is how many digests lie together.
	chunkSize = 128
	// identitySize is the length of an identity, keptSize that of one beside its folded LIST size.
	identitySize = 8
	keptSize     = identitySize + 2
)

// Digests are the identities of the messages that an account collected last, with their LIST sizes.
type Digests struct {
	kept  map[string]kept
	total int
	whole bool
}

type kept struct {
	n      int
	listed uint16
	unlike bool // they had different sizes
}

// Of returns how many messages with that identity were collected, and whether all of them had this LIST size.
// Without an identity it counts those that have none.
func (d Digests) Of(identity []byte, listed int64) (n int, same bool) {
	if len(identity) == 0 {
		identity = make([]byte, identitySize)
	}
	k := d.kept[string(identity)]
	return k.n, k.n > 0 && !k.unlike && listed > 0 && k.listed == FoldSize(listed)
}

// Covers says that a message whose identity is not here is none of those that the index of a maildrop has as
// collected, and that are still there. Otherwise some were collected without an identity, or there are more of them
// than identities are kept.
func (d Digests) Covers(ix *Index) bool {
	return d.whole && ix.Counts().Collected-len(ix.missing) <= d.total
}

// Digests reads the identities.
func (h *Hold) Digests(ctx context.Context) (Digests, error) {
	_, d, err := h.brake(ctx, "")
	return d, err
}

// Storm says that the server seems to number its messages anew, and reads the identities by which they are
// known again. The storm is remembered until Calm, also when the run ends before; runs counts those that began
// to compare and did not come to an end.
func (h *Hold) Storm(ctx context.Context) (runs int, d Digests, err error) { return h.brake(ctx, "1") }

// Calm says that what is listed was compared. The storm is over if that brought nothing to light any more.
func (h *Hold) Calm(ctx context.Context, over bool) error {
	what := "r"
	if over {
		what = "0"
	}
	_, _, err := h.brake(ctx, what)
	return err
}

func (h *Hold) brake(ctx context.Context, what string) (int, Digests, error) {
	reply, err := h.run(ctx, "brake", what)
	if err != nil {
		return 0, Digests{}, err
	}
	d := Digests{kept: make(map[string]kept)}
	pairs(list(reply, 2), func(field, s string) {
		switch field {
		case "n":
		case "whole":
			d.whole = true
		default:
			for ; len(s) >= keptSize; s = s[keptSize:] {
				d.total++
				d.add(s[:identitySize], binary.BigEndian.Uint16([]byte(s[identitySize:keptSize])))
			}
		}
	})
	return int(number(reply, 1)), d, nil
}

func (d Digests) add(identity string, listed uint16) {
	k := d.kept[identity]
	d.kept[identity] = kept{n: k.n + 1, listed: listed, unlike: k.unlike || k.n > 0 && k.listed != listed}
}

// Match takes over what was known again. New keys become collected, for they were accepted under another key:
// the time of their collection is now. Of collected ones the LIST size is put right. What is parked or marked
// stays what it is. As Mark does, it starts the UID sets of another UIDVALIDITY anew.
func (h *Hold) Match(ctx context.Context, items []Item) error {
	return h.pass(ctx, "match", items)
}

// Doubt says that unique-ids which are collected or deleting may name other messages now, and that nobody can
// tell: they are skipped from now on, so that nothing is deleted that was never collected.
func (h *Hold) Doubt(ctx context.Context, items []Item) error {
	return h.pass(ctx, "doubt", items)
}

// Storm says that a storm was noticed and is not over.
func (ix *Index) Storm() bool { return ix.storm }

// Renumbered returns the positions of the listed keys that may name other messages than their names say, or
// old ones: none, unless the server seems to number its messages anew. It does where most known unique-ids
// vanished at once and others came: then all are meant that are new, collected or deleting. It does for a mailbox
// of which messages are known under another UIDVALIDITY (RFC 9051 §2.3.1.1), and while a storm is not over: then
// what is new. Known is also what is in flight: under a lease, or held by TRANSIT.
func (ix *Index) Renumbered(listed []Key, held map[string]bool) []int {
	flying := make(map[string]bool)
	for k := range held { // also what has lost its mark
		flying[Key(k).raw()] = true
	}
	for raw, m := range ix.marks {
		if m.Leased {
			flying[raw] = true
		}
	}
	anew := ix.vanishedAtOnce(listed, flying)
	boxes := make(map[string]bool) // mailbox and UIDVALIDITY → numbered anew
	var out []int
	for i, k := range listed {
		raw := k.raw()
		if raw == "" || flying[raw] {
			continue
		}
		st := ix.state(raw)
		suspect := anew
		if len(raw) == 12 {
			box, ok := raw[:8], false
			if suspect, ok = boxes[box]; !ok {
				suspect = ix.madeAnew(box, flying)
				boxes[box] = suspect
			}
		}
		if st == StateNew && (suspect || ix.storm) || len(raw) == 7 && anew && (st == StateCollected || st == StateDeleting) {
			out = append(out, i)
		}
	}
	return out
}

// vanishedAtOnce says that most unique-ids that the last listing had are not listed now, and others are. Those that
// we deleted ourselves are left out of account.
func (ix *Index) vanishedAtOnce(listed []Key, flying map[string]bool) bool {
	known := ix.size() - len(ix.missing)
	for raw := range flying {
		if len(raw) == 7 {
			known++
		}
	}
	ours := func(raw string) bool { return ix.confirmed && ix.states[raw].kind == 'x' }
	for raw := range ix.states {
		if len(raw) == 7 && ours(raw) && ix.entry(raw) != "" {
			known--
		}
	}
	hits, fresh := 0, 0
	for _, k := range listed {
		raw := k.raw()
		switch {
		case len(raw) != 7 || ours(raw):
		case ix.entry(raw) != "" || flying[raw]:
			hits++
		case ix.state(raw) == StateNew:
			fresh++
		}
	}
	gone := known - hits
	return fresh > 0 && gone > 0 && 2*gone > known
}

// madeAnew says that messages of a mailbox are known under another UIDVALIDITY than this one.
func (ix *Index) madeAnew(box string, flying map[string]bool) bool {
	name, validity := box[:4], binary.BigEndian.Uint32([]byte(box[4:]))
	other := func(raw string) bool { return len(raw) == 12 && raw[:4] == name && raw[:8] != box }
	for raw := range flying {
		if other(raw) {
			return true
		}
	}
	b := ix.sets[name]
	if b.validity == validity { // what the tail has of another one is dropped when it is folded
		return false
	}
	if b.collected.count()+b.skipped.count() > 0 {
		return true
	}
	for raw := range ix.tail {
		if other(raw) {
			return true
		}
	}
	return false
}
