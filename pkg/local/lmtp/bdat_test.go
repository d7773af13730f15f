package lmtp_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
)

const noCommand = "BDAT 34 LAST\r\nX-NOT-A-COMMAND\r\nX-NOT-A-COMMAND\r\n"

// chunking greets as a server that takes small messages at once, and swallows the chunks that it refuses.
func (p *peer) chunking() {
	p.t.Helper()
	p.greet("PIPELINING", "CHUNKING")
	p.want(noCommand + "LHLO me\r\n")
	p.say("503 5.5.1 need RCPT", "250-PIPELINING", "250 CHUNKING")
}

func deliverTo(t *testing.T, c *lmtp.Client, body string, to ...string) ([]local.Reply, error) {
	t.Helper()
	return c.Deliver(t.Context(), local.Envelope{To: to}, local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(body), Size: int64(len(body))}, nil)
}

// A small message for one recipient goes out with its commands; what is refused ends the connection.
func TestSmallMessageAtOnce(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(n int, p *peer) {
		p.chunking()
		if n == 1 {
			p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 32 LAST\r\nTrace: 1\r\n.dot\r\nlf\r\ncr\r\nno end\r\n")
			p.say("250 ok", "250 ok", "250 saved")
			p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n") // two recipients: as ever
			p.say("250 ok", "250 ok", "250 ok", "354 go")
			p.want("Trace: 1\r\n..dot\r\n.\r\n")
			p.say("250 a", "250 b")
		}
	}))
	replies, err := deliverTo(t, c, ".dot\nlf\ncr\rno end", "a@b")
	if err != nil || !slices.Equal(codes(replies), []int{250}) {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
	replies, err = deliverTo(t, c, ".dot", "a@b", "c@d")
	if err != nil || !slices.Equal(codes(replies), []int{250, 250}) {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
	_ = c.Close()
}

func TestSmallMessageRefused(t *testing.T) {
	t.Parallel()
	type outcome struct {
		codes  []int
		kind   fault.Kind
		unsure bool
	}
	for name, tt := range map[string]struct {
		answers []string
		want    outcome
		ends    bool // the connection, though there is no error
	}{
		"accepted":             {[]string{"250 ok", "250 ok", "250 saved"}, outcome{codes: []int{250}}, false},
		"refused for now":      {[]string{"250 ok", "250 ok", "452 full"}, outcome{codes: []int{452}}, false},
		"refused for good":     {[]string{"250 ok", "250 ok", "554 spam"}, outcome{codes: []int{554}}, false},
		"sender refused":       {[]string{"550 no", "503 no", "503 no"}, outcome{codes: []int{550}}, true},
		"recipient refused":    {[]string{"250 ok", "550 who", "503 nobody"}, outcome{codes: []int{550}}, true},
		"sender: goes away":    {[]string{"421 bye"}, outcome{kind: fault.DestinationTemporary}, true},
		"hangs up":             {nil, outcome{kind: fault.DestinationTemporary, unsure: true}, true},
		"hangs up at the end":  {[]string{"250 ok", "250 ok"}, outcome{kind: fault.DestinationTemporary, unsure: true}, true},
		"goes away at the end": {[]string{"250 ok", "250 ok", "421 bye"}, outcome{codes: []int{421}}, true},
		"knows no BDAT":        {[]string{"250 ok", "250 ok", "502 what"}, outcome{kind: fault.DestinationTemporary}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			c := lmtp.New(pipes(t, func(_ int, p *peer) {
				p.chunking()
				p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 13 LAST\r\nTrace: 1\r\nx\r\n")
				p.say(tt.answers...)
				if len(tt.answers) == 3 && p.heard() == "" {
					close(ended)
				}
			}))
			replies, err := deliverTo(t, c, "x", "a@b")
			if got := (outcome{codes(replies), fault.KindOf(err), local.Uncertain(err)}); !slices.Equal(got.codes, tt.want.codes) ||
				got.kind != tt.want.kind || got.unsure != tt.want.unsure {
				t.Errorf("replies %+v, error %v; want %+v", replies, err, tt.want)
			}
			if tt.ends && len(tt.answers) == 3 {
				<-ended
			}
			_ = c.Close()
		})
	}
}

// A server that offers BDAT and has none is told by DATA from then on.
func TestNoBDATThoughOffered(t *testing.T) {
	t.Parallel()
	c := lmtp.New(pipes(t, func(n int, p *peer) {
		if n == 1 {
			p.chunking()
			p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 13 LAST\r\nTrace: 1\r\nx\r\n")
			p.say("250 ok", "250 ok", "500 what")
			return
		}
		p.greet("PIPELINING", "CHUNKING")
		p.accept()
	}))
	if replies, err := deliverTo(t, c, "x", "a@b"); len(replies) != 0 || fault.KindOf(err) != fault.DestinationTemporary || local.Uncertain(err) {
		t.Errorf("replies %+v, error %v", replies, err)
	}
	if replies, err := deliverTo(t, c, "x", "a@b"); err != nil || !slices.Equal(codes(replies), []int{250}) {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

// Nothing of a message is sent whose body breaks off, whose lease is lost, or that is too large; and a message that was read
// in part is not begun again on another connection.
func TestNotAtOnce(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 40<<10)
	boom := errors.New("boom")
	deliver := func(c *lmtp.Client, body io.Reader, commit func(context.Context) error) ([]local.Reply, error) {
		return c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: body}, commit)
	}
	silent := pipes(t, func(_ int, p *peer) {
		p.chunking()
		if s := p.heard(); s != "" {
			p.t.Errorf("the client wrote %q", s)
		}
	})
	broken := io.MultiReader(strings.NewReader("begin"), readerFunc(func([]byte) (int, error) { return 0, boom }))
	if _, err := deliver(lmtp.New(silent), broken, nil); !errors.Is(err, boom) || local.Uncertain(err) {
		t.Errorf("broken body: %v", err)
	}
	lost := func(context.Context) error { return boom }
	if _, err := deliver(lmtp.New(silent), strings.NewReader("x"), lost); !errors.Is(err, boom) || local.Uncertain(err) {
		t.Errorf("lost lease: %v", err)
	}
	c := lmtp.New(pipes(t, func(_ int, p *peer) {
		p.greet("PIPELINING", "CHUNKING")
		p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
		p.say("250 ok", "250 ok", "354 go")
		var got strings.Builder
		for !strings.HasSuffix(got.String(), "\r\n.\r\n") {
			got.WriteString(p.heard())
		}
		if got.String() != large+"\r\n.\r\n" {
			p.t.Errorf("%d octets came", got.Len())
		}
		p.say("250 saved")
	}))
	if replies, err := deliver(c, strings.NewReader(large), nil); err != nil || !slices.Equal(codes(replies), []int{250}) {
		t.Errorf("larger than it said: replies %+v, error %v", replies, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A connection that was idle may be given up by the server: it has to answer before anything of a message is sent.
func TestIdleConnectionIsAskedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := lmtp.New(pipes(t, func(n int, p *peer) {
			p.chunking()
			p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 13 LAST\r\nTrace: 1\r\nx\r\n")
			p.say("250 ok", "250 ok", "250 saved")
			if n == 1 {
				p.want("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
			}
		}))
		for range 2 {
			if replies, err := deliverTo(t, c, "x", "a@b"); err != nil || !slices.Equal(codes(replies), []int{250}) {
				t.Errorf("replies %+v, error %v", replies, err)
			}
			time.Sleep(2 * time.Second)
		}
		_ = c.Close()
		synctest.Wait()
	})
}
