package ledger

import (
	"context"
	"fmt"
	"time"
)

// quietFor is how long after a mailbox was listed whole a record of Quiet is good. After it the mailbox is listed again, whatever the server says of
// it: there are servers that count wrongly.
const quietFor = 6 * time.Hour

// QuietMailbox is what an IMAP server said of a mailbox (RFC 9051 §6.3.11) when nothing in it was left to do.
type QuietMailbox struct {
	Mailbox                        string // Key.Mailbox
	UIDValidity, UIDNext, Messages uint32
	// Since is when the mailbox was listed whole last, in seconds by Redis' clock; 0: now.
	Since int64
}

// quietField is the field of a record among the UID sets of an account: it comes, goes and moves with them.
const quietField = "quiet"

// fields is a record as it is written: its field, all of its value but the time, and the time.
func (q QuietMailbox) fields(revision uint64) (field, value string, since int64) {
	return quietField + rawBox(q.Mailbox), fmt.Sprintf("%d %d %d %d", revision, q.UIDValidity, q.UIDNext, q.Messages), q.Since
}

// Quiet puts on record that of these mailboxes every message is collected or skipped, or marked and on its way, and
// nothing is to be done at the remote server, under this revision of the account. Records of other revisions are
// dropped. The record of a mailbox goes when another of its messages is marked, or one is parked no more: as long as
// there is one, what is neither collected nor skipped is [Index.Pending].
func (h *Hold) Quiet(ctx context.Context, revision uint64, mailboxes []QuietMailbox) error {
	var drop []any
	ix := h.Index()
	for box := range ix.quiet {
		if ix.quiet[box].revision != revision {
			drop = append(drop, quietField+box)
		}
	}
	for len(mailboxes) > 0 || len(drop) > 0 {
		n := min(len(mailboxes), maxBatch)
		args := append([]any{len(drop)}, drop...)
		for _, q := range mailboxes[:n] {
			field, value, since := q.fields(revision)
			args = append(args, field, value, since)
		}
		if _, err := h.run(ctx, "quiet", args...); err != nil {
			return err
		}
		mailboxes, drop = mailboxes[n:], nil
	}
	return nil
}

// quiet is a record as it was read.
type quiet struct {
	revision uint64
	until    time.Time
	QuietMailbox
}

func parseQuiet(value string) (quiet, bool) {
	var q quiet
	n, err := fmt.Sscanf(value, "%d %d %d %d %d", &q.revision, &q.UIDValidity, &q.UIDNext, &q.Messages, &q.Since)
	q.until = time.Unix(q.Since, 0).Add(quietFor)
	return q, err == nil && n == 5
}

// Quiet returns what the server said of the mailbox ([Key.Mailbox]) when nothing in it was left to do, if that was
// under this revision of the account and not long ago. It says nothing while the mailbox is among [Index.Pending].
func (ix *Index) Quiet(mailbox string, revision uint64) (QuietMailbox, bool) {
	q, ok := ix.quiet[rawBox(mailbox)]
	q.Mailbox = mailbox
	return q.QuietMailbox, ok && q.revision == revision && ix.now.Before(q.until)
}

// Pending are the mailboxes ([Key.Mailbox]) of keys that are parked, deferred, deleting, or marked and none of mine.
func (ix *Index) Pending(mine map[Key]bool) map[string]bool {
	boxes := make(map[string]bool)
	for raw := range ix.marks {
		if k := keyOf(raw); !mine[k] {
			boxes[k.Mailbox()] = true
		}
	}
	for raw, st := range ix.states {
		if st.kind != 'g' {
			boxes[keyOf(raw).Mailbox()] = true
		}
	}
	return boxes
}
