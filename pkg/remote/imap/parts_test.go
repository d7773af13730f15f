package imap_test

import (
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// apart are messages of two mailboxes, mixed.
func apart() []remote.Item {
	all := items(6, 2, 5, 1)
	for i, m := range map[int]string{1: "Grüße", 3: "Grüße"} {
		all[i].Mailbox, all[i].UIDValidity = m, 8
	}
	return all
}

// opened is a mailbox that is opened with a command.
func opened(command, tag, mailbox, validity string) string {
	return "C: " + tag + " " + command + " " + mailbox + "\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY " + validity + "] ok\nS: " + tag + " OK done\n"
}

const greetings = "\"Gr&APwA3w-e\""

// TestTwoMailboxes does what can be done with messages of two mailboxes: each is opened in turn.
func TestTwoMailboxes(t *testing.T) {
	t.Parallel()
	const plus = greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1 UIDPLUS MOVE] in\n"
	remove := func(s remote.Session) error { return s.Delete(t.Context(), apart()) }
	for name, tt := range map[string]struct {
		dialogue string
		do       func(remote.Session) error
		kind     fault.Kind
	}{
		"delete": {dialogue: plus + opened("SELECT", "T1", "INBOX", "7") + "C: T2 UID STORE 5:6 +FLAGS.SILENT (\\Deleted)\nS: T2 OK a\nC: T3 UID EXPUNGE 5:6\nS: T3 OK a\n" +
			opened("SELECT", "T4", greetings, "8") + "C: T5 UID STORE 1:2 +FLAGS.SILENT (\\Deleted)\nS: T5 OK a\nC: T6 UID EXPUNGE 1:2\nS: T6 OK a\n", do: remove},
		"one was made anew": {dialogue: plus + opened("SELECT", "T1", "INBOX", "9") +
			opened("SELECT", "T2", greetings, "8") + "C: T3 UID STORE 1:2 +FLAGS.SILENT (\\Deleted)\nS: T3 OK a\nC: T4 UID EXPUNGE 1:2\nS: T4 OK a\n", do: remove, kind: fault.NotFound},
		"one is refused": {dialogue: plus + "C: T1 SELECT INBOX\nS: T1 NO [NOPERM] no\n" +
			opened("SELECT", "T2", greetings, "8") + "C: T3 UID STORE 1:2 +FLAGS.SILENT (\\Deleted)\nS: T3 OK a\nC: T4 UID EXPUNGE 1:2\nS: T4 OK a\n", do: remove, kind: fault.Auth},
		"the session ends": {dialogue: plus + "C: T1 SELECT INBOX\nCLOSE\n", do: remove, kind: fault.Network},
		"too much":         {dialogue: plus + "C: T1 SELECT INBOX\nS: T1 NO [THROTTLED] later\n", do: remove, kind: fault.Throttled},
		"move": {dialogue: plus + opened("SELECT", "T1", "INBOX", "7") + "C: T2 UID MOVE 5:6 \"Done\"\nS: T2 OK a\n" +
			opened("SELECT", "T3", greetings, "8") + "C: T4 UID MOVE 1:2 \"Done\"\nS: T4 OK a\n",
			do: func(s remote.Session) error { return s.(remote.Mover).Move(t.Context(), apart(), "Done") }},
		"mark as seen": {dialogue: plus + opened("SELECT", "T1", "INBOX", "7") + "C: T2 UID STORE 5:6 +FLAGS.SILENT (\\Seen)\nS: T2 OK a\n" +
			opened("SELECT", "T3", greetings, "8") + "C: T4 UID STORE 1:2 +FLAGS.SILENT (\\Seen)\nS: T4 OK a\n",
			do: func(s remote.Session) error { return s.(remote.Marker).MarkSeen(t.Context(), apart()) }},
		"choose": {dialogue: plus + opened("EXAMINE", "T1", "INBOX", "7") + "C: T2 UID SEARCH UID 5:6 UNSEEN\nS: * SEARCH 6\nS: T2 OK a\n" +
			opened("EXAMINE", "T3", greetings, "8") + "C: T4 UID SEARCH UID 1:2 UNSEEN\nS: * SEARCH 1 6\nS: T4 OK a\n",
			do: func(s remote.Session) error {
				got, err := s.(remote.Chooser).Choose(t.Context(), apart(), remote.Criteria{Unseen: true})
				if len(got) != 2 || got[0].UID != 6 || got[1].UID != 1 || got[1].Mailbox != "Grüße" {
					t.Errorf("chosen %+v", got)
				}
				return err
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			err := tt.do(session(t, brief(dialer(nil)), local(script.Port)))
			if fault.KindOf(err) != tt.kind {
				t.Errorf("%v, want kind %q", err, tt.kind)
			}
			wholly(t, script)
		})
	}
}

// TestFetchFromTwoMailboxes opens each that is not open, and goes on where one is refused.
func TestFetchFromTwoMailboxes(t *testing.T) {
	t.Parallel()
	const body = "C? T2 UID FETCH 5:6 (\n" + five + six + "S: T2 OK a\n"
	both := signs + opened("EXAMINE", "T1", "INBOX", "7") + body
	for name, tt := range map[string]struct{ dialogue, want string }{
		"both": {both + opened("EXAMINE", "T3", greetings, "8") + "C? T4 UID FETCH 1:2 (\nS: * 1 FETCH (UID 1 BODY[] {1}\nS: a)\nS: * 2 FETCH (UID 2 BODY[] {1}\nS: b)\nS: T4 OK a\n", "5:abc 6:def 1:a 2:b"},
		"one":  {both + "C: T3 EXAMINE " + greetings + "\nS: T3 NO [NOPERM] no\n", "5:abc 6:def 2:!auth 1:!auth"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			got, err := outcomes(t, session(t, brief(dialer(nil)), local(script.Port)), apart())
			if err != nil || got != tt.want {
				t.Errorf("%s, %v, want %s", got, err, tt.want)
			}
			wholly(t, script)
		})
	}
}
