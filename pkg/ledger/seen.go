package ledger

import (
	"context"
	"time"
)

// event is one change that a listing brings; the letters are the script's.
type event struct {
	what string
	raw  string
}

// Maildrop stands for a POP3 maildrop, which has no name, among the mailboxes of Seen.
const Maildrop = ""

// Seen tells what the remote lists, and which mailboxes ([Key.Mailbox]) are listed whole: of the others nothing
// is concluded. It compares with Index(); only what changed goes to Redis, and nothing at all if nothing did.
func (h *Hold) Seen(ctx context.Context, listed []Item, whole ...string) error {
	if len(whole) == 0 {
		return nil
	}
	ix := h.Index()
	events := ix.compare(listed, whole, h.l.cfg)
	if len(events) == 0 && len(ix.missing) == 0 {
		return nil
	}
	return h.send(ctx, events, "1")
}

// Reused says that unique-ids which are collected or deleting name other messages now: they are new.
func (h *Hold) Reused(ctx context.Context, keys []Key) error {
	if len(keys) == 0 {
		return nil
	}
	events := make([]event, 0, len(keys))
	for _, k := range keys {
		raw, err := rawOf("ledger reused", k)
		if err != nil {
			return err
		}
		what := "U"
		if h.Index().state(raw) == StateDeleting {
			what = "N"
		}
		events = append(events, event{what, raw})
	}
	return h.send(ctx, events, "0")
}

// send tells Redis what changed; first is "1" for the first batch of a listing.
func (h *Hold) send(ctx context.Context, events []event, first string) error {
	for {
		n := min(len(events), maxBatch)
		args := []any{first, h.l.cfg.Grace.Milliseconds(), h.l.cfg.Listings, h.l.cfg.Ghost.Milliseconds()}
		for _, e := range events[:n] {
			args = append(args, e.what, e.raw)
		}
		if _, err := h.run(ctx, "seen", args...); err != nil {
			return err
		}
		if events, first = events[n:], "0"; len(events) == 0 {
			return nil
		}
	}
}

// compare returns what a listing changes, of which these mailboxes are whole.
func (ix *Index) compare(listed []Item, whole []string, cfg Config) []event {
	var events []event
	in := make(map[string]bool, len(whole))
	for _, m := range whole {
		in[rawBox(m)] = true
	}
	here := make(map[string]bool)
	note := len(ix.states) > 0 || len(ix.missing) > 0
	hits := 0
	for _, it := range listed {
		raw := it.Key.raw()
		if !in[boxOf(raw)] {
			continue
		}
		if note {
			here[raw] = true
		}
		if st := ix.states[raw]; st.kind == 'x' && st.listed != it.Listed {
			events = append(events, event{"N", raw})
		}
		if len(raw) == 7 && ix.entry(raw) != "" {
			hits++
		}
		if _, ok := ix.missing[raw]; ok {
			events = append(events, event{"B", raw})
		}
	}
	for raw, st := range ix.states {
		switch {
		case !in[boxOf(raw)]:
		case st.kind == 'x' && !here[raw]:
			events = append(events, event{"F", raw})
		case st.kind == 'd' && !here[raw] && st.over(ix.now, cfg.Grace):
			events = append(events, event{"D", raw})
		case st.kind == 'g' && !st.until.After(ix.now):
			events = append(events, event{"G", raw})
		}
	}
	if !in[Maildrop] {
		return events
	}
	for raw, m := range ix.missing {
		if !here[raw] && ix.listing+1 >= m.listing+uint32(cfg.Listings)-1 {
			events = append(events, event{"R", raw})
		}
	}
	if hits < ix.size() {
		events = ix.vanished(listed, events)
	}
	return events
}

// over says that a deferred key that is not listed may be forgotten. What a delivery recorded of it is kept
// longer: the listing may be short.
func (st keyState) over(now time.Time, grace time.Duration) bool {
	if st.served {
		return !st.until.Add(grace).After(now)
	}
	return !st.until.After(now)
}

// size is the number of POP3 and content keys.
func (ix *Index) size() int {
	n := ix.entries
	for raw := range ix.tail {
		if len(raw) == 7 {
			n++
		}
	}
	return n
}

// vanished adds the collected keys that are not listed and not known to be missing.
func (ix *Index) vanished(listed []Item, events []event) []event {
	here := make(map[string]bool, len(listed))
	for _, it := range listed {
		here[it.Key.raw()] = true
	}
	check := func(raw string, value string) {
		if _, known := ix.missing[raw]; known || here[raw] || value[2]&skippedBit != 0 || ix.states[raw].kind == 'x' {
			return
		}
		events = append(events, event{"V", raw})
	}
	for _, s := range ix.buckets {
		for i := 0; i+entrySize <= len(s); i += entrySize {
			check(s[i:i+7], s[i+7:i+entrySize])
		}
	}
	for raw, value := range ix.tail {
		if len(raw) == 7 {
			check(raw, value)
		}
	}
	return events
}
