package imap_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Parts of dialogues: how far a session comes.
const (
	hAuth    = greets + "C: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\nS: H1 OK done\nC? H2 AUTHENTICATE PLAIN \n"
	hExamine = hAuth + "S: H2 OK [CAPABILITY IMAP4rev1 UIDPLUS] in\nC: T1 EXAMINE INBOX\n"
	hList    = hExamine + "S: * 2 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK done\nC: T2 UID FETCH 1:* (UID RFC822.SIZE)\n"
	hFetch   = hList + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * 2 FETCH (UID 6 RFC822.SIZE 3)\nS: T2 OK done\nC? T3 UID FETCH 5:6 (UID \n"
	hSelect  = hFetch + five + six + "S: T3 OK done\nC: T4 SELECT INBOX\n"
	hStore   = hSelect + "S: * 2 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T4 OK done\nC: T5 UID STORE 5:6 +FLAGS.SILENT (\\Deleted)\n"
	hExpunge = hStore + "S: T5 OK done\nC: T6 UID EXPUNGE 5:6\n"
	hLogout  = hExpunge + "S: T6 OK done\nC: T7 LOGOUT\n"
	hGood    = hLogout + "S: * BYE bye\nS: T7 OK done\n"
	hNames   = hAuth + "S: H2 OK [CAPABILITY IMAP4rev1 UIDPLUS] in\nC: T1 LIST \"\" \"*\"\n" // of an account that collects all
	hTLS     = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\n"
	hBody    = hFetch + "S: * 1 FETCH (UID 5 BODY[] {1000000}\n"
)

// hostiles are servers that mean no good, or know no better. kind is that of the first failure that a session
// on them meets: of the session, or of one message.
var hostiles = []struct {
	name, dialogue string
	kind           fault.Kind
}{
	// Silence.
	{"silence/greeting", "", fault.Timeout},
	{"silence/in the greeting", `S+ "* OK rea"` + "\n", fault.Timeout},
	{"silence/STARTTLS", hTLS, fault.Timeout},
	{"silence/handshake", hTLS + "S: H1 OK go\nANY\n", fault.Timeout},
	{"silence/AUTHENTICATE", hAuth, fault.Timeout},
	{"silence/EXAMINE", hExamine, fault.Timeout},
	{"silence/in EXAMINE", hExamine + "S: * 2 EXISTS\n", fault.Timeout},
	{"silence/in a listing", hList + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\n", fault.Timeout},
	{"silence/FETCH", hFetch, fault.Timeout},
	{"silence/in a body", hBody + "S: abc\n", fault.Timeout},
	{"silence/tagged answer never sent", hFetch + five + six, fault.Timeout},
	{"silence/SELECT", hSelect, fault.Timeout},
	{"silence/STORE", hStore, fault.Timeout},
	{"silence/EXPUNGE", hExpunge, fault.Timeout},
	{"silence/LOGOUT", hLogout, fault.Timeout},
	// An octet now and then.
	{"drip/greeting", `S~ 20ms "x"` + "\n", fault.Timeout},
	{"drip/handshake", hTLS + "S: H1 OK go\nANY\n" + `S~ 20ms "\x16"` + "\n", fault.TLS},
	{"drip/AUTHENTICATE", hAuth + `S~ 20ms " "` + "\n", fault.Timeout},
	{"drip/listing", hList + `S~ 20ms "*"` + "\n", fault.Timeout},
	{"drip/body", hBody + `S~ 20ms "x"` + "\n", fault.Timeout},
	// An end where none is due.
	{"cut/at once", "CLOSE\n", fault.Network},
	{"cut/STARTTLS", hTLS + "CLOSE\n", fault.TLS},
	{"cut/AUTHENTICATE", hAuth + "CLOSE\n", fault.Network},
	{"cut/in a listing", hList + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nCLOSE\n", fault.Network},
	{"cut/in a literal", hBody + "S: abc\nCLOSE\n", fault.Network},
	{"cut/after the literal", hFetch + "S: * 1 FETCH (UID 5 BODY[] {3}\n" + `S+ "abc"` + "\nCLOSE\n", fault.Network},
	{"cut/EXPUNGE", hExpunge + "CLOSE\n", fault.Network},
	{"BYE/greeting", "S: * BYE [UNAVAILABLE] no\nCLOSE\n", fault.Unavailable},
	{"BYE/AUTHENTICATE", hAuth + "S: * BYE no\nCLOSE\n", fault.Unavailable},
	{"BYE/EXAMINE", hExamine + "S: * BYE no\nCLOSE\n", fault.Unavailable},
	{"BYE/STORE", hStore + "S: * BYE no\nCLOSE\n", fault.Unavailable},
	// No end at all.
	{"endless/greeting", `S* 1000000 "* OK xxxxxxxxxxx"` + "\n", fault.Protocol},
	{"endless/untagged before login", hAuth + `S* 1000000 "* OK still here\r\n"` + "\n", fault.Protocol},
	{"endless/challenges", "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN\nS: H1 OK done\nC: H2 AUTHENTICATE PLAIN\n" + `S* 1000000 "+ xxxxxxxxxxxxx"` + "\n", fault.Protocol},
	{"endless/capabilities", `S* 1000000 "* OK [CAPABILITY A B C D E F G H I J"` + "\n", fault.Protocol},
	{"endless/1,000,000 mailboxes", hExamine + `S* 1000000 "* LIST (\\HasChildren) \"/\" \"../../etc/passwd\"\r\n"` + "\n", fault.Protocol},
	{"endless/listing", hList + `S* 1000000 "* 1 FETCH (UID 5 RFC822.SIZE 3)\r\n"` + "\n", fault.Protocol},
	{"endless/line of a listing", hList + `S* 1000000 "* 1 FETCH (UID 5 RFC822.SIZE 3"` + "\n", fault.Protocol},
	{"endless/FETCH not asked for", hFetch + `S* 1000000 "* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n"` + "\n", fault.Protocol},
	{"endless/bodies not asked for", hFetch + `S* 100000 "* 9 FETCH (UID 9 BODY[] {40}\r\n0123456789012345678901234567890123456789)\r\n"` + "\n", fault.Protocol},
	{"endless/literals in a line", hFetch + "S+ \"* 1 FETCH (UID 5 X \"\n" + `S* 1000000 "{40}\r\n0123456789012345678901234567890123456789 X "` + "\n", fault.Protocol},
	{"endless/parentheses", hFetch + `S* 1000000 "* 1 FETCH (UID 5 X (((((((((("` + "\n", fault.Protocol},
	{"endless/EXPUNGE", hExpunge + `S* 1000000 "* 1 EXPUNGE\r\n"` + "\n", fault.Protocol},
	{"endless/LIST", hNames + `S* 1000000 "* LIST (\\HasChildren) \"/\" \"../../etc/passwd\"\r\n"` + "\n", fault.Protocol},
	{"endless/LIST of long names", hNames + `S* 200000 "* LIST () \"/\" \"` + strings.Repeat(hundred, 5) + `\"\r\n"` + "\n", fault.Protocol},
	{"endless/attributes", hNames + `S* 1000000 "* LIST (\\a \\b \\c \\d \\e \\f \\g"` + "\n", fault.Protocol},
	{"endless/literals in LIST", hNames + `S* 1000000 "* LIST () \"/\" {4}\r\nx\r\ny\r\n"` + "\n", fault.Protocol},
	{"silence/LIST", hNames, fault.Timeout},
	{"cut/in a name", hNames + "S: * LIST () \"/\" {40}\nS: abc\nCLOSE\n", fault.Network},
	{"numbers/a huge name", hNames + "S: * LIST () \"/\" {4294967295}\n", fault.Protocol},
	{"turn/no mailbox at all", hNames + "S: T1 OK done\n", fault.NotFound},
	// Numbers.
	{"numbers/a huge literal", hFetch + "S: * 1 FETCH (UID 5 BODY[] {4294967295}\n", fault.Policy},
	{"numbers/a literal of 2^63-1", hFetch + "S: * 1 FETCH (UID 5 BODY[] {9223372036854775807}\n", fault.Timeout}, // no number of octets
	{"numbers/a literal of 20 digits", hFetch + "S: * 1 FETCH (UID 5 BODY[] {99999999999999999999}\n" + six + "S: T3 OK done\n", fault.NotFound},
	{"numbers/a negative literal", hFetch + "S: * 1 FETCH (UID 5 BODY[] {-1}\n" + six + "S: T3 OK done\n", fault.NotFound},
	{"numbers/a huge literal elsewhere", hExamine + "S: * LIST () \"/\" {4294967295}\n", fault.Protocol},
	{"numbers/EXISTS 2^32-1", hExamine + "S: * 4294967295 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK done\nC: T2 FETCH 4293967296:4294967295 (UID RFC822.SIZE)\nS: T2 OK done\nC: T3 LOGOUT\nS: T3 OK done\n", fault.None},
	{"numbers/UIDs 0 and 2^32-1", hList + "S: * 1 FETCH (UID 0 RFC822.SIZE 3)\nS: * 2 FETCH (UID 4294967295 RFC822.SIZE 3)\nS: T2 OK done\n" +
		"C? T3 UID FETCH 4294967295 (UID \nS: * 2 FETCH (UID 4294967295 BODY[] {3}\nS: abc)\nS: * 1 FETCH (UID 0 BODY[] {3}\nS: abc)\nS: T3 NO no\nC: T4 SELECT INBOX\nS: T4 NO no\n", fault.Unavailable},
	{"numbers/ESEARCH ranges", hList + "S: * ESEARCH (TAG \"T2\") UID ALL 1:4294967295\nS: T2 NO no\n", fault.Unavailable},
	{"numbers/compressed sizes", hList + "S: * 1 FETCH (UID 5 RFC822.SIZE 1)\nS: T2 OK done\nC? T3 UID FETCH 5 (UID \nS: * 1 FETCH (UID 5 BODY[] {1000000}\n" +
		`S* 10000 "` + hundred + `"` + "\nS: )\nS: T3 OK done\nC: T4 SELECT INBOX\nS: T4 NO no\n", fault.Unavailable},
	// Answers out of turn.
	{"turn/STARTTLS injection", hTLS + `S+ "H1 OK go\r\n* OK injected\r\n"` + "\n", fault.TLS},
	{"turn/STARTTLS, then garbage", hTLS + "S: H1 OK go\nANY\n" + `S+ "\x00\xff garbage garbage\r\n"` + "\n", fault.TLS},
	{"turn/STARTTLS refused", hTLS + "S: H1 NO not now\n", fault.TLS},
	{"turn/PREAUTH", "S: * PREAUTH [CAPABILITY IMAP4rev1] welcome\n", fault.Protocol},
	{"turn/tagged OK twice", hExamine + "S: * 2 EXISTS\nS: * OK [UIDVALIDITY 7] ok\n" + `S+ "T1 OK done\r\nT1 OK done\r\n"` + "\nANY\n", fault.Protocol},
	{"turn/a tag of the future", hExamine + "S: T9 OK done\n", fault.Protocol},
	{"turn/UID after BODY", hFetch + "S: * 1 FETCH (BODY[] {3}\nS: abc UID 5)\nS: * 2 FETCH (BODY[] {3}\nS: def UID 6)\nS: T3 OK done\nC: T4 SELECT INBOX\nS: T4 NO no\n", fault.Unavailable},
	{"turn/another UIDVALIDITY at SELECT", hSelect + "S: * 2 EXISTS\nS: * OK [UIDVALIDITY 8] ok\nS: T4 OK done\n", fault.NotFound},
	{"turn/a challenge to EXAMINE", hExamine + "S: + go on\n", fault.Protocol},
	// Octets.
	{"octets/CAPABILITY with parenthesis", "S: * OK [CAPABILITY IMAP4rev1 (x] hi\n", fault.Protocol},
	{"octets/the same later", hExamine + "S: * CAPABILITY IMAP4rev1 (\n", fault.Protocol},
	{"octets/NUL", hExamine + `S+ "\x00\x00\x00\r\n"` + "\n", fault.Protocol},
	{"octets/8-bit", hAuth + `S+ "H2 NO \xff\xfe\x80\xe4\r\n"` + "\n", fault.Auth},
	{"octets/a forged log line", hExamine + `S+ "T1 NO [SERVERBUG] no\rlevel=info msg=\"delivered\"\x1b[2J\x1b[31m\u202e\u2028\r\n"` + "\n", fault.Unavailable},
	{"octets/the password repeated", hExamine + "S: T1 NO wrong: " + canary + " " + strings.ToUpper(canary) + "\n", fault.Unavailable},
	{"octets/the password in a line out of turn", hExamine + "S: " + canary + "\n", fault.Protocol},
	{"octets/a long reason", hExamine + "S: T1 NO " + strings.Repeat("x", 60_000) + "\n", fault.Unavailable},
	// Other servers.
	{"another/POP3", "S: +OK ready\n", fault.Protocol},
	{"another/web", "S: HTTP/1.1 400 Bad Request\n", fault.Protocol},
	{"another/SMTP", "S: 220 mail ESMTP\n", fault.Protocol},
	{"another/TLS", `S+ "\x15\x03\x01\x00\x02\x02\x0a"` + "\n", fault.Protocol},
}

// TestHostileServers plays a session with each: it fails by the right kind, in time, with little memory, and
// shows no password. In the end nothing of it is left, and a good server is served as ever. It runs while no
// other test does, for what it counts.
func TestHostileServers(t *testing.T) { //nolint:paralleltest // it counts what the process has
	files, routines := open(t), runtime.NumGoroutine()
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) { //nolint:paralleltest // as above
			err := visit(t, h.dialogue, h.kind)
			if fault.KindOf(err) != h.kind {
				t.Errorf("%v is of kind %q, want %q", err, fault.KindOf(err), h.kind)
			}
			if err == nil {
				return
			}
			text := err.Error()
			if strings.Contains(strings.ToLower(text), strings.ToLower(canary)) {
				t.Errorf("the password shows: %s", text)
			}
			if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\u202e' || c == '\u2028' }) || len(text) > 1000 {
				t.Errorf("text that can forge a log line, or flood one: %q", text)
			}
		})
	}
	testenv.Eventually(t, 20*time.Second, "all descriptors and goroutines are given back", func() bool {
		return open(t) <= files && runtime.NumGoroutine() <= routines
	})
	if err := visit(t, hGood, fault.None); err != nil {
		t.Errorf("a good server: %v", err)
	}
}

// visit plays a session within bounds of time and memory and returns its first failure. The limits are short
// where they are what ends the session; elsewhere a slow machine must not run into them.
func visit(t *testing.T, dialogue string, kind fault.Kind) error {
	t.Helper()
	const (
		short   = 250 * time.Millisecond
		ample   = 10 * time.Second
		long    = time.Minute
		outer   = 30 * time.Second
		mostRAM = 16 << 20
	)
	s := testenv.NewScript(t, dialogue)
	d := dialer(s.CA.Pool)
	d.Limits = remote.Limits{Dial: short, Command: short, Idle: short, Message: 1 << 20}
	if kind != fault.Timeout {
		d.Limits.Dial, d.Limits.Command, d.Limits.Idle = ample, ample, ample
	}
	if strings.Contains(dialogue, "S* ") {
		d.Limits.Dial, d.Limits.Command, d.Limits.Idle = long, long, long // octets bound it, not time
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), outer, fault.Errorf(fault.Internal, "test", "no bound held"))
	defer cancel()
	target := local(s.Port)
	target.TLS = account.Detect
	if strings.HasPrefix(dialogue, hNames) {
		target.Mailboxes.Names = []string{"*"}
	}
	grown := watchHeap(t)
	err := journey(ctx, d, target)
	if most := grown(); most > mostRAM {
		t.Errorf("the heap grew by %d octets", most)
	}
	return err
}

// journey is a whole session; it returns the first failure, of the session or of a message.
func journey(ctx context.Context, d remote.Dialer, target remote.Target) error {
	s, err := imap.Dial(ctx, d, target)
	if err != nil {
		return err
	}
	defer s.Abort()
	l, err := s.List(ctx)
	if err != nil {
		return err
	}
	var failed error
	err = s.Fetch(ctx, l.Items, func(f remote.Fetched) error {
		err := f.Err
		if err == nil {
			_, err = io.Copy(io.Discard, f.Body)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("message %d: %w", f.Item.UID, err)
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if err := s.Delete(ctx, l.Items); err != nil {
		return err
	}
	return s.Close(ctx)
}

// open counts the descriptors of this process.
func open(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	return len(all)
}
