package e2e

import (
	"errors"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// sink is an LMTP destination of the test's own: it keeps what it accepted, and refuses when told to.
type sink struct {
	Addr string
	mu   sync.Mutex
	got  []accepted
	// answer, if set, decides about a message; an error refuses it, errHangUp closes the connection instead of
	// answering for a message that was kept.
	answer func(raw []byte) error
	// rcpt, if set, decides about a recipient.
	rcpt func(to string) error
}

type accepted struct {
	at   time.Time
	to   string
	id   string
	key  string
	raw  []byte
	from string
}

func newSink(t testing.TB) *sink {
	t.Helper()
	return newSinkAt(t, "127.0.0.1:0")
}

func newSinkAt(t testing.TB, address string) *sink {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{Addr: l.Addr().String()}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &sinkSession{s: s, conn: c}, nil }))
	srv.LMTP, srv.Domain, srv.MaxMessageBytes = true, "sink", 1<<30
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return s
}

func (s *sink) destination() string { return "lmtp:" + s.Addr }

func (s *sink) decide(f func(raw []byte) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// decideRcpt decides about recipients from now on.
func (s *sink) decideRcpt(f func(to string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcpt = f
}

// copies counts what was accepted, by recipient and seed.
func (s *sink) copies(to string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, a := range s.got {
		if a.to == to {
			n[a.id]++
		}
	}
	return n
}

func (s *sink) all(to string) []accepted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []accepted
	for _, a := range s.got {
		if a.to == to {
			out = append(out, a)
		}
	}
	return out
}

var errHangUp = errors.New("hang up")

type sinkSession struct {
	s    *sink
	conn *smtp.Conn
	from string
	to   []string
	gone bool // it has hung up: what the server still reads of what was sent behind is not kept
}

func (c *sinkSession) Reset()        { c.from, c.to = "", nil }
func (c *sinkSession) Logout() error { return nil }
func (c *sinkSession) Mail(from string, _ *smtp.MailOptions) error {
	c.from = from
	return nil
}

func (c *sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.s.mu.Lock()
	rcpt := c.s.rcpt
	c.s.mu.Unlock()
	if rcpt != nil {
		if err := rcpt(to); err != nil {
			return err
		}
	}
	c.to = append(c.to, to)
	return nil
}

func (c *sinkSession) Data(io.Reader) error { return errors.New("LMTP only") }

var (
	seedLine  = regexp.MustCompile(`(?m)^X-Seed-Id: (\S+)\r?$`)
	traceLine = regexp.MustCompile(`(?m)^X-Mailferry: account=\S+; key=(\S+)\r?$`)
)

func (c *sinkSession) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	raw, err := io.ReadAll(r)
	if err != nil || c.gone {
		return err
	}
	c.s.mu.Lock()
	answer := c.s.answer
	c.s.mu.Unlock()
	var verdict error
	if answer != nil {
		verdict = answer(raw)
		if err := verdict; err != nil && !errors.Is(err, errHangUp) {
			for _, to := range c.to {
				status.SetStatus(to, err)
			}
			return nil
		}
	}
	head := raw[:min(len(raw), 64<<10)]
	first := func(re *regexp.Regexp) string {
		if m := re.FindSubmatch(head); m != nil {
			return string(m[1])
		}
		return ""
	}
	c.s.mu.Lock()
	for _, to := range c.to {
		c.s.got = append(c.s.got, accepted{at: time.Now(), to: to, id: first(seedLine), key: first(traceLine), raw: raw, from: c.from})
	}
	c.s.mu.Unlock()
	if verdict != nil {
		c.gone = true
		return c.conn.Conn().Close()
	}
	for _, to := range c.to {
		status.SetStatus(to, nil)
	}
	return nil
}

func temporary() error {
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try later"}
}
func permanent() error {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "never"}
}
