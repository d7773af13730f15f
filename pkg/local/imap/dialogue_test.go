package imap_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// signedIn is a dialogue up to the first APPEND, which is M5.
const signedIn = `S: * OK ready
C: M1 CAPABILITY
S: * CAPABILITY IMAP4REV1 AUTH=PLAIN SASL-IR
S: M1 OK done
C: M2 AUTHENTICATE PLAIN YWxpY2VAZXhhbXBsZS5jb20AZmVycnkAc2VjcmV0
S: M2 OK in
C: M3 CAPABILITY
S: * CAPABILITY IMAP4rev1
S: M3 OK done
C: M4 LIST "" ""
S: * LIST (\Noselect) "/" ""
S: M4 OK done
`

// begun is signedIn with an APPEND that waits for the message.
const begun = signedIn + `C: M5 APPEND "Imported/x" (\Seen) " 3-Feb-2001 04:05:06 +0000" {10}
S: + go on
C: a: b
C:
C: xx
`

var alice = local.Envelope{To: []string{"alice@example.com"}, Mailbox: []string{"Imported", "x"}}

func letter() local.Message {
	const body = "a: b\r\n\r\nxx"
	return local.Message{Body: strings.NewReader(body), Size: int64(len(body)), Date: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), Flags: []string{`\Recent`, `\Seen`, `\Deleted`}}
}

// play hands a message over to a scripted server.
func play(t *testing.T, dialogue string, change func(*imap.Config)) (*imap.Client, *testenv.Script) {
	t.Helper()
	s := testenv.NewScript(t, dialogue)
	cfg := imap.Config{
		Address: net.JoinHostPort("localhost", strconv.Itoa(s.Port)), TLSConfig: &tls.Config{RootCAs: s.CA.Pool},
		Credentials: imap.Credentials{Username: "ferry", Password: "secret"},
	}
	if change != nil {
		change(&cfg)
	}
	c := imap.New(cfg)
	t.Cleanup(func() { _ = c.Close() })
	return c, s
}

func allow(context.Context) error { return nil }

// What a server answers, and what comes of it; 0: an error that says nobody has the message.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const create = "C: M6 CREATE \"Imported/x\"\n"
	const again = `C: M8 APPEND "Imported/x" (\Seen) " 3-Feb-2001 04:05:06 +0000" {10}` + "\n"
	const body = "S: + go on\nC: a: b\nC:\nC: xx\n"
	for name, tt := range map[string]struct {
		dialogue string
		code     int
		kind     fault.Kind
	}{
		"appended":            {begun + "S: * 1 EXISTS\nS: M5 OK [APPENDUID 1 2] done", 250, fault.None},
		"quota":               {signedIn + "C? M5 APPEND\nS: M5 NO [OVERQUOTA] full", 552, fault.DestinationQuota},
		"quota at the end":    {begun + "S: M5 NO [OVERQUOTA] full", 552, fault.DestinationQuota},
		"quota without code":  {signedIn + "C? M5 APPEND\nS: M5 NO Mailbox quota exceeded\n" + create + "S: M6 NO Mailbox quota exceeded", 552, fault.DestinationQuota},
		"too big":             {signedIn + "C? M5 APPEND\nS: M5 NO [TOOBIG] no", 552, fault.DestinationRejected},
		"not now":             {begun + "S: M5 NO [UNAVAILABLE] later", 451, fault.DestinationTemporary},
		"refused, no code":    {begun + "S: M5 NO no", 451, fault.DestinationTemporary},
		"newlines":            {begun + "S: M5 NO Message contains bare newlines", 550, fault.DestinationRejected},
		"no permission":       {signedIn + "C? M5 APPEND\nS: M5 NO [NOPERM] no", 550, fault.DestinationRejected},
		"BAD":                 {signedIn + "C? M5 APPEND\nS: M5 BAD what", 550, fault.DestinationRejected},
		"made":                {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 OK made\nC: M7 SUBSCRIBE \"Imported/x\"\nS: M7 OK done\n" + again + body + "S: M8 OK done", 250, fault.None},
		"made by another":     {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 NO [ALREADYEXISTS] there\nC: M7 SUBSCRIBE \"Imported/x\"\nS: M7 NO done\n" + again + body + "S: M8 OK done", 250, fault.None},
		"cannot be made":      {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 NO [NOPERM] no", 550, fault.DestinationRejected},
		"limit of mailboxes":  {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 NO [LIMIT] no", 451, fault.DestinationTemporary},
		"made, and not there": {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 OK made\nC? M7 SUBSCRIBE\nS: M7 OK done\n" + again + "S: M8 NO [TRYCREATE] none", 451, fault.DestinationTemporary},
		"made by another, old": {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] none\n" + create + "S: M6 NO Mailbox exists\nC: M7 STATUS \"Imported/x\" (MESSAGES)\n" +
			"S: * STATUS \"Imported/x\" (MESSAGES 0)\nS: M7 OK\nC: M8 SUBSCRIBE \"Imported/x\"\nS: M8 OK\nC? M9 APPEND\n" + body + "S: M9 OK done", 250, fault.None},
		"a text with an escape":    {begun + "S+ \"M5 NO [CANNOT] a\\x1b[2Jb\\r\\n\"", 550, fault.DestinationRejected},
		"no IMAP":                  {"S: 220 smtp", 0, fault.DestinationTemporary},
		"PREAUTH":                  {"S: * PREAUTH in", 0, fault.DestinationTemporary},
		"BYE":                      {"S: * BYE full house", 0, fault.DestinationTemporary},
		"hangs up":                 {"S: * OK ready\nC: M1 CAPABILITY\nCLOSE", 0, fault.DestinationTemporary},
		"not signed in":            {"S: * OK ready\nC: M1 CAPABILITY\nS: * CAPABILITY IMAP4REV1 AUTH=PLAIN\nS: M1 OK\nC: M2 AUTHENTICATE PLAIN\nS: +\nC: YWxpY2VAZXhhbXBsZS5jb20AZmVycnkAc2VjcmV0\nS: M2 NO [AUTHORIZATIONFAILED] no", 0, fault.DestinationTemporary},
		"no PLAIN":                 {"S: * OK ready\nC: M1 CAPABILITY\nS: * CAPABILITY IMAP4REV1 LOGINDISABLED\nS: M1 OK", 0, fault.DestinationTemporary},
		"octets behind STARTTLS":   {"S: * OK ready\nC: M1 CAPABILITY\nS: * CAPABILITY IMAP4REV1 STARTTLS\nS: M1 OK\nC: M2 STARTTLS\nS+ \"M2 OK go\\r\\n* CAPABILITY AUTH=PLAIN\\r\\n\"", 0, fault.DestinationTemporary},
		"STARTTLS refused":         {"S: * OK ready\nC: M1 CAPABILITY\nS: * CAPABILITY IMAP4REV1 STARTTLS AUTH=PLAIN\nS: M1 OK\nC: M2 STARTTLS\nS: M2 BAD no", 0, fault.DestinationTemporary},
		"an endless line":          {"S: * OK ready\nC: M1 CAPABILITY\nS* 100 \"" + strings.Repeat("x", 1000) + "\"", 0, fault.DestinationTemporary},
		"endless answers":          {"S: * OK ready\nC: M1 CAPABILITY\nS* 20100 \"* X\\r\\n\"", 0, fault.DestinationTemporary},
		"a huge literal":           {"S: * OK ready\nC: M1 CAPABILITY\nS: * LIST () \"/\" {2000000000}", 0, fault.DestinationTemporary},
		"a delimiter of many":      {strings.Replace(signedIn, `"/" ""`, `"abc" ""`, 1), 0, fault.DestinationTemporary},
		"an answer to another tag": {signedIn + "C? M5 APPEND\nS: M4 OK done", 0, fault.DestinationTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.code != 0 {
				tt.dialogue += "\nANY" // LOGOUT
			}
			c, _ := play(t, tt.dialogue, nil)
			replies, err := c.Deliver(t.Context(), alice, letter(), allow)
			if tt.code == 0 {
				if len(replies) != 0 || fault.KindOf(err) != tt.kind || local.Uncertain(err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("replies %+v, error %v", replies, err)
				}
				return
			}
			if err != nil || len(replies) != 1 || replies[0].Code != tt.code || replies[0].Kind() != tt.kind || strings.Contains(replies[0].Text, "\x1b") {
				t.Errorf("replies %+v, error %v; want %d, %v", replies, err, tt.code, tt.kind)
			}
		})
	}
}

// An answer that does not come after the last octet leaves the outcome open; one before does not.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dialogue  string
		uncertain bool
	}{
		"hangs up at the end":    {begun + "CLOSE", true},
		"silent at the end":      {begun, true},
		"nonsense at the end":    {begun + "S: hello", true},
		"BYE at the end":         {begun + "S: * BYE bye\nCLOSE", true},
		"hangs up before":        {signedIn + "C? M5 APPEND\nCLOSE", false},
		"silent before":          {signedIn + "C? M5 APPEND", false},
		"hangs up after CREATE":  {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] x\nC? M6 CREATE\nCLOSE", false},
		"wants more of a CREATE": {signedIn + "C? M5 APPEND\nS: M5 NO [TRYCREATE] x\nC? M6 CREATE\nS: + more", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := play(t, tt.dialogue, func(cfg *imap.Config) {
				if strings.HasPrefix(name, "silent") { // else there is an end
					cfg.Timeouts = imap.Timeouts{Command: 2 * time.Second, Final: 2 * time.Second}
				}
			})
			replies, err := c.Deliver(t.Context(), alice, letter(), allow)
			if len(replies) != 0 || fault.KindOf(err) != fault.DestinationTemporary || local.Uncertain(err) != tt.uncertain {
				t.Errorf("replies %+v, error %v", replies, err)
			}
		})
	}
}

// A body of another size is no message, and neither is one that its commit forbids.
func TestNothingInPart(t *testing.T) {
	t.Parallel()
	no := errors.New("no lease")
	for name, tt := range map[string]struct {
		size   int64
		commit error
		sent   string
	}{"too long": {9, nil, ""}, "too short": {11, nil, "C: a: b\nC:\n"}, "no lease": {10, no, "C: a: b\nC:\n"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := play(t, signedIn+"C? M5 APPEND\nS: + go on\n"+tt.sent+"C: never", nil)
			msg := letter()
			msg.Size = tt.size
			replies, err := c.Deliver(t.Context(), alice, msg, func(context.Context) error {
				if tt.commit == nil {
					t.Error("commit of a message that is not whole")
				}
				return tt.commit
			})
			if len(replies) != 0 || err == nil || local.Uncertain(err) || tt.commit != nil && !errors.Is(err, no) {
				t.Errorf("replies %+v, error %v", replies, err)
			}
			if s.Finished() != 0 {
				t.Error("the server got the message to its end")
			}
		})
	}
}

// veiled hides that a server is on this machine.
type veiled struct{ net.Conn }

func (veiled) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 143} }

// The password of everybody's mailboxes does not leave in plain text.
func TestNoPasswordInPlainText(t *testing.T) {
	t.Parallel()
	c, _ := play(t, "S: * OK ready\nC: M1 CAPABILITY\nS: * CAPABILITY IMAP4REV1 AUTH=PLAIN SASL-IR\nS: M1 OK done", func(cfg *imap.Config) {
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, address)
			return veiled{nc}, err
		}
	})
	replies, err := c.Deliver(t.Context(), alice, letter(), allow)
	if len(replies) != 0 || fault.KindOf(err) != fault.DestinationTemporary || !strings.Contains(err.Error(), "TLS only") {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

// A kept connection that the server gave up is made anew, and the message goes once.
func TestKeptConnection(t *testing.T) {
	t.Parallel()
	c, s := play(t, begun+"S: M5 OK done\nC? M6 APPEND\nCLOSE\nNEXT\n"+begun+"S: M5 OK done\nC? M6 LOGOUT", nil)
	for range 2 {
		replies, err := c.Deliver(t.Context(), alice, letter(), allow)
		if err != nil || len(replies) != 1 || !replies[0].Accepted() {
			t.Fatalf("replies %+v, error %v", replies, err)
		}
	}
	_ = c.Close()
	testenv.Eventually(t, time.Minute, "the second connection is left in order", func() bool { return s.Finished() > 0 })
}

// Keywords go where the mailbox can keep them.
func TestKeywords(t *testing.T) {
	t.Parallel()
	const selected = signedIn + "C: M5 SELECT \"Imported/x\"\nS: * FLAGS (\\Seen)\nS: * OK [PERMANENTFLAGS (\\Seen $Forwarded%s)] ok\nS: M5 OK [READ-WRITE] done\n"
	const sent = "S: + go on\nC: a: b\nC:\nC: xx\nS: %s OK done\n"
	for name, tt := range map[string]struct{ more, flags string }{
		"new ones too": {` \*`, `\Seen $forwarded Label`}, "those that are there": {"", `\Seen $forwarded`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := `APPEND "Imported/x" (` + tt.flags + `) " 3-Feb-2001 04:05:06 +0000" {10}`
			c, _ := play(t, strings.ReplaceAll(selected, "%s", tt.more)+"C: M6 "+line+"\n"+strings.ReplaceAll(sent, "%s", "M6")+
				"C: M7 "+line+"\n"+strings.ReplaceAll(sent, "%s", "M7")+"ANY", nil)
			for range 2 {
				msg := letter()
				msg.Flags = []string{"$forwarded", `\Seen`, "Label", `\Odd`, "bad(", ""}
				replies, err := c.Deliver(t.Context(), alice, msg, allow)
				if err != nil || len(replies) != 1 || !replies[0].Accepted() {
					t.Fatalf("replies %+v, error %v", replies, err)
				}
			}
		})
	}
}
