package pop3_test

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
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Parts of dialogues.
const (
	hUser   = "S: +OK\nC: CAPA\nS: -ERR\nC: USER mrose\n"
	hPass   = hUser + "S: +OK\nC: PASS " + canary + "\n"
	hStat   = hPass + "S: +OK\nC: STAT\n"
	hUIDL   = hStat + "S: +OK 2 20\nC: UIDL\n"
	hList   = hUIDL + "S: +OK\nS: 1 a\nS: 2 b\nS: .\nC: LIST\n"
	hRetr   = hList + "S: +OK\nS: 1 10\nS: 2 10\nS: .\nC: RETR 1\n"
	hBody   = hRetr + "S: +OK\nS: Subject: x\nS: \n"
	hRetr2  = hBody + "S: .\nC: RETR 2\n"
	hDele   = hRetr2 + "S: +OK\nS: x\nS: .\nC: DELE 1\n"
	hDele2  = hDele + "S: +OK\nC: DELE 2\n"
	hQuit   = hDele2 + "S: +OK\nC: QUIT\n"
	hSTLS   = "S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\n"
	hTLS    = hSTLS + "S: +OK\nTLS\n"
	noLimit = time.Minute
)

// hostiles are servers that mean no good, or know no better. what is the kind of the first failure that a
// session on them meets: of the session, or of one message.
var hostiles = []struct {
	name, dialogue string
	kind           fault.Kind
}{
	// Silence.
	{"silence/greeting", "", fault.Timeout},
	{"silence/in the greeting", `S+ "+OK rea"` + "\n", fault.Timeout},
	{"silence/CAPA", "S: +OK\nC: CAPA\n", fault.Timeout},
	{"silence/in CAPA", "S: +OK\nC: CAPA\nS: +OK\nS: UIDL\n", fault.Timeout},
	{"silence/STLS", hSTLS, fault.Timeout},
	{"silence/handshake", hSTLS + "S: +OK\nANY\n", fault.Timeout},
	{"silence/CAPA in TLS", hTLS + "C: CAPA\n", fault.Timeout},
	{"silence/USER", hUser, fault.Timeout},
	{"silence/PASS", hPass, fault.Timeout},
	{"silence/STAT", hStat, fault.Timeout},
	{"silence/UIDL", hUIDL, fault.Timeout},
	{"silence/in UIDL", hUIDL + "S: +OK\nS: 1 a\n", fault.Timeout},
	{"silence/LIST", hList, fault.Timeout},
	{"silence/in LIST", hList + "S: +OK\nS: 1 10\n", fault.Timeout},
	{"silence/RETR", hRetr, fault.Timeout},
	{"silence/in a body", hBody, fault.Timeout},
	{"silence/in an end mark", hBody + `S+ "\r\n."` + "\n", fault.Timeout},
	{"silence/next RETR", hRetr2, fault.Timeout},
	{"silence/DELE", hDele, fault.Timeout},
	{"silence/QUIT", hQuit, fault.Timeout},
	// An octet now and then.
	{"drip/greeting", `S~ 20ms "x"` + "\n", fault.Timeout},
	{"drip/CAPA", "S: +OK\nC: CAPA\nS: +OK\n" + `S~ 20ms "x\r\n"` + "\n", fault.Timeout},
	{"drip/handshake", hSTLS + "S: +OK\nANY\n" + `S~ 20ms "\x16"` + "\n", fault.TLS},
	{"drip/PASS", hPass + `S~ 20ms " "` + "\n", fault.Timeout},
	{"drip/UIDL", hUIDL + "S: +OK\n" + `S~ 20ms "1 a\r\n"` + "\n", fault.Timeout},
	{"drip/LIST", hList + "S: +OK\n" + `S~ 20ms "1"` + "\n", fault.Timeout},
	{"drip/body", hBody + `S~ 20ms "x"` + "\n", fault.Timeout}, // the run's own limit
	// An end where none is due.
	{"cut/at once", "CLOSE\n", fault.Network},
	{"cut/greeting", `S+ "+OK rea"` + "\nCLOSE\n", fault.Network},
	{"cut/in CAPA", "S: +OK\nC: CAPA\nS: +OK\nS: UIDL\nCLOSE\n", fault.Network},
	{"cut/STLS", hSTLS + "CLOSE\n", fault.TLS},
	{"cut/handshake", hSTLS + "S: +OK\nANY\nCLOSE\n", fault.TLS},
	{"cut/PASS", hPass + "CLOSE\n", fault.Network},
	{"cut/in UIDL", hUIDL + "S: +OK\nS: 1 a\n" + `S+ "2"` + "\nCLOSE\n", fault.Network},
	{"cut/in a body", hBody + "CLOSE\n", fault.Network},
	{"cut/in an end mark", hBody + `S+ "\r\n.\r"` + "\nCLOSE\n", fault.Network},
	{"cut/DELE", hDele + "CLOSE\n", fault.Network},
	{"cut/QUIT", hQuit + "CLOSE\n", fault.Network},
	// No end at all.
	{"endless/greeting", `S* 1000000 "+OK xxxxxxxxxxxx"` + "\n", fault.Protocol},
	{"endless/status", hPass + `S* 1000000 "-ERR xxxxxxxxxxx"` + "\n", fault.Protocol},
	{"endless/capabilities", "S: +OK\nC: CAPA\nS: +OK\n" + `S* 100000 "XYZZY 12345\r\n"` + "\n", fault.Protocol},
	{"endless/line of CAPA", "S: +OK\nC: CAPA\nS: +OK\n" + `S* 1000000 "XYZZYXYZZYXYZZY"` + "\n", fault.Protocol},
	{"endless/UIDL", hUIDL + "S: +OK\n" + `S* 1000000 "1 abcdefghijklmnopqrstuvwxyz\r\n"` + "\n", fault.Protocol},
	{"endless/line of UIDL", hUIDL + "S: +OK\n" + `S* 1000000 "1 abcdefghijklmnopqrstuvwxyz"` + "\n", fault.Protocol},
	{"endless/LIST", hList + "S: +OK\n" + `S* 1000000 "1 99999999999999999999999999\r\n"` + "\n", fault.Protocol},
	{"endless/body", hBody + `S* 1000000 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"` + "\n", fault.Policy},
	{"endless/line of a body", hBody + `S* 1000000 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"` + "\n", fault.Policy},
	{"endless/dots", hBody + `S* 1000000 "..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n"` + "\n", fault.Policy},
	// Numbers.
	{"numbers/negative STAT", hStat + "S: +OK -1 -1\n", fault.Protocol},
	{"numbers/huge STAT", hStat + "S: +OK 99999999999999999999 1\n", fault.Protocol},
	{"numbers/2^31 in STAT", hStat + "S: +OK 2147483648 1\n", fault.Protocol},
	{"numbers/STAT that promises", hStat + "S: +OK 2147483647 1\nC: UIDL\nS: +OK\nS: .\nC: LIST\nS: +OK\nS: .\nC: QUIT\nS: +OK\n", fault.None},
	{"numbers/no STAT", hStat + "S: +OK\n", fault.Protocol},
	{"numbers/0 and 2^31 in UIDL", hUIDL + "S: +OK\nS: 0 a\nS: 2147483648 b\nS: -1 c\nS: .\nC: LIST\nS: +OK\nS: 0 1\nS: 2147483648 1\nS: -1 1\nS: .\nC: QUIT\nS: +OK\n", fault.None},
	{"numbers/negative and huge sizes", hList + "S: +OK\nS: 1 -1\nS: 2 99999999999999999999\nS: .\nC: RETR 1\nS: +OK\nS: .\nC: RETR 2\nS: +OK\nS: .\nC: DELE 1\nS: +OK\nC: DELE 2\nS: +OK\nC: QUIT\nS: +OK\n", fault.None},
	{"numbers/compressed sizes", hList + "S: +OK\nS: 1 1\nS: 2 1\nS: .\nC: RETR 1\nS: +OK 1 octets\n" + `S* 10000 "xxxxxxxxxxxxxxxx\r\n"` + "\nS: .\nC: RETR 2\nS: +OK\nS: .\nC: DELE 1\nS: +OK\nC: DELE 2\nS: +OK\nC: QUIT\nS: +OK\n", fault.None},
	{"numbers/more in UIDL than STAT", hStat + "S: +OK 1 10\nC: UIDL\nS: +OK\nS: 1 a\nS: 2 b\nS: 3 c\nS: .\nC: LIST\nS: +OK\nS: 1 10\nS: .\nC: RETR 1\nS: +OK\nS: .\nC: DELE 1\nS: +OK\nC: QUIT\nS: +OK\n", fault.None},
	{"numbers/LOGIN-DELAY and EXPIRE", "S: +OK\nC: CAPA\nS: +OK\nS: LOGIN-DELAY 99999999999999999999\nS: EXPIRE -1\nS: EXPIRE\nS: LOGIN-DELAY\nS: .\nC: USER mrose\nS: -ERR [LOGIN-DELAY] later\n", fault.Throttled},
	// Answers out of turn.
	{"turn/STLS injection", hSTLS + `S+ "+OK\r\n+OK injected\r\n"` + "\n", fault.TLS},
	{"turn/STLS, then garbage", hSTLS + "S: +OK\nANY\n" + `S+ "\x00\xff garbage garbage garbage\r\n"` + "\n", fault.TLS},
	{"turn/STLS, then plain text", hSTLS + "S: +OK\nANY\nS: +OK welcome\n", fault.TLS},
	{"turn/STLS refused", hSTLS + "S: -ERR not now\n", fault.TLS},
	{"turn/greeting twice", `S+ "+OK\r\n+OK\r\n"` + "\n", fault.Protocol},
	{"turn/answers not asked for", `S+ "+OK\r\n-ERR\r\n+OK\r\n+OK\r\n+OK 0 0\r\n+OK\r\n.\r\n+OK\r\n.\r\n+OK\r\n"` + "\n", fault.Protocol},
	{"turn/OK twice to PASS", hPass + `S+ "+OK\r\n+OK\r\n"` + "\n", fault.Protocol},
	{"turn/OK twice to RETR", hRetr + `S+ "+OK\r\n+OK 10 octets\r\nSubject: x\r\n\r\n.\r\n"` + "\n", fault.Protocol},
	{"turn/body twice", hBody + `S+ ".\r\nSubject: x\r\n\r\n.\r\n"` + "\nC: RETR 2\n", fault.Protocol},
	// Octets.
	{"octets/CR without LF", `S+ "+OK\r"` + "\n", fault.Timeout},
	{"octets/LF without CR", `S+ "+OK\n"` + "\n", fault.Protocol},
	{"octets/NUL", `S+ "\x00\x00\x00\x00\r\n"` + "\n", fault.Protocol},
	{"octets/NUL in a status", hPass + `S+ "-ERR \x00\x00\r\n"` + "\n", fault.Auth},
	{"octets/8-bit", hPass + `S+ "-ERR \xff\xfe\x80\xe4\r\n"` + "\n", fault.Auth},
	{"octets/a forged log line", hPass + `S+ "-ERR no\rlevel=info msg=\"delivered\"\x1b[2J\x1b[31m\u202e\u2028\r\n"` + "\n", fault.Auth},
	{"octets/the password in pieces", hPass + "S: -ERR wrong: " + canary + " " + strings.ToUpper(canary) + "\n", fault.Auth},
	{"octets/a long reason", hPass + "S: -ERR " + strings.Repeat("x", 60_000) + "\n", fault.Auth},
	{"octets/empty lines", hPass + "S: \nS: \nS: \n", fault.Protocol},
	// Other servers.
	{"another/web", "S: HTTP/1.1 400 Bad Request\n", fault.Protocol},
	{"another/IMAP", "S: * OK IMAP4rev1 ready\n", fault.Protocol},
	{"another/SMTP", "S: 220 mail ESMTP\n", fault.Protocol},
	{"another/SSH", "S: SSH-2.0-OpenSSH_9.2\n", fault.Protocol},
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
	if err := visit(t, hQuit+"S: +OK\n", fault.None); err != nil {
		t.Errorf("a good server: %v", err)
	}
}

// visit plays a session within bounds of time and memory and returns its first failure. The limits are short
// where they are what ends the session; elsewhere a slow machine must not run into them.
func visit(t *testing.T, dialogue string, kind fault.Kind) error {
	t.Helper()
	const (
		brief   = 250 * time.Millisecond
		ample   = 10 * time.Second
		whole   = 2 * time.Second // the limit of a run
		outer   = 20 * time.Second
		mostRAM = 16 << 20
	)
	s := testenv.NewScript(t, dialogue)
	d := dialer(s.CA.Pool)
	d.Limits = remote.Limits{Dial: brief, Command: brief, Idle: brief, Message: 1 << 20}
	if kind != fault.Timeout {
		d.Limits.Dial, d.Limits.Command, d.Limits.Idle = ample, ample, ample
	}
	if strings.Contains(dialogue, "S* ") {
		d.Limits.Dial, d.Limits.Command, d.Limits.Idle = noLimit, noLimit, noLimit // octets bound it, not time
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), outer, fault.Errorf(fault.Internal, "test", "no bound held"))
	defer cancel()
	if strings.Contains(dialogue, "Subject") && strings.Contains(dialogue, "S~") {
		ctx, cancel = context.WithTimeoutCause(ctx, whole, fault.Errorf(fault.Timeout, "run", "took longer than %v", whole))
		defer cancel()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := journey(ctx, d, remote.Target{
		Host: "localhost", Port: s.Port, TLS: account.Detect, Username: "mrose", Password: canary,
	})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > mostRAM {
		t.Errorf("%d octets were allocated", used)
	}
	return err
}

// journey is a whole session; it returns the first failure, of the session or of a message.
func journey(ctx context.Context, d remote.Dialer, target remote.Target) error {
	s, err := pop3.Dial(ctx, d, target)
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
			failed = fmt.Errorf("message %d: %w", f.Item.Number, err)
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
