// Package imap is a session with a remote IMAP account (RFC 9051, RFC 3501), over emersion/go-imap.
//
// Between imapclient and the network stands a guard that takes the server's octets apart into lines and
// literals and writes them anew: it bounds every wait, line, literal and answer, and passes on only what
// was asked for. What is listed, and a body whose UID came before it, it gives to who asked, past
// imapclient. Nothing is sent before the greeting has come; PREAUTH, a refused STARTTLS and octets behind its
// answer end the session.
//
// A mailbox is listed and fetched under EXAMINE and with BODY.PEEK[], so that no flag changes at the
// source. A message is fetched if its own UID was answered with a body that came to the last octet of its
// literal; whatever else the server says, or leaves out, is a message that was not fetched. SELECT is for
// Delete alone, and what somebody else flagged is never expunged (RFC 4315 §2.1).
package imap

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
)

// inbox is the mailbox that every account has, in the case in which we write it (RFC 9051 §5.1).
const inbox = "INBOX"

// closing is how long Close waits for the answer to LOGOUT.
const closing = 5 * time.Second

// session is a [remote.Session].
type session struct {
	conn   *remote.Conn
	wire   *wire
	client *imapclient.Client
	guard  *guard        // what the client works on
	caps   goimap.CapSet // after login
	// mechanism is how the session signs in.
	mechanism sasl.Mechanism
	// choice says which mailboxes are listed, known what was known of them.
	choice remote.Mailboxes
	known  func(mailbox string) (remote.Status, bool)
	// onlyNew lists of known ones what is new.
	onlyNew bool
	// selected is what EXAMINE or SELECT said last, of which mailbox; nil before.
	selected *goimap.SelectData
	mailbox  string
	// delimiter parts the levels of names, where it was asked for.
	delimiter string
	// watched is the mailbox that Idle selects; horizon is the UID that the first message in it will have which List
	// did not see, 0 if that is not known; idled says that Idle has selected it.
	watched string
	horizon uint32
	idled   bool
	fetch   atomic.Pointer[fetch] // the Fetch under way
	// lists is the listing under way; the guard may come with what is too late for it.
	listMu sync.Mutex
	lists  *collector
	closed sync.Once
}

var _ remote.Session = (*session)(nil)

// Info says how the session is connected.
func (s *session) Info() remote.Info {
	return remote.Info{TLS: s.conn.TLS(), Address: s.conn.RemoteAddr().String(), Mechanism: string(s.mechanism)}
}

// Close says LOGOUT and waits a moment for the answer. Nothing hangs on it: deletions are done already.
func (s *session) Close(ctx context.Context) error {
	var err error
	s.closed.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, min(closing, s.wire.limits.Command))
		defer cancel()
		s.wire.leave()
		err = s.do(ctx, "imap logout", chatter, func() error { return s.client.Logout().Wait() })
		if err == nil {
			_ = s.conn.Close() // TLS says goodbye too
		}
		s.Abort()
		_ = s.client.Close() // waits for its reader
	})
	return err
}

// Abort drops the connection.
func (s *session) Abort() { s.conn.Abort() }

// do runs one command under the limits of e. Its error has a kind; unless it is a refusal of the server,
// the session cannot be used any more.
func (s *session) do(ctx context.Context, op string, e expectation, command func() error) error {
	return s.run(ctx, op, e, fault.Unavailable, command)
}

// run is do with the kind of a plain NO.
func (s *session) run(ctx context.Context, op string, e expectation, refused fault.Kind, command func() error) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(fault.Canceled, op, context.Cause(ctx))
	}
	defer s.conn.Watch(ctx)()
	s.wire.begin(e)
	defer s.wire.end()
	return s.failure(op, refused, command())
}

// failure gives an error of imapclient its kind: what the wire saw comes before what the client made of
// it.
func (s *session) failure(op string, refused fault.Kind, err error) error {
	if err == nil {
		return nil
	}
	var no *goimap.Error
	if errors.As(err, &no) {
		st := status{kind: string(no.Type), code: string(no.Code), text: no.Text}
		return st.fault(op, refused, s.wire.secrets)
	}
	if cause := s.wire.failure(); cause != nil && !errors.Is(cause, errUnreadable) {
		return fault.Wrap(fault.Network, op, cause)
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	s.Abort()
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fault.Errorf(fault.Protocol, op, "the answer cannot be read: %s", s.wire.secrets.quote(text))
}

// alive says whether the session can still be used.
func (s *session) alive() bool { return s.wire.failure() == nil }
