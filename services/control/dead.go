package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// maxDead bounds a listing of dead letters.
	maxDead = 1000
	// maxHeader bounds what is shown of a message, in bytes.
	maxHeader = 64 << 10
)

// The outcomes of a retry.
const (
	outcomeQueued    = "queued"
	outcomeCollected = "already-collected"
	outcomeInFlight  = "in-flight"
	outcomeBodyGone  = "body-gone: fetched by the next run"
)

// ListDead answers the newest dead letters.
func (s *Service) ListDead(ctx context.Context, req *mailferryv1.ListDeadRequest) (*mailferryv1.ListDeadResponse, error) {
	limit := int(req.GetLimit())
	if limit < 0 || limit > maxDead {
		return nil, errField("limit", "want 1 to %d", maxDead)
	}
	if limit == 0 {
		limit = 100
	}
	domain, err := domainName(req.GetDomain(), true)
	if err != nil {
		return nil, err
	}
	uid, read := "", limit
	switch {
	case req.GetName() != "":
		a, err := s.account(ctx, &mailferryv1.AccountRef{Domain: domain, Name: req.GetName()})
		if err != nil {
			return nil, err
		}
		uid = a.UID
	case domain != "":
		read = 10 * maxDead // DEAD knows accounts, not domains
	}
	entries, err := s.Transit.Dead(ctx, uid, read)
	if err != nil {
		return nil, asError("dead letters", err)
	}
	out := &mailferryv1.ListDeadResponse{}
	gone := map[string]bool{}
	for _, e := range entries {
		if domain != "" && letterDomain(e.GetLetter()) != domain {
			continue
		}
		if len(out.Entries) == limit {
			break
		}
		shown, err := s.shown(ctx, e, gone)
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, shown)
	}
	return out, nil
}

func letterDomain(l *mailferryv1.DeadLetter) string {
	if l.GetDomain() == "" {
		return l.GetMessage().GetDomain()
	}
	return l.GetDomain()
}

// shown prepares an entry for an answer: no body, the names filled in, and whether its account is gone, which is
// looked up once an account.
func (s *Service) shown(ctx context.Context, e *transit.DeadEntry, gone map[string]bool) (*mailferryv1.DeadEntry, error) {
	l := e.GetLetter()
	if m := l.GetMessage(); m != nil {
		m.Content, m.BodyKey = nil, nil
		fill(&l.AccountUid, m.GetAccountUid())
		fill(&l.Domain, m.GetDomain())
		fill(&l.Name, m.GetName())
	}
	known, ok := gone[l.GetAccountUid()]
	if !ok {
		_, err := s.ownerOf(ctx, l)
		if known = errors.Is(err, directory.ErrNotFound); err != nil && !known {
			return nil, asError("dead letters", err)
		}
		gone[l.GetAccountUid()] = known
	}
	e.AccountGone = known
	return e, nil
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// ownerOf returns the account of a dead letter; an account of the same name with another uid is another
// account.
func (s *Service) ownerOf(ctx context.Context, l *mailferryv1.DeadLetter) (account.Account, error) {
	if l.GetDomain() == "" || l.GetName() == "" {
		return account.Account{}, directory.ErrNotFound
	}
	a, err := s.Directory.Account(ctx, l.GetDomain(), l.GetName())
	if err == nil && a.UID != l.GetAccountUid() {
		err = directory.ErrNotFound
	}
	return a, err
}

// letter returns a dead letter with its body.
func (s *Service) letter(ctx context.Context, id string) (*transit.DeadEntry, error) {
	e, err := s.Transit.GetDead(ctx, id)
	if errors.Is(err, transit.ErrNotFound) {
		return nil, refusal(connect.CodeNotFound, fault.NotFound, "see 'mailferry dead list'", "there is no dead letter %s", fault.Clean(id))
	}
	return e, asError("dead letter "+fault.Clean(id), err)
}

// GetDead answers a dead letter and the header of its message.
func (s *Service) GetDead(ctx context.Context, req *mailferryv1.GetDeadRequest) (*mailferryv1.GetDeadResponse, error) {
	e, err := s.letter(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	header := s.header(ctx, e.GetLetter().GetMessage())
	if e, err = s.shown(ctx, e, map[string]bool{}); err != nil {
		return nil, err
	}
	return &mailferryv1.GetDeadResponse{Entry: e, Header: header}, nil
}

// header returns the header block of a message (RFC 5322 §2.1), nil if its body cannot be had.
func (s *Service) header(ctx context.Context, m *mailferryv1.FetchedMessage) []byte {
	if m.GetContent() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	r, err := s.Transit.OpenBody(ctx, m)
	if err != nil {
		return nil
	}
	head, _ := io.ReadAll(io.LimitReader(r, maxHeader))
	_ = r.Close()
	end := len(head)
	for _, sep := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(head, []byte(sep)); i >= 0 {
			end = min(end, i)
		}
	}
	return bytes.Clone(head[:end])
}

// RetryDead brings a dead letter on its way again: parked → marked in the ledger, then TRANSIT, then the
// letter is dropped. What fails in between may be retried.
func (s *Service) RetryDead(ctx context.Context, req *mailferryv1.RetryDeadRequest) (*mailferryv1.RetryDeadResponse, error) {
	e, err := s.letter(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	what := "dead letter " + fault.Clean(req.GetId())
	l := e.GetLetter()
	if m := l.GetMessage(); m != nil {
		fill(&l.AccountUid, m.GetAccountUid())
		fill(&l.Domain, m.GetDomain())
		fill(&l.Name, m.GetName())
	}
	a, err := s.ownerOf(ctx, l)
	if errors.Is(err, directory.ErrNotFound) {
		return nil, refusal(connect.CodeFailedPrecondition, fault.Policy, "drop it with 'mailferry dead drop "+e.GetId()+"'",
			"%s: its account is removed", what)
	}
	if err != nil {
		return nil, asError(what, err)
	}
	outcome, err := s.retry(ctx, a, l)
	if err != nil {
		return nil, asError(what, err)
	}
	if outcome == outcomeInFlight {
		return &mailferryv1.RetryDeadResponse{Outcome: outcome}, nil
	}
	if err := s.Transit.DropDead(ctx, e); err != nil && !errors.Is(err, transit.ErrNotFound) {
		return nil, asError(what, err)
	}
	return &mailferryv1.RetryDeadResponse{Outcome: outcome}, nil
}

// retry says what became of a letter.
func (s *Service) retry(ctx context.Context, a account.Account, l *mailferryv1.DeadLetter) (string, error) {
	m := l.GetMessage()
	if m == nil {
		// A job that could not be executed: the account is what counts, so it is run.
		if err := s.Queue.Publish(ctx, manualJob(a, time.Now(), "")); err != nil && !errors.Is(err, queue.ErrCoalesced) {
			return "", err
		}
		return outcomeQueued, nil
	}
	slot, err := slotOf(a)
	if err != nil {
		return "", err
	}
	key, err := ledger.ParseKey(m.GetKey())
	if err != nil {
		return "", err
	}
	state, err := s.Ledger.Retry(ctx, slot, a.UID, key, m.GetSize(), m.GetListedSize())
	if err != nil {
		return "", err
	}
	switch state {
	case ledger.RetryCollected:
		return outcomeCollected, nil
	case ledger.NotParked:
		return "", refusal(connect.CodeFailedPrecondition, fault.Policy,
			"if the message is still at the remote server the next run fetches it; then drop the letter with 'mailferry dead drop'",
			"the message is held back no more: the index was reset or the key passed over")
	case ledger.RetryInFlight:
		// Marked, but in transit? A retry that broke off here left the mark alone.
		held, err := s.Transit.Held(ctx, a.UID)
		if err != nil || held[m.GetKey()] {
			return outcomeInFlight, err
		}
	default:
	}
	return s.republish(ctx, a, slot, key, m)
}

func (s *Service) republish(ctx context.Context, a account.Account, slot ledger.Slot, key ledger.Key, m *mailferryv1.FetchedMessage) (string, error) {
	m.Retried, m.Revision = true, max(m.GetRevision(), a.Revision) // where it goes is asked of the account as it is now
	err := s.Transit.Republish(ctx, m)
	switch {
	case err == nil:
		return outcomeQueued, nil
	case errors.Is(err, transit.ErrHeld):
		return outcomeInFlight, nil
	case errors.Is(err, transit.ErrBodyGone):
		// Parked no more: it is marked and not in transit, which the next run takes for new.
		_, err := s.Ledger.Unpark(ctx, slot, a.UID, key)
		return outcomeBodyGone, err
	}
	return "", err
}

// DropDead removes a dead letter. Its key stays parked: the message is never fetched again by itself, and
// never deleted at the remote server.
func (s *Service) DropDead(ctx context.Context, req *mailferryv1.DropDeadRequest) (*mailferryv1.DropDeadResponse, error) {
	e, err := s.letter(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if err := s.Transit.DropDead(ctx, e); err != nil && !errors.Is(err, transit.ErrNotFound) {
		return nil, asError("dead letter "+fault.Clean(req.GetId()), err)
	}
	return &mailferryv1.DropDeadResponse{}, nil
}
