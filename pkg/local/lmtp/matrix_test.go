package lmtp_test

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// exchange is what the client writes, "" where it only listens, and what the server answers. In the matrix it names what
// becomes of recipients a and b where the server does something else there.
type exchange struct {
	step, want, answer string

	// instead of the answer: 451, 550, 421 and good-bye, an end without a word, silence; and the answer, then the end.
	later, never, bye, cut, silent, after string
}

// What a client makes of a server that, at one step, does not do what it should. "error": nobody has an answer and surely
// nobody has the message; "unsure": the answer is lost. Both are tried again, as "later" is.
const (
	trace  = "Trace: 1\r\n"
	body   = "Subject: x\r\n\r\nend\r\n"
	failed = "error"
	unsure = "unsure"
	taken  = "taken taken"
	laters = "later later"
	nevers = "never never"
)

var (
	mailFrom = exchange{"MAIL", "MAIL FROM:<>\r\n", "250 ok", laters, nevers, failed, failed, failed, failed}
	rcptA    = exchange{"RCPT, first", "RCPT TO:<a@example.com>\r\n", "250 ok", "later taken", "never taken", failed, failed, failed, failed}
	rcptB    = exchange{"RCPT, second", "RCPT TO:<b@example.com>\r\n", "250 ok", "taken later", "taken never", failed, failed, failed, failed}
	dataGo   = exchange{"DATA", "DATA\r\n", "354 go", laters, nevers, failed, failed, failed, failed}
	finalDot = exchange{"final dot", trace + body + ".\r\n", "250 queued", laters, nevers, laters, unsure, unsure, taken}
)

func before(step, want, answer string) exchange {
	return exchange{step, want, answer, failed, failed, failed, failed, failed, failed}
}

var matrix = map[lmtp.Protocol]map[string][]exchange{
	lmtp.LMTP: {"": {
		before("greeting", "", "220 ready"), before("LHLO", "LHLO me\r\n", "250-me\r\n250 ENHANCEDSTATUSCODES"),
		mailFrom, rcptA, rcptB, dataGo,
		{"final dot, first", finalDot.want, "250 a", "later taken", "never taken", "later unsure", unsure, unsure, "taken unsure"},
		{"final dot, second", "", "250 b", "taken later", "taken never", "taken later", "taken unsure", "taken unsure", taken},
	}},
	lmtp.SMTP: {
		"": {
			before("greeting", "", "220 ready"), before("EHLO", "EHLO me\r\n", "250-me\r\n250 STARTTLS"),
			before("STARTTLS", "STARTTLS\r\n", "220 go"), before("EHLO in TLS", "EHLO me\r\n", "250-me\r\n250 AUTH PLAIN"),
			before("AUTH", "AUTH PLAIN\r\n", "334 "),
			before("AUTH, response", base64.StdEncoding.EncodeToString([]byte("\x00me\x00secret"))+"\r\n", "235 welcome"),
			mailFrom, rcptA, rcptB, dataGo, finalDot,
		},
		"BDAT ": {
			before("greeting", "", "220 ready"), before("EHLO", "EHLO me\r\n", "250-CHUNKING\r\n250 BINARYMIME"),
			{"MAIL", "MAIL FROM:<> BODY=BINARYMIME\r\n", "250 ok", laters, nevers, failed, failed, failed, failed}, rcptA, rcptB,
			{"BDAT", "BDAT 10\r\n" + trace, "250 ok", laters, nevers, failed, failed, failed, failed},
			{"BDAT, second", "BDAT 19\r\n" + body, "250 ok", laters, nevers, failed, failed, failed, failed},
			{"BDAT LAST", "BDAT 0 LAST\r\n", "250 queued", laters, nevers, laters, unsure, unsure, taken},
		},
	},
}

// TestMatrix has a server do every wrong thing at every step, for two recipients.
func TestMatrix(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t)
	now := time.Now()
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("localhost")}, Time: func() time.Time { return now }}
	trust := &tls.Config{RootCAs: ca.Pool, Time: server.Time}
	for protocol, ways := range matrix {
		for way, script := range ways {
			for at, x := range script {
				for do, want := range map[string]string{
					"4yz": x.later, "5yz": x.never, "421": x.bye, "cut": x.cut, "silent": x.silent, "cut after": x.after, "slow": taken,
				} {
					t.Run(strings.Join([]string{string(protocol), way + x.step, do}, " "), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							cfg := pipes(t, func(_ int, p *peer) { p.misbehave(script, at, do, server) })
							cfg.Protocol, cfg.TLSConfig = protocol, trust
							cfg.Endpoints = []lmtp.Endpoint{{Network: "tcp", Address: "localhost:25"}}
							if protocol == lmtp.SMTP && way == "" {
								cfg.TLS, cfg.Username, cfg.Password = lmtp.RequiredTLS, "me", "secret"
							}
							c := lmtp.New(cfg)
							got := outcome(t, c)
							if got != want {
								t.Errorf("%s, want %s", got, want)
							}
							_ = c.Close()
						})
					})
				}
			}
		}
	}
}

// misbehave plays the exchanges as far as the client follows, but for what it does at one of them.
func (p *peer) misbehave(script []exchange, at int, do string, server *tls.Config) {
	for i, x := range script {
		for heard := ""; heard != x.want; {
			s := p.heard()
			if heard += s; s == "" || !strings.HasPrefix(x.want, heard) {
				if i <= at {
					p.t.Errorf("at %s the client wrote %q", x.step, heard)
				}
				return
			}
		}
		answer := x.answer
		switch {
		case i != at:
		case do == "4yz":
			answer = "451 later"
		case do == "5yz":
			answer = "550 never"
		case do == "421":
			p.say("421 bye")
			return
		case do == "cut":
			return
		case do == "silent":
			p.heard()
			return
		case do == "slow":
			for _, octet := range []byte(answer) {
				time.Sleep(time.Second)
				_, _ = p.Write([]byte{octet})
			}
			answer = ""
		}
		p.say(answer)
		if i == at && do == "cut after" {
			return
		}
		if x.step == "STARTTLS" && answer != "451 later" && answer != "550 never" {
			p.Conn = tls.Server(p.Conn, server)
		}
	}
	p.heard()
}

// outcome is what became of each recipient, in words.
func outcome(t *testing.T, c *lmtp.Client) string {
	t.Helper()
	replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@example.com", "b@example.com"}},
		local.Message{Trace: []byte(trace), Body: io.LimitReader(strings.NewReader(body), int64(len(body))), Size: int64(len(body))}, nil)
	var words []string
	for i, r := range replies {
		if i > 0 && r.Recipient == replies[0].Recipient {
			t.Errorf("the answers %+v are for one recipient", replies)
		}
		switch {
		case r.Accepted():
			words = append(words, "taken")
		case r.Temporary() && r.Kind() == fault.DestinationTemporary:
			words = append(words, "later")
		case r.Kind() == fault.DestinationRejected:
			words = append(words, "never")
		default:
			t.Errorf("answer %+v of kind %v", r, r.Kind())
		}
	}
	switch {
	case err == nil:
	case fault.KindOf(err) != fault.DestinationTemporary:
		t.Errorf("error %v of kind %v", err, fault.KindOf(err))
	case local.Uncertain(err):
		words = append(words, unsure)
	default:
		words = append(words, failed)
	}
	return strings.Join(words, " ")
}
