package imap_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Parts of dialogues: a session that may do these things, in a mailbox that may be changed.
func mayDo(capabilities string) string {
	return greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1" + capabilities + "] in\n" +
		"C: T1 SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK [READ-WRITE] done\n"
}

func TestMove(t *testing.T) {
	t.Parallel()
	const (
		gone   = "S: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\n"
		copies = "C: T2 UID COPY 5:6,9 \"Gr&APwA3w-e\"\nS: T2 OK [COPYUID 1 5:6,9 1:3] done\nC: T3 SELECT INBOX\nS: * 3 EXISTS\n" +
			"S: * OK [UIDVALIDITY 7] ok\nS: T3 OK done\nC: T4 UID STORE 5:6,9 +FLAGS.SILENT (\\Deleted)\nS: T4 OK done\n"
	)
	for name, tt := range map[string]struct {
		dialogue string
		kind     fault.Kind
		text     string
	}{
		"MOVE": {dialogue: mayDo(" MOVE") + "C: T2 UID MOVE 5:6,9 \"Gr&APwA3w-e\"\nS: * OK [COPYUID 1 5:6,9 1:3] moved\n" + gone + "S: T2 OK done\n"},
		"a mailbox that is not there": {dialogue: mayDo(" MOVE") + "C? T2 UID MOVE\nS: T2 NO [TRYCREATE] no\nC: T3 CREATE \"Gr&APwA3w-e\"\nS: T3 OK done\n" +
			"C: T4 UID MOVE 5:6,9 \"Gr&APwA3w-e\"\n" + gone + "S: T4 OK done\n"},
		"and that cannot be made": {dialogue: mayDo(" MOVE") + "C? T2 UID MOVE\nS: T2 NO [TRYCREATE] no\nC? T3 CREATE\nS: T3 NO [CANNOT] no\n", kind: fault.NotFound, text: "create"},
		"nor is there then":       {dialogue: mayDo(" MOVE") + "C? T2 UID MOVE\nS: T2 NO [TRYCREATE] no\nC? T3 CREATE\nS: T3 OK x\nC? T4 UID MOVE\nS: T4 NO [TRYCREATE] no\n", kind: fault.Unavailable, text: "move"},
		"refused":                 {dialogue: mayDo(" MOVE") + "C? T2 UID MOVE\nS: T2 NO [OVERQUOTA] full\n", kind: fault.RemoteQuota, text: "full"},
		"cut":                     {dialogue: mayDo(" MOVE") + "C? T2 UID MOVE\nCLOSE\n", kind: fault.Network, text: "closed"},
		"without MOVE":            {dialogue: mayDo(" UIDPLUS") + copies + "C: T5 UID EXPUNGE 5:6,9\n" + gone + "S: T5 OK done\n"},
		"a copy refused":          {dialogue: mayDo(" UIDPLUS") + "C? T2 UID COPY\nS: T2 NO no\n", kind: fault.Unavailable, text: "copy"},
		"others' are flagged":     {dialogue: mayDo("") + "C: T2 UID SEARCH DELETED\nS: * SEARCH 5 6 8 9\nS: T2 OK done\n", kind: fault.Unavailable, text: "nothing is moved"},
		"neither MOVE nor UIDPLUS": {dialogue: mayDo("") + "C: T2 UID SEARCH DELETED\nS: * SEARCH 5\nS: T2 OK done\n" +
			"C: T3 UID COPY 5:6,9 \"Gr&APwA3w-e\"\nS: T3 OK done\nC: T4 SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T4 OK done\n" +
			"C: T5 UID STORE 5:6,9 +FLAGS.SILENT (\\Deleted)\nS: T5 OK done\nC: T6 UID SEARCH DELETED\nS: * SEARCH 5 6 9\nS: T6 OK done\nC: T7 EXPUNGE\n" + gone + "S: T7 OK done\n"},
		"another UIDVALIDITY": {dialogue: strings.Replace(mayDo(" MOVE"), "UIDVALIDITY 7", "UIDVALIDITY 8", 1), kind: fault.NotFound, text: "made anew"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			s := session(t, brief(dialer(nil)), local(script.Port))
			err := s.(remote.Mover).Move(t.Context(), items(9, 5, 6), "Grüße")
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
			} else if err != nil {
				t.Error(err)
			}
			wholly(t, script)
		})
	}
}

func TestMarkSeen(t *testing.T) {
	t.Parallel()
	const stores = "C: T2 UID STORE 5:6,9 +FLAGS.SILENT (\\Seen)\n"
	for name, tt := range map[string]struct {
		dialogue string
		kind     fault.Kind
		text     string
	}{
		"seen":                {dialogue: mayDo("") + stores + "S: * 1 FETCH (FLAGS (\\Seen) UID 5)\nS: T2 OK done\n"},
		"refused":             {dialogue: mayDo("") + stores + "S: T2 NO [NOPERM] read-only\n", kind: fault.Auth, text: "read-only"},
		"another UIDVALIDITY": {dialogue: strings.Replace(mayDo(""), "UIDVALIDITY 7", "UIDVALIDITY 8", 1), kind: fault.NotFound, text: "made anew"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			err := session(t, brief(dialer(nil)), local(script.Port)).(remote.Marker).MarkSeen(t.Context(), items(9, 5, 6))
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
			} else if err != nil {
				t.Error(err)
			}
			wholly(t, script)
		})
	}
}
