package remote

import (
	"context"
	"time"
)

// Criteria are what an IMAP server is asked about messages. Dates are those of INTERNALDATE, without time
// and zone.
type Criteria struct {
	Since, Before time.Time
	Unseen        bool
}

// Chooser is an ability of IMAP sessions: to let the server choose among messages.
type Chooser interface {
	// Choose returns the items that the criteria hold for.
	Choose(ctx context.Context, items []Item, c Criteria) ([]Item, error)
}

// Marker is an ability of IMAP sessions.
type Marker interface {
	// MarkSeen sets \Seen.
	MarkSeen(ctx context.Context, items []Item) error
}

// Mover is an ability of IMAP sessions.
type Mover interface {
	// Move moves messages into another mailbox of the server, which is made if it is not there. What was moved
	// before an error stays moved.
	Move(ctx context.Context, items []Item, mailbox string) error
}
