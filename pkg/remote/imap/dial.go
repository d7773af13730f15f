package imap

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
)

// Dial opens a session and signs in. ctx bounds Dial alone.
func Dial(ctx context.Context, d remote.Dialer, t remote.Target) (remote.Session, error) {
	if strings.ContainsAny(t.Username+t.Password+t.Token, "\x00\r\n") {
		return nil, fault.Errorf(fault.Policy, "imap login", "a user name or password cannot hold a line end or a null")
	}
	conn, err := d.Connect(ctx, t)
	if err != nil {
		return nil, err
	}
	defer conn.Watch(ctx)()
	h := &hello{wire: newWire(conn, secretsOf(t))}
	err = h.secure(ctx, t.TLS)
	if err == nil {
		err = conn.MaySignIn(ctx)
	}
	if err == nil {
		err = h.login(t)
	}
	if err != nil {
		conn.Abort()
		return nil, err
	}
	s := h.session()
	s.choice, s.known, s.onlyNew = t.Mailboxes, t.Known, t.OnlyNew
	if err := s.client.WaitGreeting(); err != nil {
		s.Abort()
		_ = s.client.Close()
		return nil, s.failure("imap login", fault.Protocol, err)
	}
	s.identify()
	return s, nil
}

// hello is a connection until imapclient takes it over: greeting, capabilities, STARTTLS, signing in.
type hello struct {
	*wire
	caps      []string // nil: not known
	mechanism sasl.Mechanism
	tag       int
}

// secure reads the greeting and goes on to TLS where the mode asks for it and the server offers it
// (RFC 9051 §6.2.1). In the end the capabilities are known, those said inside TLS if there is TLS.
func (h *hello) secure(ctx context.Context, mode account.TLSMode) error {
	if err := h.greeting(); err != nil {
		return err
	}
	if mode == account.Detect {
		if err := h.detect(ctx); err != nil {
			return err
		}
	}
	if h.caps == nil {
		return h.capability()
	}
	return nil
}

// detect goes on to TLS if the server offers it. A greeting need not name all capabilities.
func (h *hello) detect(ctx context.Context) error {
	if !slices.Contains(h.caps, "STARTTLS") {
		if err := h.capability(); err != nil {
			return err
		}
	}
	if slices.Contains(h.caps, "STARTTLS") {
		return h.startTLS(ctx)
	}
	return nil
}

// greeting waits for the server's first line (RFC 9051 §7.1): nothing may be sent to what does not speak
// IMAP. PREAUTH is refused: whose mailbox it is would not be for us to say, and STARTTLS could not follow.
func (h *hello) greeting() error {
	const op = "imap greeting"
	h.begin(chatter)
	defer h.end()
	line, err := h.line()
	if err != nil {
		return fault.Wrap(fault.Protocol, op, err)
	}
	rest, untagged := bytes.CutPrefix(line, []byte("* "))
	st, ok := parseStatus(rest)
	switch {
	case !untagged || !ok:
		return fault.Errorf(fault.Protocol, op, "this is not an IMAP server, it said: %s", h.secrets.quote(string(line)))
	case st.kind == "BYE":
		return st.fault(op, fault.Unavailable, h.secrets)
	case st.kind == "PREAUTH":
		return fault.Errorf(fault.Protocol, op, "the server signs everybody in (PREAUTH)")
	case st.kind != "OK":
		return fault.Errorf(fault.Protocol, op, "this is not an IMAP server, it said: %s", h.secrets.quote(string(line)))
	case st.code == "CAPABILITY":
		return h.learn(st.args)
	}
	return nil
}

// learn keeps a list of capabilities.
func (h *hello) learn(list string) error {
	caps, err := parseCapabilities([]byte(list))
	h.caps = caps
	h.wire.learn(caps)
	h.conn.TraceCapabilities(caps)
	return err
}

// capability asks for the capabilities.
func (h *hello) capability() error {
	st, err := h.ask("CAPABILITY")
	if err != nil {
		return err
	}
	if st.kind != "OK" || len(h.caps) == 0 {
		return fault.Errorf(fault.Protocol, "imap capability", "the server does not say what it can do: %s",
			h.secrets.quote(st.kind+" "+st.text))
	}
	return nil
}

// startTLS upgrades the connection. What the server said in plain text is forgotten.
func (h *hello) startTLS(ctx context.Context) error {
	const op = "imap starttls"
	st, err := h.ask("STARTTLS")
	if fault.KindOf(err) == fault.Network {
		return fault.Errorf(fault.TLS, op, "the server closed the connection instead of an answer to STARTTLS; "+
			"use direct TLS on another port, or disable TLS if the server has none")
	}
	if err != nil {
		return err
	}
	if st.kind != "OK" {
		return fault.Errorf(fault.TLS, op, "the server offers STARTTLS and refuses it: %s",
			h.secrets.quote(st.kind+" "+st.text))
	}
	if h.r.Buffered() > 0 {
		return fault.Errorf(fault.TLS, op, "the server, or somebody on the way, sent %d octets behind the answer in plain text",
			h.r.Buffered())
	}
	if err := h.conn.StartTLS(ctx); err != nil {
		return fault.Wrap(fault.TLS, op, err)
	}
	h.caps = nil
	return nil
}

// ask sends a command without arguments and reads up to its answer.
func (h *hello) ask(command string) (status, error) {
	return h.converse("imap "+strings.ToLower(command), command, nil)
}

// converse sends a command and reads up to its answer. What the server asks for meanwhile
// (RFC 9051 §7.6) is answered with the line that reply returns, which is sent also with an error.
func (h *hello) converse(op, command string, reply func(challenge string) (string, error)) (status, error) {
	h.begin(chatter)
	defer h.end()
	h.tag++
	tag := fmt.Sprintf("H%d", h.tag)
	if _, err := fmt.Fprintf(h.conn, "%s %s\r\n", tag, command); err != nil {
		return status{}, fault.Wrap(fault.Network, op, err)
	}
	for {
		line, err := h.line()
		if err != nil {
			return status{}, fault.Wrap(fault.Network, op, err)
		}
		if rest, ok := bytes.CutPrefix(line, []byte("* ")); ok {
			if err := h.untagged(rest); err != nil {
				return status{}, err
			}
			continue
		}
		if rest, ok := bytes.CutPrefix(line, []byte("+")); ok && reply != nil {
			text, failed := reply(string(bytes.TrimSpace(rest)))
			if _, err := fmt.Fprintf(h.conn, "%s\r\n", text); err != nil {
				return status{}, fault.Wrap(fault.Network, op, err)
			}
			if failed != nil {
				return status{}, failed
			}
			continue
		}
		rest, ok := bytes.CutPrefix(line, []byte(tag+" "))
		st, whole := parseStatus(rest)
		if !ok || !whole {
			return st, fault.Errorf(fault.Protocol, op, "not an answer: %s", h.secrets.quote(string(line)))
		}
		if st.kind == "OK" && st.code == "CAPABILITY" {
			err = h.learn(st.args)
		}
		return st, err
	}
}

// untagged reads what the server says before its answer.
func (h *hello) untagged(rest []byte) error {
	if _, err := h.answer(); err != nil {
		return err
	}
	l := lexer{rest}
	if upper(l.atom()) == "CAPABILITY" {
		return h.learn(string(l.rest))
	}
	if st, ok := parseStatus(rest); ok && st.kind == "BYE" {
		h.said(st.fault("imap read", fault.Unavailable, h.secrets))
	}
	return nil
}

// session hands the connection to imapclient, with a greeting that says what is known.
func (h *hello) session() *session {
	s := &session{conn: h.conn, wire: h.wire, mechanism: h.mechanism}
	s.caps, _ = h.wire.capabilities()
	g := &guard{wire: h.wire, direct: s.direct, listed: s.listed}
	s.guard = g
	g.emit("* PREAUTH [CAPABILITY %s] ready\r\n", strings.Join(h.caps, " "))
	s.client = imapclient.New(g, &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Fetch: s.unasked},
	})
	return s
}
