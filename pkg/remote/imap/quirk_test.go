package imap_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// collects is a session that signs in, lists and fetches all: what came of each message in the order of UIDs,
// and where and by which kind of fault the session ended early.
func collects(t *testing.T, script *testenv.Script) string {
	t.Helper()
	s, err := imap.Dial(t.Context(), brief(dialer(nil)), local(script.Port))
	if err != nil {
		return "dial: " + fault.KindOf(err).String()
	}
	defer s.Abort()
	l, err := s.List(t.Context())
	if err != nil {
		return "list: " + fault.KindOf(err).String()
	}
	slices.Reverse(l.Items) // newest first is nothing a command shows
	got := map[uint32]string{}
	err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
		got[f.Item.UID] += outcome(f) // twice shows
		return nil
	})
	var all []string
	for _, it := range slices.Backward(l.Items) {
		if o, ok := got[it.UID]; ok {
			all = append(all, o)
		}
	}
	if !l.Complete {
		all = append(all, "incomplete")
	}
	if err != nil {
		all = append(all, "fetch: "+fault.KindOf(err).String())
	}
	return strings.Join(all, " ")
}

// TestQuirks plays what servers are known to do. The numbers are those of the quirks.
func TestQuirks(t *testing.T) {
	t.Parallel()
	const (
		auth    = greets + "C? H1 AUTHENTICATE PLAIN \n"
		ok      = "S: T3 OK done\n"
		all     = five + six + nine + ok
		examine = signs + "C: T1 EXAMINE INBOX\n"
		sizes   = lists + "S: * 1 FETCH (UID 5 RFC822.SIZE %s)\nS: * 2 FETCH (UID 6 RFC822.SIZE %[1]s)\n" +
			"S: * 3 FETCH (UID 9 RFC822.SIZE %[1]s)\nS: T2 OK done\nC? T3 UID FETCH 5:6,9 (UID \n" + all
		idThen = auth + "S: H1 OK [CAPABILITY IMAP4rev1 ID] in\nC: T1 ID (\"name\" \"mailferry\" \"version\" \"1\")\n"
	)
	for _, tt := range []struct{ name, dialogue, want string }{
		{"quirk02/download limit", fetches + five + "S: T3 NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\n", "abc fetch: remote-quota"},
		{"quirk02/throttled", fetches + five + "S: T3 NO [THROTTLED] slow down\n", "abc fetch: throttled"},
		{"quirk02/BYE", fetches + five + "S: * BYE [THROTTLED] Session expired\nCLOSE\n", "abc fetch: throttled"},
		{"quirk02/too many connections", auth + "S: H1 NO [ALERT] Too many simultaneous connections. (Failure)\n", "dial: throttled"},
		{"quirk03/INBOX alone, no label", fetches + all, "abc def ghi"},
		{"quirk05/authenticated but not connected", auth + "S: H1 BAD User is authenticated but not connected.\n", "dial: throttled"},
		{"quirk05/the same at EXAMINE", examine + "S: T1 BAD User is authenticated but not connected.\n", "list: throttled"},
		{"quirk06/backoff time", examine + "S: T1 NO Request is throttled. Suggested Backoff Time: 299963 milliseconds\n", "list: throttled"},
		{"quirk07/OK without data", fetches + five + nine + ok, "abc !not-found ghi"},
		{"quirk07/beyond EXISTS", fetches + five + "S: * 77 FETCH (UID 77 BODY[] {3}\nS: xxx)\n" + six + nine + ok, "abc def ghi"},
		{"quirk07/the last one for n:*", fetches + "S: * 1 FETCH (UID 4 BODY[] {3}\nS: xxx)\n" + all, "abc def ghi"},
		{"quirk08/three times the size", fmt.Sprintf(sizes, "9"), "abc def ghi"},
		{"quirk08/compressed sizes", fmt.Sprintf(sizes, "1"), "abc def ghi"},
		{"quirk09/ID before EXAMINE", idThen + "C: T2 EXAMINE INBOX\nS: * ID NIL\nS: T1 OK done\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] x\nS: T2 OK done\n", ""},
		{"quirk09/Unsafe Login", examine + "S: T1 NO EXAMINE Unsafe Login. Please contact kefu@188.com for help\n", "list: unavailable"},
		{"quirk10/ID refused", idThen + "C: T2 EXAMINE INBOX\nS: T1 BAD Invalid command\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] x\nS: T2 OK done\n", ""},
		{"quirk10/no ID unless offered", examine + "S: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] x\nS: T1 OK done\n", ""},
		{"quirk11/ascending sets", fetches + all, "abc def ghi"},
		{"quirk12/one UID refused", fetches + five + "S: T3 NO [UNAVAILABLE] UID FETCH Server error\n" +
			"C? T4 UID FETCH 6 (\nS: T4 NO [UNAVAILABLE] UID FETCH Server error\nC? T5 UID FETCH 6 (\nS: T5 NO [UNAVAILABLE] UID FETCH Server error\n" +
			"C? T6 UID FETCH 6 (\nS: T6 NO [UNAVAILABLE] UID FETCH Server error\nC? T7 UID FETCH 9 (\n" + nine + "S: T7 OK done\n", "abc !unavailable ghi"},
		{"quirk12/LIMIT and BYE", fetches + five + "S: T3 NO [LIMIT] UID FETCH Rate limit hit\nS: * BYE [LIMIT] bye\nCLOSE\n", "abc fetch: throttled"},
		{"quirk12/not all are visible", strings.Replace(fetches, "* 3 EXISTS", "* 12000 EXISTS", 1) + all, "abc def ghi incomplete"},
		{"quirk12/EXPUNGE of numbers long gone", fetches + five + "S: * 3 EXPUNGE\nS: * 3 EXPUNGE\nS: * 3 EXPUNGE\nS: * 3 EXPUNGE\n" + six + nine + ok, "abc def ghi"},
		{"quirk13/no body at all", fetches + five + "S: * 2 FETCH (UID 6)\n" + nine + ok, "abc !not-found ghi"},
		{"quirk13/capabilities after login", auth + "S: H1 OK in\nC: H2 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: H2 OK done\nC: T1 EXAMINE INBOX\n" +
			"S: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] x\nS: T1 OK done\n", ""},
		{"quirk13/a malformed ENVELOPE", fetches + five + "S: * 2 FETCH (UID 6 ENVELOPE (NIL \"x\" ((NIL NIL)) BODY[] {3}\nS: def)\n" + nine + ok, "abc !not-found ghi"},
		{"quirk14/a NIL boundary", fetches + five + "S: * 2 FETCH (UID 6 BODYSTRUCTURE (\"text\" \"plain\" (\"boundary\" NIL)) BODY[] {3}\nS: def)\n" + nine + ok, "abc def ghi"},
		{"quirk15/UIDVALIDITY 0", strings.Replace(fetches, "[UIDVALIDITY 7]", "[UIDVALIDITY 0]", 1) + all, "abc def ghi"},
		{"quirk15/no UIDVALIDITY", strings.Replace(fetches, "S: * OK [UIDVALIDITY 7] ok\n", "", 1) + all, "abc def ghi"},
		{"quirk15/none and empty (UW)", examine + "S: * 0 EXISTS\nS: T1 OK done\n", ""},
		{"quirk27/a literal without length", fetches + five + "S: * 2 FETCH (UID 6 BODY[] {}\nS: def)\n", "abc fetch: protocol"},
		{"quirk27/one whole body", fetches + all, "abc def ghi"},
		{"quirk28/answered twice", fetches + five + five + six + six + nine + nine + ok, "abc def ghi"},
		{"quirk28/unasked in between", fetches + "S: * 2 FETCH (FLAGS (\\Seen))\n" + five + "S: * 3 FETCH (FLAGS (\\Seen) UID 9)\n" + six + "S: * 1 FETCH (MODSEQ (7))\n" + nine + ok, "abc def ghi"},
		{"quirk29/BYE after login", signs + "C: T1 EXAMINE INBOX\nS: * BYE [UNAVAILABLE] Server shutting down\nCLOSE\n", "list: unavailable"},
		{"quirk29/BYE in a body", fetches + five + "S: * 2 FETCH (UID 6 BODY[] {300}\nS: * BYE bye\nCLOSE\n", "abc * BYE bye\r\n…!network fetch: network"},
		{"quirk30/EXAMINE always fails", examine + "S: T1 NO [NONEXISTENT] Mailbox doesn't exist\n", "list: not-found"},
		{"quirk30/and says no more", examine + "S: T1 NO failed\n", "list: unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			if got := collects(t, script); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			wholly(t, script)
		})
	}
}

// TestQuirkOfAnotherUIDValidity asks for messages, and for their end, by UIDs of a mailbox that was made anew.
func TestQuirkOfAnotherUIDValidity(t *testing.T) {
	t.Parallel()
	t.Run("quirk15/another UIDVALIDITY", func(t *testing.T) {
		t.Parallel()
		script := testenv.NewScript(t, strings.Replace(opens, "UIDVALIDITY 7", "UIDVALIDITY 8", 1)+
			"C: T2 SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 8] ok\nS: T2 OK done\n")
		s := session(t, brief(dialer(nil)), local(script.Port))
		got, err := outcomes(t, s, items(5, 6))
		if err != nil || got != "5:!not-found 6:!not-found" {
			t.Errorf("%q, %v", got, err)
		}
		failsWith(t, s.Delete(t.Context(), items(5, 6)), fault.NotFound, "nothing is done")
		wholly(t, script)
	})
	t.Run("quirk15/no UIDVALIDITY", func(t *testing.T) {
		t.Parallel()
		script := testenv.NewScript(t, strings.Replace(listed, "S: * OK [UIDVALIDITY 7] ok\n", "", 1))
		s := session(t, brief(dialer(nil)), local(script.Port))
		l, err := s.List(t.Context())
		if err != nil || !l.Complete || len(l.Items) != 3 || l.Items[0].UIDValidity != 0 || l.Whole()["INBOX"] || l.Mailboxes[0].Status != (remote.Status{}) {
			t.Errorf("%+v, %v", l, err)
		}
		for name, err := range map[string]error{
			"delete": s.Delete(t.Context(), l.Items), "move": s.(remote.Mover).Move(t.Context(), l.Items, "Gone"), "mark": s.(remote.Marker).MarkSeen(t.Context(), l.Items),
		} {
			if fault.KindOf(err) != fault.Protocol || !strings.Contains(err.Error(), "nothing is done") {
				t.Errorf("%s: %v", name, err)
			}
		}
		wholly(t, script)
	})
}

// TestQuirksOfCommands looks at what is never asked for: what servers are known to answer wrongly.
func TestQuirksOfCommands(t *testing.T) {
	t.Parallel()
	t.Run("quirk13+14/bodies and nothing but bodies", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		var commands []string
		port := streamFor(t, 1, func(w io.Writer, command string) {
			mu.Lock()
			defer mu.Unlock()
			commands = append(commands, command)
			fmt.Fprint(w, "* 1 FETCH (UID 5 RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n")
		})
		if n, err := fetchAll(t.Context(), session(t, dialer(nil), local(port))); n != 1 || err != nil {
			t.Errorf("%d messages, %v", n, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, c := range commands {
			if strings.Contains(c, "ENVELOPE") || strings.Contains(c, "BODYSTRUCTURE") || strings.Count(c, "BODY") != strings.Count(c, "BODY.PEEK[]") {
				t.Errorf("%q", c)
			}
		}
		if len(commands) != 2 {
			t.Errorf("commands %q", commands)
		}
	})
}
