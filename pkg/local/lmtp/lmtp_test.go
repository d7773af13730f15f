package lmtp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// hello is how every dialogue begins.
const hello = `
S: 220 ready
C: LHLO me
S: 250-me
S: 250-8bitmime
S: 250-ENHANCEDSTATUSCODES
S: 250 PIPELINING
`

// Two recipients are named, and the message is "Subject: x", an empty line, "." and "end".
const (
	mail = "C: MAIL FROM:<sender@example.org> BODY=8BITMIME\n"
	rcpt = "C: RCPT TO:<a@example.com>\nC: RCPT TO:<b@example.com>\n"
	data = "C: DATA\n"
	text = "C: Trace: 1\nC: Subject: x\nC: \nC: ..\nC: end\nC: .\n"
	quit = "C: QUIT\n"
)

// script starts a server and a client of it that gives up soon.
func script(t *testing.T, dialogue string) (*testenv.Script, *lmtp.Client) {
	t.Helper()
	s := testenv.NewScript(t, dialogue)
	c := lmtp.New(lmtp.Config{
		Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", s.Port)}}, Hello: "me",
		Timeouts: lmtp.Timeouts{Command: 2 * time.Second, Final: 2 * time.Second, Write: 5 * time.Second},
	})
	t.Cleanup(func() { _ = c.Close() })
	return s, c
}

// send delivers the message to a and b.
func send(t *testing.T, c *lmtp.Client) ([]local.Reply, error) {
	t.Helper()
	return c.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: []string{"a@example.com", "b@example.com"}},
		local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader("Subject: x\r\n\r\n.\r\nend\r\n"), ID: "x"}, nil)
}

func codes(replies []local.Reply) (out []int) {
	for _, r := range replies {
		out = append(out, r.Code)
	}
	return out
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		dialogue string
		codes    []int      // of the replies
		kind     fault.Kind // of the error
		unsure   bool
	}{
		"accepted": {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 251 ok\nS: 354 go\n" + text + "S: 250 a\nS: 250 b\n" + quit, []int{250, 250}, fault.None, false},
		"mixed":    {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 452 4.2.2 full\nS: 250 b\n" + quit, []int{452, 250}, fault.None, false},
		"several lines": {hello + mail + rcpt + data + "S: 250-ok\nS: 250 ok\nS: 250 ok\nS: 250-ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250-a\nS: 250-a\nS: 250 a\nS: 550-b\nS: 550 b\n" + quit,
			[]int{250, 550}, fault.None, false},
		"code alone":   {hello + mail + rcpt + data + "S: 250\nS: 250\nS: 250\nS: 354\n" + text + "S: 250\nS: 250\n" + quit, []int{250, 250}, fault.None, false},
		"one refused":  {hello + mail + rcpt + data + "S: 250 ok\nS: 550 5.1.1 who\nS: 250 ok\nS: 354 go\n" + text + "S: 250 b\n" + quit, []int{550, 250}, fault.None, false},
		"one later":    {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 450 busy\nS: 354 go\n" + text + "S: 250 a\n" + quit, []int{250, 450}, fault.None, false},
		"none wanted":  {hello + mail + rcpt + data + "S: 250 ok\nS: 550 who\nS: 452 4.2.2 full\nS: 503 no recipients\n" + quit, []int{550, 452}, fault.None, false},
		"none, go on":  {hello + mail + rcpt + data + "S: 250 ok\nS: 550 who\nS: 550 who\nS: 354 go\nC: .\n", []int{550, 550}, fault.None, false},
		"MAIL 4yz":     {hello + mail + rcpt + data + "S: 451 later\nS: 503 no\nS: 503 no\nS: 503 no\n" + quit, []int{451, 451}, fault.None, false},
		"MAIL 5yz":     {hello + mail + rcpt + data + "S: 552 5.3.4 big\nS: 503 no\nS: 503 no\nS: 503 no\n" + quit, []int{552, 552}, fault.None, false},
		"MAIL 5yz, ok": {hello + mail + rcpt + data + "S: 550 no\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: .\n", []int{550, 550}, fault.None, false},
		"DATA 4yz":     {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 550 who\nS: 451 later\n" + quit, []int{451, 550}, fault.None, false},
		"DATA 5yz":     {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 554 no\n" + quit, []int{554, 554}, fault.None, false},
		"final 4yz":    {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 451 a\nS: 451 b\n" + quit, []int{451, 451}, fault.None, false},

		"greeting 421":   {"S: 421 bye\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"greeting 554":   {"S: 554 no service\n", nil, fault.DestinationTemporary, false},
		"LHLO 4yz":       {"S: 220 ready\nC: LHLO me\nS: 421 bye\n", nil, fault.DestinationTemporary, false},
		"LHLO 5yz, SMTP": {"S: 220 ready\nC: LHLO me\nS: 502 what\n", nil, fault.DestinationTemporary, false},
		"MAIL 421":       {hello + mail + rcpt + data + "S: 421 bye\n", nil, fault.DestinationTemporary, false},
		"MAIL 530":       {hello + mail + rcpt + data + "S: 530 sign in\nS: 503 no\nS: 503 no\nS: 503 no\n", nil, fault.DestinationTemporary, false},
		"MAIL 503":       {hello + mail + rcpt + data + "S: 503 nested\nS: 503 no\nS: 503 no\nS: 503 no\n", nil, fault.DestinationTemporary, false},
		"RCPT 421":       {hello + mail + rcpt + data + "S: 250 ok\nS: 550 who\nS: 421 bye\n", []int{550}, fault.DestinationTemporary, false},
		"DATA 421":       {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 421 bye\n", nil, fault.DestinationTemporary, false},
		"DATA 250":       {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 odd\n", nil, fault.DestinationTemporary, false},
		"MAIL 354":       {hello + mail + rcpt + data + "S: 354 odd\nS: 250 ok\nS: 250 ok\nS: 250 ok\n", nil, fault.DestinationTemporary, false},
		"final 421":      {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 421 a\nCLOSE\n", []int{421}, fault.DestinationTemporary, true},
		"final 354":      {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 354 odd\n", nil, fault.DestinationTemporary, true},

		"cut at once":           {"CLOSE\n", nil, fault.DestinationTemporary, false},
		"cut after greeting":    {"S: 220 ready\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"cut in LHLO":           {"S: 220 ready\nC: LHLO me\nS: 250-me\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"cut after MAIL":        {hello + mail + rcpt + data + "S: 250 ok\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"cut in a line":         {hello + mail + rcpt + data + "S: 250 ok\nS+ \"250 o\"\nCLOSE\n", nil, fault.DestinationTemporary, false},
		"cut before 250":        {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "CLOSE\n", nil, fault.DestinationTemporary, true},
		"cut in 250":            {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S+ \"250 o\"\nCLOSE\n", nil, fault.DestinationTemporary, true},
		"cut after one 250":     {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250 a\nCLOSE\n", []int{250}, fault.DestinationTemporary, true},
		"cut after 250":         {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250 a\nS: 250 b\nCLOSE\n", []int{250, 250}, fault.None, false},
		"silent at once":        {"", nil, fault.DestinationTemporary, false},
		"silent after LHLO":     {"S: 220 ready\nC: LHLO me\nS: 250-me\n", nil, fault.DestinationTemporary, false},
		"silent after MAIL":     {hello + mail + rcpt + data, nil, fault.DestinationTemporary, false},
		"silent after the dot":  {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text, nil, fault.DestinationTemporary, true},
		"silent after one 250":  {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250 a\n", []int{250}, fault.DestinationTemporary, true},
		"web server":            {"S: HTTP/1.1 400 Bad Request\n", nil, fault.DestinationTemporary, false},
		"POP3 server":           {"S: +OK ready\n", nil, fault.DestinationTemporary, false},
		"LHLO, endless lines":   {"S: 220 ready\nC: LHLO me\nS* 5000 \"250-x\\r\\n\"\n", nil, fault.DestinationTemporary, false},
		"LHLO, endless line":    {"S: 220 ready\nC: LHLO me\nS* 5000 \"250-x\"\n", nil, fault.DestinationTemporary, false},
		"final, endless lines":  {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S* 5000 \"250-x\\r\\n\"\n", nil, fault.DestinationTemporary, true},
		"final, endless line":   {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S* 5000 \"250 x\"\n", nil, fault.DestinationTemporary, true},
		"final, codes differ":   {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 550-a\nS: 250 a\n", nil, fault.DestinationTemporary, true},
		"final, no code":        {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: ok\n", nil, fault.DestinationTemporary, true},
		"final, short":          {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 25\n", nil, fault.DestinationTemporary, true},
		"final, code of four":   {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 2500 ok\n", nil, fault.DestinationTemporary, true},
		"final, 150":            {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 150 ok\n", nil, fault.DestinationTemporary, true},
		"final, 999":            {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 999 ok\n", nil, fault.DestinationTemporary, true},
		"final, empty":          {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S:\n", nil, fault.DestinationTemporary, true},
		"final, LF in the text": {hello + mail + rcpt + data + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S+ \"550 you said\\n250 ok\\r\\n250 ok\\r\\n\"\n", nil, fault.DestinationTemporary, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := script(t, tt.dialogue)
			replies, err := send(t, c)
			if _ = c.Close(); err == nil {
				testenv.Eventually(t, 5*time.Second, "the dialogue is over", func() bool { return s.Finished() == 1 })
			}
			if got := codes(replies); !slices.Equal(got, tt.codes) || fault.KindOf(err) != tt.kind || local.Uncertain(err) != tt.unsure {
				t.Errorf("replies %+v, error %v (%v, uncertain %v); want %v, %v, %v", replies, err, fault.KindOf(err), local.Uncertain(err),
					tt.codes, tt.kind, tt.unsure)
			}
			if err != nil && (len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\r\n")) {
				t.Errorf("error %q", err)
			}
		})
	}
}

// An answer is quoted in a form that cannot forge anything, and each goes to its recipient.
func TestAnswerText(t *testing.T) {
	t.Parallel()
	_, c := script(t, hello+mail+rcpt+data+"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n"+text+
		"S+ \"550-5.7.1 \\x1b[31mred\\r\\n550 5.7.1 \\xff"+strings.Repeat("y", 1000)+"\\r\\n\"\nS: 250 2.0.0 saved\n"+quit)
	replies, err := send(t, c)
	if err != nil || len(replies) != 2 {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
	if r := replies[0]; r.Recipient != "a@example.com" || !strings.HasPrefix(r.Text, `5.7.1 \x1b[31mred 5.7.1 \xffyyy`) || len(r.Text) > 220 {
		t.Errorf("reply %+v", r)
	}
	if r := replies[1]; r.Recipient != "b@example.com" || r.Text != "2.0.0 saved" {
		t.Errorf("reply %+v", r)
	}
}

// A connection serves message after message; one that was refused is reset in the same write.
func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	ok := "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + text + "S: 250 a\nS: 550 b\n"
	s, c := script(t, hello+mail+rcpt+data+ok+mail+rcpt+data+ok+
		mail+rcpt+data+"S: 250 ok\nS: 550 who\nS: 550 who\nS: 503 no\n"+
		"C: RSET\n"+mail+rcpt+data+"S: 250 flushed\n"+ok+mail+rcpt+data+ok+quit)
	for n, want := range [][]int{{250, 550}, {250, 550}, {550, 550}, {250, 550}, {250, 550}} {
		if replies, err := send(t, c); err != nil || !slices.Equal(codes(replies), want) {
			t.Fatalf("message %d: replies %+v, error %v", n, replies, err)
		}
	}
	_ = c.Close()
	testenv.Eventually(t, 5*time.Second, "the dialogue is over", func() bool { return s.Finished() == 1 })
}

// A kept connection that the server closed meanwhile is not used again.
func TestClosedConnectionIsNotUsed(t *testing.T) {
	t.Parallel()
	s, c := script(t, hello+mail+rcpt+data+"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n"+text+"S: 250 a\nS: 250 b\nS: 421 idle\nCLOSE\n")
	for n := range 3 {
		testenv.Eventually(t, 5*time.Second, "the server closed", func() bool { return s.Finished() == n })
		if replies, err := send(t, c); err != nil || !slices.Equal(codes(replies), []int{250, 250}) {
			t.Fatalf("message %d: replies %+v, error %v", n, replies, err)
		}
	}
}

// Words that nobody asked for must not be taken for the answer to what is said next.
func TestConnectionOutOfStepIsNotUsed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", testenv.TempDir(t)+"/lmtp")
	if err != nil {
		t.Fatal(err)
	}
	done, said := make(chan struct{}), make(chan struct{})
	var server sync.WaitGroup
	server.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			p := &peer{t: t, Conn: nc}
			p.greet("PIPELINING")
			if !p.accept() {
				t.Error("no message on a new connection")
			}
			<-done
			p.say("250 odd", "250 odd", "354 odd", "250 odd")
			said <- struct{}{}
			if s := p.heard(); s != "" {
				t.Errorf("the client wrote %q", s)
			}
			_ = nc.Close()
		}
	})
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "unix", Address: l.Addr().String()}}, Hello: "me"})
	for range 3 {
		replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x")}, nil)
		if err != nil || !slices.Equal(codes(replies), []int{250}) {
			t.Fatalf("replies %+v, error %v", replies, err)
		}
		done <- struct{}{}
		<-said
	}
	_ = c.Close()
	_ = l.Close()
	server.Wait()
}

func TestServerThatHangsUpInTheMessageIsHeard(t *testing.T) {
	t.Parallel()
	_, c := script(t, hello+"C? MAIL\nC? RCPT\n"+data+"S: 250 ok\nS: 250 ok\nS: 354 go\nC: begin\nS: 552 5.3.4 too big\nCLOSE\n")
	_, err := c.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}},
		local.Message{Body: strings.NewReader("begin\r\n" + strings.Repeat("x", 64<<20)), ID: "x"},
		func(context.Context) error { t.Error("commit"); return nil })
	// The system may have thrown the answer away with the connection.
	if k := fault.KindOf(err); k != fault.DestinationRejected && k != fault.DestinationTemporary || local.Uncertain(err) {
		t.Errorf("error %v", err)
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "unix", Address: testenv.TempDir(t) + "/none"}}})
	if replies, err := send(t, c); fault.KindOf(err) != fault.DestinationTemporary || len(replies) != 0 {
		t.Errorf("replies %+v, error %v", replies, err)
	}
	boom := errors.New("boom")
	c = lmtp.New(lmtp.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, boom }})
	if _, err := send(t, c); fault.KindOf(err) != fault.DestinationTemporary || !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}
