package imap

import (
	"context"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// maxIdle is when imapclient would end an IDLE and issue another by itself: one of ours is over before. A server may
// drop the connection after 30 minutes (RFC 2177 §3, RFC 9051 §5.4).
const maxIdle = 27 * time.Minute

var _ remote.Idler = (*session)(nil)

// Idle waits for messages. While it does the server may be silent for d, and between two commands no longer
// than for any answer: a connection that is dead unnoticed is found out when IDLE is ended.
func (s *session) Idle(ctx context.Context, d time.Duration) (bool, error) {
	if err := s.startIdling(ctx); err != nil {
		return false, err
	}
	d = min(d, maxIdle)
	e := s.expect(idling, 0, 0)
	e.silence = d + s.wire.limits.Command
	err := s.do(context.WithoutCancel(ctx), "imap idle", e, func() error {
		cmd, err := s.client.Idle()
		if err != nil {
			return err
		}
		s.wait(ctx, d)
		s.wire.endIdle()
		if err := cmd.Close(); err != nil {
			return err
		}
		return cmd.Wait()
	})
	return s.wire.hasNews(), err
}

// wait returns when there is news, after d, when ctx ends, and when the session does.
func (s *session) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.wire.news:
		s.wire.tellNews() // for hasNews
	case <-timer.C:
	case <-ctx.Done():
	case <-s.client.Closed():
	}
}

// startIdling selects the mailbox for the first Idle. What came to it since List, of which the server may have told while
// other commands were under way, is seen from the UID that the next message will have.
func (s *session) startIdling(ctx context.Context) error {
	if s.idled {
		return nil
	}
	if !s.caps.Has(goimap.CapIdle) {
		return fault.New(fault.Unavailable, "imap idle", remote.ErrNoIdle)
	}
	if err := s.open(ctx, s.watched, true); err != nil {
		return err
	}
	s.idled = true
	s.wire.forgetNews()
	if s.horizon > 0 && uint32(s.selected.UIDNext) > s.horizon {
		s.wire.tellNews()
	}
	return nil
}

// watchable returns the mailbox of a listing that Idle selects, INBOX if it was looked at, and the UID that the next
// message in it will have which the listing did not see, 0 if that is not known.
func watchable(l remote.Listing) (mailbox string, next uint32) {
	mailbox = inbox
	if i := slices.IndexFunc(l.Mailboxes, func(m remote.Mailbox) bool { return m.Name == inbox }); i >= 0 {
		next = l.Mailboxes[i].Status.UIDNext
	} else if len(l.Mailboxes) > 0 {
		mailbox, next = l.Mailboxes[0].Name, l.Mailboxes[0].Status.UIDNext
	}
	for _, it := range l.Items {
		if next > 0 && it.Mailbox == mailbox {
			next = max(next, it.UID+1)
		}
	}
	return mailbox, next
}

// idle takes note of a continuation request and says whether it is to be passed on: a server that idles owes no other.
func (w *wire) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase != idling {
		return true
	}
	first := w.awaited
	if w.awaited = false; first {
		w.idles = true
		w.renew(w.silence)
	}
	return first
}

// isIdle says whether the server idles.
func (w *wire) isIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idles
}

// endIdle says that the answer to DONE is due.
func (w *wire) endIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idles = false
	w.renew(w.limits.Command)
	w.since = time.Now()
	w.conn.SilentFor(w.patience)
}

// hasNews says whether messages were added since forgetNews.
func (w *wire) hasNews() bool { return len(w.news) > 0 }

func (w *wire) forgetNews() {
	select {
	case <-w.news:
	default:
	}
}

func (w *wire) tellNews() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}
