package imap_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestUnchangedMailboxes asks for the status of what is known, and lists only what changed.
func TestUnchangedMailboxes(t *testing.T) {
	t.Parallel()
	const (
		asks  = signs + "C? T1 STATUS INBOX (\n"
		same  = asks + "S: * STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\n"
		lists = "C: T2 EXAMINE INBOX\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 10] ok\nS: T2 OK done\n"
	)
	inbox := map[string]remote.Status{"INBOX": {UIDValidity: 7, UIDNext: 10, Messages: 3}}
	for name, tt := range map[string]struct {
		dialogue, want string
		kind           fault.Kind
	}{
		"unchanged":                    {dialogue: same + "S: T1 OK done\n", want: "INBOX:="},
		"in any form":                  {dialogue: asks + "S: * status \"inbox\"  ( uidvalidity 7 X-NEW NIL\nS: * STATUS {5}\nS: InboX (uidnext 10 RECENT 1 UIDVALIDITY 7 messages 3 )\nS: T1 OK done\n", want: "INBOX:="},
		"a message more":               {dialogue: asks + "S: * STATUS INBOX (MESSAGES 4 UIDNEXT 11 UIDVALIDITY 7)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"a message less":               {dialogue: asks + "S: * STATUS INBOX (MESSAGES 2 UIDNEXT 10 UIDVALIDITY 7)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"another UIDVALIDITY":          {dialogue: asks + "S: * STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 8)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"something is missing":         {dialogue: asks + "S: * STATUS INBOX (MESSAGES 3 UIDVALIDITY 7)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"nothing":                      {dialogue: asks + "S: T1 OK done\n" + lists, want: "INBOX:0"},
		"numbers of 2^32":              {dialogue: asks + "S: * STATUS INBOX (MESSAGES 4294967299 UIDNEXT 4294967306 UIDVALIDITY 4294967303)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"negative":                     {dialogue: asks + "S: * STATUS INBOX (MESSAGES -3 UIDNEXT 10 UIDVALIDITY 7)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"no end":                       {dialogue: asks + "S: * STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"of another mailbox":           {dialogue: asks + "S: * STATUS Sent (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\nS: T1 OK done\n" + lists, want: "INBOX:0"},
		"refused":                      {dialogue: same + "S: T1 NO not today\n" + lists, want: "INBOX:0"},
		"not known":                    {dialogue: asks + "S: T1 BAD what\n" + lists, want: "INBOX:0"},
		"a LIST that nobody asked for": {dialogue: asks + "S: * LIST (\\Noselect) \"/\" INBOX\nS: * STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\nS: T1 OK done\n", want: "INBOX:="},
		"a STATUS too late":            {dialogue: asks + "S: T1 NO a\nC: T2 EXAMINE INBOX\nS: * STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\n" + strings.TrimPrefix(lists, "C: T2 EXAMINE INBOX\n"), want: "INBOX:0"},
		"too many":                     {dialogue: asks + "S: T1 NO [THROTTLED] later\n", kind: fault.Throttled},
		"cut":                          {dialogue: asks + "CLOSE\n", kind: fault.Network},
		"endless":                      {dialogue: asks + "S* 100000 \"* STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7)\\r\\n\"\n", kind: fault.Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			got, l, err := look(t, local(script.Port), inbox)
			if got != tt.want || fault.KindOf(err) != tt.kind {
				t.Errorf("%s, %v, want %s and %q", got, err, tt.want, tt.kind)
			}
			for _, m := range l.Mailboxes {
				if want := inbox["INBOX"]; m.Unchanged && m.Status != want || !m.Unchanged && m.Status != (remote.Status{UIDValidity: 7, UIDNext: 10}) {
					t.Errorf("%+v", m)
				}
			}
			if tt.kind == fault.None {
				wholly(t, script)
			}
		})
	}
}

// TestStatusOfSeveralMailboxes asks about all at once; one that is refused does not keep the others.
func TestStatusOfSeveralMailboxes(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, signs+"C? T1 STATUS INBOX (\nC? T2 STATUS \"a\" (\nC? T3 STATUS \"b\" (\n"+
		"S: * STATUS b (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\nS: * STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\nS: * STATUS a (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\n"+
		"S: T1 OK a\nS: T2 NO [NOPERM] b\nS: T3 OK c\nC: T4 EXAMINE \"a\"\nS: T4 NO [NOPERM] no\nC: T5 EXAMINE \"new\"\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T5 OK done\n")
	target := local(script.Port)
	target.Mailboxes.Names = []string{"a", "b", "INBOX", "new"}
	st := remote.Status{UIDValidity: 3, UIDNext: 2, Messages: 1}
	got, l, err := look(t, target, map[string]remote.Status{"INBOX": st, "a": st, "b": st})
	if err != nil || got != "INBOX:= b:= new:0" || l.Complete || len(l.Notes) != 1 || !strings.Contains(l.Notes[0], "mailbox a is not collected") {
		t.Errorf("%s, %+v, %v", got, l, err)
	}
	wholly(t, script)
}
