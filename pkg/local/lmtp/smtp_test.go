package lmtp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// ehlo is how a dialogue of SMTP begins.
const ehlo = `
S: 220 ready
C: EHLO me
S: 250-me
S: 250-8BITMIME
S: 250 PIPELINING
`

// smtpScript starts a server and a client of it.
func smtpScript(t *testing.T, dialogue string, change func(*lmtp.Config)) (*testenv.Script, *lmtp.Client) {
	t.Helper()
	s := testenv.NewScript(t, dialogue)
	cfg := lmtp.Config{
		Protocol: lmtp.SMTP, Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", s.Port)}}, Hello: "me",
		TLSConfig: &tls.Config{RootCAs: s.CA.Pool, MinVersion: tls.VersionTLS12},
		Timeouts:  lmtp.Timeouts{Command: 10 * time.Second, Final: 10 * time.Second, Write: 10 * time.Second},
	}
	change(&cfg)
	c := lmtp.New(cfg)
	t.Cleanup(func() { _ = c.Close() })
	return s, c
}

// One answer after the message is that of everybody the server had taken at RCPT, and of nobody else.
func TestSMTPAnswers(t *testing.T) {
	t.Parallel()
	const goOn = "S: 250 ok\nS: 250 ok\nS: 251 forwarded\nS: 354 go\n"
	tests := map[string]struct {
		dialogue string
		codes    []int
		kind     fault.Kind
		unsure   bool
	}{
		"accepted":           {ehlo + mail + rcpt + data + goOn + text + "S: 250 queued\n" + quit, []int{250, 250}, fault.None, false},
		"half refused":       {ehlo + mail + rcpt + data + "S: 250 ok\nS: 550 who\nS: 250 ok\nS: 354 go\n" + text + "S: 250 queued\n" + quit, []int{550, 250}, fault.None, false},
		"half later":         {ehlo + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\n" + text + "S: 250 queued\n" + quit, []int{250, 452}, fault.None, false},
		"final 4yz":          {ehlo + mail + rcpt + data + goOn + text + "S: 451 4.7.1 greylisted\n" + quit, []int{451, 451}, fault.None, false},
		"final 5yz":          {ehlo + mail + rcpt + data + goOn + text + "S: 554 5.7.1 spam\n" + quit, []int{554, 554}, fault.None, false},
		"half, then 5yz":     {ehlo + mail + rcpt + data + "S: 250 ok\nS: 550 who\nS: 250 ok\nS: 354 go\n" + text + "S: 554 spam\n" + quit, []int{550, 554}, fault.None, false},
		"final 421":          {ehlo + mail + rcpt + data + goOn + text + "S: 421 bye\nCLOSE\n", []int{421, 421}, fault.None, false},
		"MAIL 5yz":           {ehlo + mail + rcpt + data + "S: 550 no\nS: 503 no\nS: 503 no\nS: 503 no\n" + quit, []int{550, 550}, fault.None, false},
		"DATA 4yz":           {ehlo + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 451 later\n" + quit, []int{451, 451}, fault.None, false},
		"cut before 250":     {ehlo + mail + rcpt + data + goOn + text + "CLOSE\n", nil, fault.DestinationTemporary, true},
		"cut in 250":         {ehlo + mail + rcpt + data + goOn + text + "S+ \"250 o\"\nCLOSE\n", nil, fault.DestinationTemporary, true},
		"cut after 250":      {ehlo + mail + rcpt + data + goOn + text + "S: 250 ok\nCLOSE\n", []int{250, 250}, fault.None, false},
		"silent at the end":  {ehlo + mail + rcpt + data + goOn + text, nil, fault.DestinationTemporary, true},
		"RCPT 421":           {ehlo + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 421 bye\n", nil, fault.DestinationTemporary, false},
		"MAIL 530":           {ehlo + mail + rcpt + data + "S: 530 5.7.0 sign in\nS: 503 no\nS: 503 no\nS: 503 no\n", nil, fault.DestinationTemporary, false},
		"EHLO 5yz":           {"S: 220 ready\nC: EHLO me\nS: 502 what\n", nil, fault.DestinationTemporary, false},
		"cut after EHLO":     {"S: 220 ready\nC: EHLO me\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"larger than it may": {"S: 220 ready\nC: EHLO me\nS: 250-me\nS: 250 SIZE 20\n" + quit, []int{552, 552}, fault.None, false},
		"SIZE 0 is no bound": {"S: 220 ready\nC: EHLO me\nS: 250-me\nS: 250-SIZE 0\nS: 250 PIPELINING\nC: MAIL FROM:<sender@example.org> SIZE=32\n" + rcpt + data + goOn + text + "S: 250 queued\n" + quit, []int{250, 250}, fault.None, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := smtpScript(t, tt.dialogue, func(c *lmtp.Config) {
				if strings.HasPrefix(name, "silent") {
					c.Timeouts.Final = 300 * time.Millisecond
				}
			})
			replies, err := sendSized(t, c)
			if _ = c.Close(); err == nil {
				testenv.Eventually(t, 5*time.Second, "the dialogue is over", func() bool { return s.Finished() == 1 })
			}
			if got := codes(replies); !slices.Equal(got, tt.codes) || fault.KindOf(err) != tt.kind || local.Uncertain(err) != tt.unsure {
				t.Errorf("replies %+v, error %v (%v, uncertain %v); want %v, %v, %v", replies, err, fault.KindOf(err), local.Uncertain(err),
					tt.codes, tt.kind, tt.unsure)
			}
			for i, r := range replies {
				if want := []string{"a@example.com", "b@example.com"}[i]; r.Recipient != want {
					t.Errorf("the answer %+v is not that of %s", r, want)
				}
			}
			if err != nil && !strings.HasPrefix(err.Error(), "smtp ") {
				t.Errorf("error %q", err)
			}
		})
	}
}

func sendSized(t *testing.T, c *lmtp.Client) ([]local.Reply, error) {
	t.Helper()
	const body = "Subject: x\r\n\r\n.\r\nend\r\n"
	return c.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: []string{"a@example.com", "b@example.com"}},
		local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(body), Size: int64(len(body)), ID: "x"}, nil)
}

// What is sent before TLS, and what for a password, follows from what was asked for and what is offered.
func TestSMTPSecurity(t *testing.T) {
	t.Parallel()
	const (
		plain  = "S: 220 ready\nC: EHLO me\nS: 250-me\n"
		offers = plain + "S: 250-STARTTLS\nS: 250 PIPELINING\nC: STARTTLS\n"
		again  = "TLS\nC: EHLO me\nS: 250-me\nS: 250-AUTH PLAIN LOGIN\nS: 250-8BITMIME\nS: 250 PIPELINING\n"
		take   = mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250 queued\n" + quit
		auth   = "C: AUTH PLAIN\nS: 334 \nC: AGZlcnJ5AHNlY3JldC1jYW5hcnk=\n"
	)
	mode := func(m lmtp.TLS) func(*lmtp.Config) { return func(c *lmtp.Config) { c.TLS = m } }
	signIn := func(m lmtp.TLS) func(*lmtp.Config) {
		return func(c *lmtp.Config) { c.TLS, c.Username, c.Password = m, "ferry", "secret-canary" }
	}
	stranger := func(next func(*lmtp.Config)) func(*lmtp.Config) {
		return func(c *lmtp.Config) { next(c); c.TLSConfig = nil }
	}
	far := func(next func(*lmtp.Config)) func(*lmtp.Config) { // not on this machine
		return func(c *lmtp.Config) {
			next(c)
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, address)
				return elsewhere{nc}, err
			}
		}
	}
	tests := map[string]struct {
		dialogue string
		change   func(*lmtp.Config)
		says     string // "" for accepted
	}{
		"offered, taken":                {offers + "S: 220 go\n" + again + take, mode(lmtp.OfferedTLS), ""},
		"offered, not there":            {plain + "S: 250-8BITMIME\nS: 250 PIPELINING\n" + take, mode(lmtp.OfferedTLS), ""},
		"offered, refused":              {plain + "S: 250-STARTTLS\nS: 250-8BITMIME\nS: 250 PIPELINING\nC: STARTTLS\nS: 454 later\n" + take, mode(lmtp.OfferedTLS), ""},
		"offered, any certificate":      {offers + "S: 220 go\n" + again + take, stranger(mode(lmtp.OfferedTLS)), ""},
		"required":                      {offers + "S: 220 go\n" + again + take, mode(lmtp.RequiredTLS), ""},
		"required, not there":           {plain + "S: 250 PIPELINING\n", mode(lmtp.RequiredTLS), "offers no TLS"},
		"required, refused":             {offers + "S: 454 later\n", mode(lmtp.RequiredTLS), "454 later"},
		"required, strange certificate": {offers + "S: 220 go\nTLS\nANY\n", stranger(mode(lmtp.RequiredTLS)), "certificate"},
		"more than the go-ahead":        {offers + "S+ \"220 go\\r\\n250 odd\\r\\n\"\n", mode(lmtp.RequiredTLS), "said more"},
		"from the first octet on":       {"TLS\n" + ehlo + take, mode(lmtp.ImplicitTLS), ""},
		"no TLS there":                  {"S: 220 ready\nANY\n", mode(lmtp.ImplicitTLS), "smtp tls"},

		"signs in":                 {offers + "S: 220 go\n" + again + auth + "S: 235 hello\n" + take, signIn(lmtp.RequiredTLS), ""},
		"signs in, offered":        {offers + "S: 220 go\n" + again + auth + "S: 235 hello\n" + take, signIn(lmtp.OfferedTLS), ""},
		"signs in, implicit":       {"TLS\nS: 220 ready\nC: EHLO me\nS: 250-AUTH PLAIN\nS: 250-8BITMIME\nS: 250 PIPELINING\n" + auth + "S: 235 hello\n" + take, signIn(lmtp.ImplicitTLS), ""},
		"by LOGIN":                 {"TLS\nS: 220 ready\nC: EHLO me\nS: 250-AUTH CRAM-MD5 login\nS: 250-8BITMIME\nS: 250 PIPELINING\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: ZmVycnk=\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0LWNhbmFyeQ==\nS: 235 hello\n" + take, signIn(lmtp.ImplicitTLS), ""},
		"on this machine":          {plain + "S: 250-8BITMIME\nS: 250-PIPELINING\nS: 250 AUTH PLAIN\n" + auth + "S: 235 hello\n" + take, signIn(lmtp.OfferedTLS), ""},
		"wrong password":           {offers + "S: 220 go\n" + again + auth + "S: 535 not secret-canary\n", signIn(lmtp.RequiredTLS), "535"},
		"no AUTH":                  {plain + "S: 250 PIPELINING\n", signIn(lmtp.OfferedTLS), "(AUTH)"},
		"no mechanism":             {plain + "S: 250 AUTH GSSAPI\n", signIn(lmtp.OfferedTLS), "(AUTH)"},
		"no TLS, elsewhere":        {plain + "S: 250 AUTH PLAIN\n", far(signIn(lmtp.OfferedTLS)), "without TLS"},
		"TLS refused, elsewhere":   {offers + "S: 454 later\n", far(signIn(lmtp.OfferedTLS)), "454"},
		"strange certificate":      {offers + "S: 220 go\nTLS\nANY\n", stranger(signIn(lmtp.OfferedTLS)), "certificate"},
		"challenge without an end": {offers + "S: 220 go\n" + again + auth + "S: 334 \nANY\n", signIn(lmtp.RequiredTLS), "334"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := smtpScript(t, tt.dialogue, tt.change)
			replies, err := send(t, c)
			if tt.says == "" {
				if err != nil || !slices.Equal(codes(replies), []int{250, 250}) {
					t.Fatalf("replies %+v, error %v", replies, err)
				}
				_ = c.Close()
				testenv.Eventually(t, 5*time.Second, "the dialogue is over", func() bool { return s.Finished() == 1 })
				return
			}
			if fault.KindOf(err) != fault.DestinationTemporary || !strings.Contains(err.Error(), tt.says) || local.Uncertain(err) || len(replies) != 0 {
				t.Errorf("replies %+v, error %v; want %q in it", replies, err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}

// elsewhere is a connection to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// Where the server takes octets as they are, they go out as they came, in chunks.
func TestBinary(t *testing.T) {
	t.Parallel()
	const body = "a\nb\rc\x00\r\n.\r\nno end"
	greet := func(p *peer) {
		p.say("220 ready")
		p.want("EHLO me\r\n")
		p.say("250-PIPELINING", "250-CHUNKING", "250-8BITMIME", "250 BINARYMIME")
	}
	deliver := func(c *lmtp.Client, to ...string) ([]local.Reply, error) {
		return c.Deliver(t.Context(), local.Envelope{To: to}, local.Message{Trace: []byte("Trace: 1\r\n"), Body: iotest.DataErrReader(strings.NewReader(body))}, nil)
	}
	named := "MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\n"
	chunks := "BDAT 10\r\nTrace: 1\r\nBDAT 17\r\n" + body

	cfg := pipes(t, func(_ int, p *peer) {
		greet(p)
		p.want(noCommand + "EHLO me\r\n")
		p.say("503 no", "250-PIPELINING", "250 CHUNKING")
		p.want("MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b>\r\nBDAT 27 LAST\r\nTrace: 1\r\n" + body)
		p.say("250 ok", "250 ok", "250 queued")
		p.want(named)
		p.say("250 ok", "250 ok", "550 who")
		p.want(chunks)
		p.say("250 ok", "250 ok")
		p.want("BDAT 0 LAST\r\n")
		p.say("250 queued")
		p.want(named)
		p.say("250 ok", "550 who", "550 who")
		p.want("RSET\r\n" + named)
		p.say("250 ok", "250 ok", "250 ok", "250 ok")
		p.want(chunks)
		p.say("250 ok", "552 5.3.4 too much")
		p.want("")
	})
	cfg.Protocol = lmtp.SMTP
	c := lmtp.New(cfg)
	for n, want := range [][]int{{250}, {250, 550}, {550, 550}, {552, 552}} {
		to := []string{"a@b", "c@d"}[:len(want)]
		if replies, err := deliver(c, to...); err != nil || !slices.Equal(codes(replies), want) {
			t.Fatalf("message %d: replies %+v, error %v; want %v", n, replies, err, want)
		}
	}
	_ = c.Close()
}

// A server that offers BDAT and has none is handed lines by DATA from then on.
func TestBinaryRefused(t *testing.T) {
	t.Parallel()
	cfg := pipes(t, func(n int, p *peer) {
		p.say("220 ready")
		p.want("EHLO me\r\n")
		p.say("250-PIPELINING", "250-CHUNKING", "250 BINARYMIME")
		p.heard()
		p.say("250 ok", "250 ok", "250 ok")
		if n == 1 {
			p.heard()
			p.say("502 no such command")
			return
		}
		p.say("354 go")
		p.want("a\r\n.\r\n")
		p.say("250 ok")
		p.heard()
	})
	cfg.Protocol = lmtp.SMTP
	c := lmtp.New(cfg)
	env := local.Envelope{To: []string{"a@b", "c@d"}}
	if _, err := c.Deliver(t.Context(), env, local.Message{Body: strings.NewReader("a")}, nil); fault.KindOf(err) != fault.DestinationTemporary {
		t.Errorf("error %v", err)
	}
	if replies, err := c.Deliver(t.Context(), env, local.Message{Body: strings.NewReader("a")}, nil); err != nil || !slices.Equal(codes(replies), []int{250, 250}) {
		t.Errorf("replies %+v, error %v", replies, err)
	}
	_ = c.Close()
}

// A body that fails, or a lease that is lost, leaves a message without its last chunk.
func TestBinaryFailingBody(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, commit := range map[string]error{"body": nil, "commit": boom} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := pipes(t, func(_ int, p *peer) {
				p.say("220 ready")
				p.want("EHLO me\r\n")
				p.say("250-PIPELINING", "250-CHUNKING", "250 BINARYMIME")
				p.heard()
				p.say("250 ok", "250 ok", "250 ok")
				for s := p.heard(); s != ""; s = p.heard() {
					if strings.Contains(s, "LAST") {
						t.Errorf("the client wrote %q", s)
					}
					p.say("250 ok")
				}
			})
			cfg.Protocol = lmtp.SMTP
			c := lmtp.New(cfg)
			var body io.Reader = strings.NewReader("begin")
			if commit == nil {
				body = io.MultiReader(body, iotest.ErrReader(boom))
			}
			_, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b", "c@d"}}, local.Message{Body: body}, func(context.Context) error { return commit })
			if !errors.Is(err, boom) || local.Uncertain(err) {
				t.Errorf("error %v", err)
			}
			_ = c.Close()
		})
	}
}
