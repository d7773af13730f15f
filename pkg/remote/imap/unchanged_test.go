package imap_test

import (
	"fmt"
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

// TestNewMessagesAlone lists of a mailbox to which messages came these, where the numbers of the server say that nothing
// else happened to it, and all where they do not, or where what is listed is not what they say.
func TestNewMessagesAlone(t *testing.T) {
	t.Parallel()
	const (
		asks = signs + "C? T1 STATUS INBOX (\n"
		grew = "S: * STATUS INBOX (MESSAGES 5 UIDNEXT 12 UIDVALIDITY 7)\nS: T1 OK done\n"
		five = "C: T2 EXAMINE INBOX\nS: * 5 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 12] ok\nS: T2 OK done\n"
		news = "C? T3 UID FETCH 10:* (\n"
		two  = "S: * 4 FETCH (UID 10 RFC822.SIZE 5)\nS: * 5 FETCH (UID 11 RFC822.SIZE 5)\n"
	)
	all := func(tag string, uids ...int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "C? %s UID FETCH 1:* (\n", tag)
		for i, uid := range uids {
			fmt.Fprintf(&b, "S: * %d FETCH (UID %d RFC822.SIZE 5)\n", i+1, uid)
		}
		return b.String() + "S: " + tag + " OK done\n"
	}
	for name, tt := range map[string]struct {
		dialogue, want string
		before         uint32
		not            bool
		kind           fault.Kind
	}{
		"two more":                     {dialogue: asks + grew + five + news + two + "S: T3 OK done\n", want: "INBOX:2?", before: 3},
		"and one meanwhile":            {dialogue: asks + grew + five + news + two + "S: * 6 EXISTS\nS: * 6 FETCH (UID 12 RFC822.SIZE 5)\nS: T3 OK done\n", want: "INBOX:3?", before: 3},
		"the last one was known":       {dialogue: asks + grew + five + news + "S: * 5 FETCH (UID 9 RFC822.SIZE 5)\nS: T3 OK done\n" + all("T4", 3, 5, 9, 10, 11), want: "INBOX:5"},
		"one does not come":            {dialogue: asks + grew + five + news + "S: * 5 FETCH (UID 11 RFC822.SIZE 5)\nS: T3 OK done\n" + all("T4", 3, 5, 9, 10, 11), want: "INBOX:5"},
		"refused":                      {dialogue: asks + grew + five + news + "S: T3 NO not so\n" + all("T4", 3, 5, 9, 10, 11), want: "INBOX:5"},
		"throttled":                    {dialogue: asks + grew + five + news + "S: T3 NO [THROTTLED] later\n", kind: fault.Throttled},
		"one is gone":                  {dialogue: asks + "S: * STATUS INBOX (MESSAGES 4 UIDNEXT 12 UIDVALIDITY 7)\nS: T1 OK done\n" + strings.Replace(five, "5 EXISTS", "4 EXISTS", 1) + all("T3", 5, 9, 10, 11), want: "INBOX:4"},
		"one is gone since":            {dialogue: asks + grew + strings.Replace(five, "5 EXISTS", "4 EXISTS", 1) + all("T3", 5, 9, 10, 11), want: "INBOX:4"},
		"another UIDVALIDITY since":    {dialogue: asks + grew + strings.Replace(five, "VALIDITY 7", "VALIDITY 8", 1) + all("T3", 1, 2, 3, 10, 11), want: "INBOX:5"},
		"what is there may have to go": {dialogue: asks + grew + five + all("T3", 3, 5, 9, 10, 11), want: "INBOX:5", not: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			target := local(script.Port)
			target.OnlyNew = !tt.not
			got, l, err := look(t, target, map[string]remote.Status{"INBOX": {UIDValidity: 7, UIDNext: 10, Messages: 3}})
			if got != tt.want || fault.KindOf(err) != tt.kind {
				t.Fatalf("%s, %v, want %s and %q", got, err, tt.want, tt.kind)
			}
			if tt.kind == fault.None {
				if !l.Complete || l.Mailboxes[0].Before != tt.before {
					t.Errorf("%+v", l)
				}
				wholly(t, script)
			}
		})
	}
}
