package imap

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/sasl"
)

// secretsOf returns the forms in which the credentials of t go over the wire.
func secretsOf(t remote.Target) secrets {
	return sasl.Credentials{Username: t.Username, Password: t.Password, Token: t.Token}.Secrets()
}

// login signs in: AUTHENTICATE with the best mechanism that the account allows and the server offers, or
// LOGIN (RFC 9051 §6.2.2, §6.2.3). There is one attempt, as package sasl has it. In the end the capabilities
// are those that the server has for this user.
//
// It is done before imapclient takes over: that one waits for ever for a server that answers a command of
// which a challenge is still open.
func (h *hello) login(t remote.Target) error {
	_, before := h.capabilities()
	if err := h.signIn(t); err != nil {
		return err
	}
	if _, lists := h.capabilities(); lists == before {
		return h.capability()
	}
	return nil
}

func (h *hello) signIn(t remote.Target) error {
	c := sasl.Credentials{
		Username: t.Username, Password: t.Password, Token: t.Token, Host: t.Host, Port: t.Port, TLS: h.conn.State(),
	}
	offer := h.offer()
	choices := offer.Choices(t.Auth, c)
	for i, m := range choices {
		h.mechanism = m
		if m == sasl.Command {
			return h.loginCommand(t)
		}
		attempt, err := sasl.New(m, c, offer)
		if err != nil {
			return err
		}
		st, err := h.authenticate(attempt)
		switch {
		case err != nil:
			return err
		case st.kind == "OK":
			return attempt.Accepted()
		case i+1 == len(choices) || codeKinds[st.code] != fault.None || !attempt.Unknown(st.text):
			return attempt.Refused(st.fault("imap authenticate "+string(m), fault.Auth, h.secrets))
		}
	}
	return h.noLogin(t)
}

// offer reads the capabilities.
func (h *hello) offer() sasl.Offer {
	o := sasl.Offer{Command: !slices.Contains(h.caps, string(goimap.CapLoginDisabled))}
	for _, c := range h.caps {
		if m, ok := strings.CutPrefix(c, "AUTH="); ok {
			o.Mechanisms = append(o.Mechanisms, m)
		}
	}
	return o
}

// authenticate makes an attempt, with the initial response in the command where the server takes it there
// (RFC 4959). What the mechanism cannot answer is cancelled.
func (h *hello) authenticate(a *sasl.Attempt) (status, error) {
	mechanism, initial, err := a.Start()
	if err != nil {
		return status{}, err
	}
	command := "AUTHENTICATE " + mechanism
	if initial != nil && slices.Contains(h.caps, string(goimap.CapSASLIR)) {
		command += " " + base64.StdEncoding.EncodeToString(initial)
		initial = nil
		a.InitialSent()
	}
	return h.converse("imap authenticate", command, func(challenge string) (string, error) {
		response := initial
		if initial != nil {
			initial = nil
			a.InitialSent()
		} else {
			octets, err := base64.StdEncoding.DecodeString(challenge)
			if err != nil {
				return "*", fault.Errorf(fault.Protocol, "imap authenticate", "the server's challenge is not base64: %s", h.secrets.quote(challenge))
			}
			if response, err = a.Next(octets); err != nil {
				return "*", err
			}
		}
		return base64.StdEncoding.EncodeToString(response), nil
	})
}

// loginCommand signs in with LOGIN. What a quoted string cannot hold goes as a literal.
func (h *hello) loginCommand(t remote.Target) error {
	var lines []string // what is sent at once; the server asks for each one more
	line := "LOGIN"
	for _, arg := range []string{t.Username, t.Password} {
		if quotable(arg) {
			line += ` "` + quoting.Replace(arg) + `"`
			continue
		}
		lines = append(lines, line+" {"+strconv.Itoa(len(arg))+"}")
		line = arg
	}
	lines = append(lines, line)
	sent := 1
	st, err := h.converse("imap login", lines[0], func(string) (string, error) {
		if sent == len(lines) {
			return "", fault.Errorf(fault.Protocol, "imap login", "the server asks for more than it was told")
		}
		sent++
		return lines[sent-1], nil
	})
	if err == nil && st.kind != "OK" {
		err = st.fault("imap login", fault.Auth, h.secrets)
	}
	return err
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// noLogin says why there is no way to sign in.
func (h *hello) noLogin(t remote.Target) error {
	offered := fault.Clean(strings.Join(slices.Sorted(slices.Values(h.offer().Mechanisms)), " "))
	if offered == "" {
		offered = "none"
	}
	switch {
	case t.Auth != "" && t.Auth != account.AuthAuto:
		return fault.Errorf(fault.AuthWithdrawn, "imap login", "the server does not offer %s; its mechanisms: %s", t.Auth, offered)
	case !h.conn.Secure():
		return fault.Errorf(fault.TLS, "imap login", "the server takes no password without TLS (LOGINDISABLED)")
	}
	return fault.Errorf(fault.AuthWithdrawn, "imap login", "the server takes no password (LOGINDISABLED); its mechanisms: %s", offered)
}

// identify says who we are to a server that wants to know (RFC 2971): some refuse EXAMINE without it. The
// answer is not awaited, nothing hangs on it; it goes out with the next command.
func (s *session) identify() {
	if s.caps.Has(goimap.CapID) {
		s.guard.hold = true
		s.client.ID(&goimap.IDData{Name: "mailferry", Version: "1"})
	}
}
