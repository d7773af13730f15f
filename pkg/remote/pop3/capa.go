package pop3

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// capabilities are the answers to CAPA that matter here (RFC 2449 §6, RFC 2595 §4).
type capabilities struct {
	known            bool // the server answers CAPA
	stls, pipelining bool
	top              bool
	mechanisms       []string      // SASL (RFC 5034 §3)
	expireZero       bool          // EXPIRE 0: what was RETRieved is gone
	perUser          bool          // EXPIRE or LOGIN-DELAY differ by user: ask again after signing in
	loginDelay       time.Duration // LOGIN-DELAY
}

const (
	maxCapaOctets = 64 << 10
	maxDelay      = 24 * time.Hour
)

// capa asks CAPA. A server that does not know it has no capabilities.
func (s *session) capa() error {
	s.caps = capabilities{}
	before := s.t.BytesIn()
	ok, err := s.command("CAPA")
	if err != nil || !ok {
		s.blind = fault.KindOf(err) == fault.Network && s.t.BytesIn() == before
		return err
	}
	s.caps.known = true
	s.t.AnswerWithin(s.t.limits.Command)
	b := newBody(s.t.r, maxCapaOctets)
	lines := bufio.NewScanner(b)
	var all []string
	for lines.Scan() {
		s.caps.add(lines.Text())
		all = append(all, lines.Text())
	}
	s.t.TraceCapabilities(all)
	if !errors.Is(b.end, io.EOF) {
		if b.end != nil {
			return b.end
		}
		return fault.Errorf(fault.Protocol, "pop3 capa", "the list of capabilities does not end")
	}
	return nil
}

func (c *capabilities) add(line string) {
	f := strings.Fields(strings.ToUpper(line))
	if len(f) == 0 {
		return
	}
	switch f[0] {
	case "STLS":
		c.stls = true
	case "TOP":
		c.top = true
	case "SASL":
		c.mechanisms = append(c.mechanisms, f[1:]...)
	case "PIPELINING":
		c.pipelining = true
	case "EXPIRE":
		c.expireZero = len(f) > 1 && f[1] == "0"
		c.perUser = c.perUser || f[len(f)-1] == "USER"
	case "LOGIN-DELAY":
		if n, err := strconv.Atoi(f[min(1, len(f)-1)]); err == nil && n > 0 {
			c.loginDelay = min(time.Duration(min(n, 1<<20))*time.Second, maxDelay)
		}
		c.perUser = c.perUser || f[len(f)-1] == "USER"
	}
}

// secure asks what the server can do and, with Detect, goes on in TLS where it offers that. An offer that
// is taken back is no reason to go on in plain text, and what was said before TLS counts for nothing
// (RFC 2595 §4). A server that cannot be asked is offered STLS.
func (s *session) secure(ctx context.Context, mode account.TLSMode) error {
	if !s.blind {
		if err := s.capa(); err != nil {
			return err
		}
	}
	if mode != account.Detect || !s.caps.stls && !s.blind {
		return nil
	}
	ok, err := s.command("STLS")
	if fault.KindOf(err) == fault.Network {
		return fault.Errorf(fault.TLS, "pop3 stls", "the server closed the connection instead of an answer to STLS; "+
			"use direct TLS on another port, or disable TLS if the server has none")
	}
	if err != nil {
		return err
	}
	if !ok && s.blind {
		return nil
	}
	if !ok {
		return fault.Errorf(fault.TLS, "pop3 stls", "the server offers TLS and refuses it: %s", s.t.quote(string(s.t.status)))
	}
	if s.t.r.Buffered() != 0 {
		return fault.Errorf(fault.TLS, "pop3 stls", "the server, or somebody in between, sent text behind its answer to STLS")
	}
	if err := s.t.StartTLS(ctx); err != nil {
		return err
	}
	if s.blind {
		return nil
	}
	return s.capa()
}

// command sends a command and reads its status: true for +OK, false for -ERR, whose text is s.t.status. What
// lies there already is no answer to it.
func (s *session) command(line string) (bool, error) {
	if s.t.r.Buffered() > 0 {
		verb, _, _ := strings.Cut(strings.ToLower(line), " ")
		return false, fault.Errorf(fault.Protocol, "pop3 "+verb, "the server says more than it was asked")
	}
	if err := s.c.Send(line); err != nil {
		return false, err
	}
	return s.answer()
}

// answer reads one status.
func (s *session) answer() (bool, error) {
	_, err := s.c.ReadOne()
	var e *fault.Error
	if errors.As(err, &e) {
		return false, err
	}
	// The library's own errors are those of -ERR; the transport let nothing else pass.
	return err == nil, nil
}
