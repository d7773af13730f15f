package remote

import (
	"context"
	"errors"
	"strings"
	"time"
)

// ErrNoIdle says that a server does not offer IDLE.
var ErrNoIdle = errors.New("the server does not offer IDLE")

// Idler is an ability of IMAP sessions.
type Idler interface {
	// Idle waits until messages have come to INBOX since List (RFC 2177), and says whether some have; where INBOX is
	// not among the mailboxes of the listing, to the first of these. Without news it ends after d, or when ctx does;
	// the session can then be used on. With a d of 0 it tries only whether the server idles. No other method may be
	// called once Idle was, but Close and Abort.
	Idle(ctx context.Context, d time.Duration) (news bool, err error)
}

// idleFor is how long an IDLE may last at hosts under a domain that drop it early, or forget to tell.
var idleFor = []struct {
	domain string
	d      time.Duration
}{
	{"rambler.ru", 55 * time.Second},
	{"yahoo.com", 3 * time.Minute},
	{"aol.com", 3 * time.Minute},
	{"gmail.com", 9 * time.Minute},
	{"googlemail.com", 9 * time.Minute},
}

// IdleFor returns how long an IDLE may last at a host. All servers are to bear 29 minutes (RFC 2177 §3); half of that
// also gets through what stands on the way.
func IdleFor(host string) time.Duration {
	host = "." + strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range idleFor {
		if strings.HasSuffix(host, "."+h.domain) {
			return h.d
		}
	}
	return 14 * time.Minute
}
