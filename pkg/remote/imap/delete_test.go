package imap_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	const (
		selected = "C: T1 SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK [READ-WRITE] done\n"
		plus     = signs + selected
		without  = greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1] in\n" + selected
		flagged  = "C: T2 UID STORE 5:6,9 +FLAGS.SILENT (\\Deleted)\nS: * 1 FETCH (FLAGS (\\Deleted) UID 5)\nS: T2 OK done\n"
		searched = without + flagged + "C: T3 UID SEARCH DELETED\n"
		expunges = "C: T4 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: T4 OK done\n"
	)
	for name, tt := range map[string]struct {
		dialogue string
		kind     fault.Kind
		text     string
	}{
		"by UID":              {dialogue: plus + flagged + "C: T3 UID EXPUNGE 5:6,9\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: T3 OK done\n"},
		"rev2 needs no more":  {dialogue: greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY imap4REV2] in\n" + selected + flagged + "C: T3 UID EXPUNGE 5:6,9\nS: T3 OK done\n"},
		"only ours":           {dialogue: searched + "S: * SEARCH 9 5 6\nS: T3 OK done\n" + expunges},
		"some are gone":       {dialogue: searched + "S: * SEARCH 6\nS: T3 OK done\n" + expunges},
		"others' too":         {dialogue: searched + "S: * SEARCH 5 6 8 9\nS: T3 OK done\n"},
		"others' below":       {dialogue: searched + "S: * SEARCH 1 5 6 9\nS: T3 OK done\n"},
		"others' above":       {dialogue: searched + "S: * SEARCH 5 6 9 4294967295\nS: T3 OK done\n"},
		"others' in parts":    {dialogue: searched + "S: * SEARCH 5 6\nS: * SEARCH 9 10\nS: T3 OK done\n"},
		"none found":          {dialogue: searched + "S: * SEARCH\nS: T3 OK done\n"},
		"no answer":           {dialogue: searched + "S: T3 OK done\n"},
		"ESEARCH":             {dialogue: searched + "S: * ESEARCH (TAG \"T3\") UID ALL 1:4294967295\nS: T3 OK done\n"},
		"not a number":        {dialogue: searched + "S: * SEARCH 5 6 x\n", kind: fault.Protocol, text: "not a response"},
		"far too many found":  {dialogue: searched + "S* 9000 \"* SEARCH 5 4 3 2 1 6\\r\\n\"\n", kind: fault.Protocol, text: "more than 50000"},
		"the search refused":  {dialogue: searched + "S: T3 NO no\n", kind: fault.Unavailable, text: "search"},
		"flags refused":       {dialogue: plus + "C? T2 UID STORE\nS: T2 NO [NOPERM] read-only\n", kind: fault.Auth, text: "read-only"},
		"expunge refused":     {dialogue: plus + flagged + "C? T3 UID EXPUNGE\nS: T3 NO no\n", kind: fault.Unavailable, text: "expunge"},
		"cut before the end":  {dialogue: plus + flagged + "C? T3 UID EXPUNGE\nCLOSE\n", kind: fault.Network, text: "closed"},
		"another UIDVALIDITY": {dialogue: signs + "C: T1 SELECT INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 8] ok\nS: T1 OK done\n", kind: fault.NotFound, text: "nothing is done"},
		"no UIDVALIDITY":      {dialogue: signs + "C: T1 SELECT INBOX\nS: * 3 EXISTS\nS: T1 OK done\n", kind: fault.NotFound, text: "nothing is done"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			err := session(t, brief(dialer(nil)), local(script.Port)).Delete(t.Context(), items(9, 5, 6))
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
			} else if err != nil {
				t.Error(err)
			}
			if !strings.Contains(tt.dialogue, "S*") {
				wholly(t, script)
			}
		})
	}
}
