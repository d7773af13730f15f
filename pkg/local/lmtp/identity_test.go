package lmtp_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// generated is how many messages each way is tried with.
const generated = 1000

func TestIdentityByLMTP(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotExtra("mail_fsync = never"))
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}})
	defer c.Close()
	localtest.Identity(t, localtest.Instance{
		Destination: c, Domain: "identity.example", Carry: stored,
		Mail: func(_ testing.TB, to string) [][]byte { return dove.Messages(to) },
	}, generated)
}

func TestIdentityByPostfix(t *testing.T) {
	t.Parallel()
	p, dove := postfix(t, "")
	localtest.Identity(t, localtest.Instance{
		Destination: relay(t, p, dove.Password, p.Pool), Domain: "example.com",
		Carry: func(b []byte) []byte {
			if bytes.HasPrefix(b, []byte(localtest.NoHeader)) {
				b = append([]byte("\n"), b...)
			}
			return stored(b)
		},
		Mail: func(_ testing.TB, to string) [][]byte { return dove.Messages(to) },
	}, generated)
}

// With BINARYMIME every message arrives as it is, without it as canonical lines.
func TestIdentityBySMTP(t *testing.T) {
	t.Parallel()
	lines := func(b []byte) []byte { return bytes.ReplaceAll(stored(b), []byte("\n"), []byte("\r\n")) }
	for name, carry := range map[string]func([]byte) []byte{"lines": lines, "octets": bytes.Clone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := &inbox{}
			srv := smtp.NewServer(box)
			srv.Domain, srv.EnableBINARYMIME, srv.MaxLineLength = "localhost", name == "octets", 1<<20
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error)
			go func() { served <- srv.Serve(l) }()
			c := lmtp.New(lmtp.Config{Protocol: lmtp.SMTP, Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: l.Addr().String()}}, Timeouts: lmtp.Timeouts{Command: 5 * time.Minute}})
			localtest.Identity(t, localtest.Instance{Destination: c, Domain: "example.com", Carry: carry, Mail: box.mail}, generated)
			_ = c.Close()
			_ = srv.Close()
			<-served
		})
	}
}

// inbox keeps what a server of the test's own takes.
type inbox struct {
	mu  sync.Mutex
	all map[string][][]byte
}

func (b *inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &inboxSession{box: b}, nil }

func (b *inbox) mail(_ testing.TB, to string) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[to]
}

type inboxSession struct {
	box *inbox
	to  []string
}

func (s *inboxSession) Mail(string, *smtp.MailOptions) error { return nil }

func (s *inboxSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *inboxSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	for _, to := range s.to {
		if s.box.all == nil {
			s.box.all = map[string][][]byte{}
		}
		s.box.all[to] = append(s.box.all[to], text)
	}
	return nil
}

func (s *inboxSession) Reset() { s.to = nil }

func (*inboxSession) Logout() error { return nil }
