package lmtp_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func deliverOf(t *testing.T, c *lmtp.Client, of local.Client) error {
	t.Helper()
	replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com"}},
		local.Message{Body: strings.NewReader("Subject: x\r\n\r\nx\r\n"), Client: of}, nil)
	if err == nil && !slices.Equal(codes(replies), []int{250}) {
		t.Errorf("replies %+v", replies)
	}
	return err
}

var (
	stranger = local.Client{IP: netip.MustParseAddr("192.0.2.7"), Helo: "out.sender.test", Name: "rdns.sender.test"}
	nameless = local.Client{IP: netip.MustParseAddr("2001:db8::7")}
)

// again answers XCLIENT and the greeting that follows it.
func (p *peer) again(xclient, name string, extensions ...string) {
	p.t.Helper()
	p.want(xclient)
	p.say("220 ready")
	p.want("LHLO " + name + "\r\n")
	for _, e := range extensions {
		p.say("250-" + e)
	}
	p.say("250 ok")
}

// A connection is that of one client after the other; never is a message without one taken for that of the one before.
func TestXCLIENT(t *testing.T) {
	t.Parallel()
	const offer = "XCLIENT NAME ADDR PROTO HELO"
	c := lmtp.New(pipes(t, func(n int, p *peer) {
		p.greet(offer, "PIPELINING")
		if n == 2 {
			p.accept()
			return
		}
		p.again("XCLIENT ADDR=192.0.2.7 NAME=rdns.sender.test HELO=out.sender.test\r\n", "out.sender.test", offer, "PIPELINING")
		p.accept()
		p.accept()
		p.again("XCLIENT ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE] HELO=[UNAVAILABLE]\r\n", "[IPv6:2001:db8::7]", offer, "PIPELINING")
		p.accept()
	}))
	defer c.Close()
	for _, of := range []local.Client{stranger, stranger, nameless, {}} {
		if err := deliverOf(t, c, of); err != nil {
			t.Error(err)
		}
	}
}

// Where it is not offered, offered without ADDR, or refused, the message is handed over as ours.
func TestNoXCLIENT(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		offer, answer string
		kind          fault.Kind
	}{
		"not offered":    {"PIPELINING", "", 0},
		"no address":     {"XCLIENT NAME HELO", "", 0},
		"refused":        {"XCLIENT ADDR", "550 5.7.0 insufficient authorization", 0},
		"refused so far": {"XCLIENT ADDR", "421 later", fault.DestinationTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := lmtp.New(pipes(t, func(_ int, p *peer) {
				p.greet(tt.offer, "PIPELINING")
				if tt.answer != "" {
					p.want("XCLIENT ADDR=192.0.2.7\r\n")
					p.say(tt.answer)
				}
				if tt.kind == 0 {
					p.accept()
				}
			}))
			defer c.Close()
			if err := deliverOf(t, c, stranger); (err == nil) != (tt.kind == 0) || err != nil && fault.KindOf(err) != tt.kind {
				t.Error(err)
			}
		})
	}
}

// Names stand in the command in xtext, so that none adds an attribute or a line.
func TestXCLIENTEncodes(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("XCLIENT ADDR HELO", "PIPELINING")
		p.again("XCLIENT ADDR=192.0.2.7 HELO=a+20LOGIN+3Db+0D+0A+2B\r\n", "[192.0.2.7]", "PIPELINING")
		p.accept()
	}))
	defer c.Close()
	if err := deliverOf(t, c, local.Client{IP: stranger.IP, Helo: "a LOGIN=b\r\n+"}); err != nil {
		t.Error(err)
	}
}

// A Postfix that trusts us (smtpd_authorized_xclient_hosts) takes the message as the client's; the session stays signed in.
func TestPostfixXCLIENT(t *testing.T) {
	t.Parallel()
	signIn, auth := testenv.PostfixAuth(t)
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), signIn)
	p := testenv.NewPostfix(t, testenv.PostfixSettings{Domain: "example.com", Auth: auth, Deliver: "inet:" + dove.LMTPAddr,
		Extra: "smtpd_authorized_xclient_hosts = 127.0.0.1\n"}) // inet_protocols is ipv4: an address of IPv6 it refuses
	c := relay(t, p, dove.Password, p.Pool)
	for i, of := range []local.Client{stranger, nameless, {}, stranger} {
		if err := deliverOf(t, c, of); err != nil {
			t.Fatal(i, err, p.Log())
		}
	}
	testenv.Eventually(t, time.Minute, "all messages lie there", func() bool { return len(dove.Messages("alice@example.com")) == 4 })
	for line, times := range map[string]int{
		"Received: from out.sender.test (rdns.sender.test [192.0.2.7])": 2, "(localhost [127.0.0.1])": 2,
	} {
		if n := count(dove.Messages("alice@example.com"), line); n != times {
			t.Errorf("%d messages with %q, want %d\n%s", n, line, times, dove.Messages("alice@example.com"))
		}
	}
}

// A Dovecot that trusts us (login_trusted_networks) does, too.
func TestDovecotXCLIENT(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotExtra("login_trusted_networks = 127.0.0.0/8"))
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: dove.LMTPAddr}}})
	defer c.Close()
	for _, of := range []local.Client{stranger, nameless, {}} {
		if err := deliverOf(t, c, of); err != nil {
			t.Fatal(err)
		}
	}
	for line, times := range map[string]int{"([192.0.2.7])": 1, "([2001:db8::7])": 1, "([127.0.0.1])": 1} {
		if n := count(dove.Messages("alice@example.com"), line); n != times {
			t.Errorf("%d messages with %q, want %d\n%s", n, line, times, dove.Messages("alice@example.com"))
		}
	}
}

func count(messages [][]byte, what string) (n int) {
	for _, m := range messages {
		if bytes.Contains(m, []byte(what)) {
			n++
		}
	}
	return n
}
