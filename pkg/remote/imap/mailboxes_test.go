package imap_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// look signs in and lists, with what is known of mailboxes. It says how each stands: the number of messages that
// are listed, "=" where it has not changed, "?" where it is not whole.
func look(t *testing.T, target remote.Target, known map[string]remote.Status) (string, remote.Listing, error) {
	t.Helper()
	target.Known = func(mailbox string) (remote.Status, bool) {
		st, ok := known[mailbox]
		return st, ok
	}
	s, err := imap.Dial(t.Context(), brief(dialer(nil)), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	l, err := s.List(t.Context())
	n := make(map[string]int)
	for _, it := range l.Items {
		n[it.Mailbox]++
	}
	var out []string
	for _, m := range l.Mailboxes {
		what := fmt.Sprint(n[m.Name])
		switch {
		case m.Unchanged:
			what = "="
		case !m.Whole:
			what += "?"
		}
		out = append(out, m.Name+":"+what)
	}
	slices.Sort(out)
	return strings.Join(out, " "), l, err
}

// TestMailboxesOfDovecot collects from a real server with mailboxes of all kinds.
func TestMailboxesOfDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword(canary), testenv.DovecotExtra(`namespace inbox {
  inbox = yes
  separator = /
  mailbox Trash {
    special_use = \Trash
  }
  mailbox Unsinn {
    special_use = \Junk
  }
  mailbox Drafts {
    special_use = \Drafts
  }
  mailbox Sent {
    special_use = \Sent
  }
}`))
	for i, box := range []string{"", "Trash", "Trash.2020", "Unsinn", "Drafts", "Sent", "Gr&APwA3w-e", "A.B", "Shut"} {
		for range i + 1 {
			dove.AppendTo("many", box, []byte("Subject: x\r\n\r\nx\r\n"))
		}
	}
	if err := os.Chmod(filepath.Join(dove.Maildir("many"), ".Shut"), 0); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		names, exclude []string
		moveTo, want   string
		notes          int
	}{
		"INBOX alone":      {want: "INBOX:1"},
		"all":              {names: []string{"all"}, want: "A/B:8 Grüße:7 INBOX:1 Sent:6", notes: 1},
		"all but some":     {names: []string{"all"}, exclude: []string{"A/*", "Sent", "inbox", "Shut"}, want: "Grüße:7"},
		"all, and junk":    {names: []string{"all", "Unsinn"}, exclude: []string{"Shut"}, want: "A/B:8 Grüße:7 INBOX:1 Sent:6 Unsinn:4"},
		"everything":       {names: []string{"*"}, exclude: []string{"S%"}, want: "A/B:8 Drafts:5 Grüße:7 INBOX:1 Trash/2020:3 Trash:2 Unsinn:4"},
		"one level":        {names: []string{"%"}, exclude: []string{"Shut"}, want: "Drafts:5 Grüße:7 INBOX:1 Sent:6 Trash:2 Unsinn:4"},
		"names":            {names: []string{"Sent", "INBOX", "Grüße"}, want: "Grüße:7 INBOX:1 Sent:6"},
		"one is not there": {names: []string{"Sent", "No&pe"}, want: "Sent:6", notes: 1},
		"where they go":    {names: []string{"all"}, exclude: []string{"Shut"}, moveTo: "sent", want: "A/B:8 Grüße:7 INBOX:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := remote.Target{Host: dove.Host, Port: dove.IMAPPort, Username: "many", Password: canary, TLS: account.Disable,
				Mailboxes: remote.Mailboxes{Names: tt.names, Exclude: tt.exclude, MoveTo: tt.moveTo}}
			got, l, err := look(t, target, nil)
			if err != nil || got != tt.want || len(l.Notes) != tt.notes || l.Complete != (tt.notes == 0) {
				t.Errorf("%s, %v, complete %v, %v; want %s", got, l.Notes, l.Complete, err, tt.want)
			}
			known := make(map[string]remote.Status)
			for _, m := range l.Mailboxes {
				known[m.Name] = m.Status
			}
			if got, _, err := look(t, target, known); err != nil || strings.Count(got, ":=") != len(known) {
				t.Errorf("once more, nothing has changed: %s, %v", got, err)
			}
		})
	}
}

// asked is a dialogue of one session: what LIST answers, and then the mailboxes that are opened, each empty.
func asked(capabilities, list string, opened ...string) string {
	d := greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1 " + capabilities + "] in\n"
	tag := 0
	next := func() string { tag++; return fmt.Sprintf("T%d", tag) }
	if list != "" {
		n := next()
		d += "C? " + n + " LIST \"\" \"*\"\n" + list + "S: " + n + " OK done\n"
	}
	for _, m := range opened {
		n := next()
		d += "C: " + n + " EXAMINE " + m + "\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 5] ok\nS: " + n + " OK done\n"
	}
	return d
}

// TestMailboxNames lists what servers call their mailboxes: what is not to be read or sent back is passed over.
func TestMailboxNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 513)
	for name, tt := range map[string]struct {
		list   string
		opened []string
		note   string // a part of the only one
	}{
		"forms": {list: "S: * LIST () \"/\" inbox\nS: * list (\\HasNoChildren) NIL \"b \\\"q\\\" \\\\\"\nS: * LIST () \"/\" {3}\nS: c d\nS: * LIST () \"/\" e (\"CHILDINFO\" (\"SUBSCRIBED\"))\n",
			opened: []string{"INBOX", `"b \"q\" \\"`, `"c d"`, `"e"`}},
		"twice":            {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" a\nS: * LIST () \"/\" Inbox\nS: * LIST () \"/\" INBOX\n", opened: []string{"INBOX", `"a"`}},
		"not there":        {list: "S: * LIST (\\Noselect) \"/\" a\nS: * LIST (\\NonExistent) \"/\" b\nS: * LIST () \"/\" c\n", opened: []string{`"c"`}},
		"climbing":         {list: "S: * LIST () \"/\" \"../../etc/passwd\"\nS: * LIST () \"/\" \"/\"\n", opened: []string{`"../../etc/passwd"`, `"/"`}},
		"modified UTF-7":   {list: "S: * LIST () \"/\" \"Gr&APwA3w-e\"\nS: * LIST () \"/\" \"R&-D\"\nS: * LIST () \"/\" \"&U,BTFw-\"\n", opened: []string{`"Gr&APwA3w-e"`, `"R&-D"`, `"&U,BTFw-"`}},
		"UTF-8":            {list: "S+ \"* LIST () \\\"/\\\" \\\"Gr\\u00fc\\u00dfe\\\"\\r\\n\"\n", opened: []string{`"Gr&APwA3w-e"`}},
		"open shift":       {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" \"x&APw\"\n", opened: []string{`"a"`}, note: "1 mailboxes are passed over"},
		"needless shift":   {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" \"&AGE-\"\n", opened: []string{`"a"`}, note: "&AGE-"},
		"half a character": {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" \"&2AA-\"\n", opened: []string{`"a"`}, note: "&2AA-"},
		"line ends":        {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" \"x&AA0ACg-\"\n", opened: []string{`"a"`}, note: "x&AA0ACg-"},
		"in a literal":     {list: "S: * LIST () \"/\" a\nS+ \"* LIST () \\\"/\\\" {4}\\r\\nx\\r\\ny\\r\\n\"\n", opened: []string{`"a"`}, note: "1 mailboxes"},
		"NUL":              {list: "S: * LIST () \"/\" a\nS+ \"* LIST () \\\"/\\\" \\\"x\\x00y\\\"\\r\\n\"\n", opened: []string{`"a"`}, note: "1 mailboxes"},
		"8-bit":            {list: "S: * LIST () \"/\" a\nS+ \"* LIST () \\\"/\\\" \\\"x\\xffy\\\"\\r\\n\"\n", opened: []string{`"a"`}, note: "1 mailboxes"},
		"too long":         {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" " + long + "\n", opened: []string{`"a"`}, note: "1 mailboxes"},
		"a long literal":   {list: "S: * LIST () \"/\" a\nS: * LIST () \"/\" {513}\nS: " + long + "\n", opened: []string{`"a"`}, note: "1 mailboxes"},
		"unreadable":       {list: "S: * LIST () \"/\" a\nS: * LIST x\nS: * LIST ()\nS: * LIST () \"long delimiter\" b\n", opened: []string{`"a"`}, note: "3 mailboxes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, asked("", tt.list, tt.opened...))
			target := local(script.Port)
			target.Mailboxes.Names = []string{"*"}
			_, l, err := look(t, target, nil)
			if err != nil || len(l.Mailboxes) != len(tt.opened) || !strings.Contains(strings.Join(l.Notes, "; "), tt.note) || (len(l.Notes) > 0) != (tt.note != "") {
				t.Errorf("%+v, %v, %v", l.Mailboxes, l.Notes, err)
			}
			wholly(t, script)
		})
	}
}

// TestChoiceOfMailboxes takes those of Gmail and of servers that say what a mailbox is for.
func TestChoiceOfMailboxes(t *testing.T) {
	t.Parallel()
	const gmail = "S: * LIST (\\HasNoChildren) \"/\" INBOX\nS: * LIST (\\HasChildren \\Noselect) \"/\" \"[Gmail]\"\nS: * LIST (\\Trash) \"/\" \"[Gmail]/Trash\"\n" +
		"S: * LIST (\\Important) \"/\" \"[Gmail]/Important\"\nS: * LIST (\\HasNoChildren) \"/\" Label\n"
	const german = "S: * LIST (\\HasNoChildren) \"/\" INBOX\nS: * LIST (\\HasChildren \\Noselect) \"/\" \"[Google Mail]\"\nS: * LIST (\\All) \"/\" \"[Google Mail]/Alle Nachrichten\"\n" +
		"S: * LIST (\\Drafts) \"/\" \"[Google Mail]/Entw&APw-rfe\"\nS: * LIST (\\Junk) \"/\" \"[Google Mail]/Spam\"\nS: * LIST (\\Flagged) \"/\" \"[Google Mail]/Markiert\"\n" +
		"S: * LIST (\\Trash) \"/\" \"[Google Mail]/Papierkorb\"\nS: * LIST () \"/\" \"Reisen/M&APw-nchen\"\n"
	const all = "S: * LIST (\\All \\HasNoChildren) \"/\" \"[Gmail]/All Mail\"\n"
	for name, tt := range map[string]struct {
		capabilities, list string
		names, opened      []string
		kind               fault.Kind
		note               string
	}{
		"all of Gmail":                          {"X-GM-EXT-1", gmail + all, []string{"all"}, []string{`"[Gmail]/All Mail"`}, fault.None, ""},
		"all of Gmail, hidden":                  {"X-GM-EXT-1", gmail, []string{"all"}, []string{"INBOX"}, fault.None, "does not show"},
		"a label of Gmail":                      {"X-GM-EXT-1", gmail + all, []string{"La%"}, []string{`"Label"`}, fault.None, ""},
		"quirk03/its names in another language": {"X-GM-EXT-1", german, []string{"all"}, []string{`"[Google Mail]/Alle Nachrichten"`}, fault.None, ""},
		"quirk03/what is no mailbox is not opened": {"X-GM-EXT-1", german, []string{"[Google Mail]*"}, []string{`"[Google Mail]/Alle Nachrichten"`, `"[Google Mail]/Entw&APw-rfe"`,
			`"[Google Mail]/Spam"`, `"[Google Mail]/Markiert"`, `"[Google Mail]/Papierkorb"`}, fault.None, ""},
		"quirk03/labels by name":                      {"X-GM-EXT-1", german, []string{"Reisen/*", "INBOX"}, []string{"INBOX", `"Reisen/M&APw-nchen"`}, fault.None, ""},
		"quirk03/elsewhere, by what a mailbox is for": {"", german, []string{"all"}, []string{"INBOX", `"Reisen/M&APw-nchen"`}, fault.None, ""},
		"the same elsewhere":                          {"", gmail + all, []string{"all"}, []string{"INBOX", `"Label"`}, fault.None, ""},
		"INBOX in any case":                           {"", "S: * LIST () \"/\" INBOX\n", []string{"in%"}, []string{"INBOX"}, fault.None, ""},
		"none fits":                                   {"", gmail, []string{"x*"}, nil, fault.NotFound, ""},
		"one named, not listed":                       {"", gmail, []string{"x*", "Shared"}, []string{`"Shared"`}, fault.None, ""},
		"below trash, junk":                           {"", "S: * LIST (\\Junk) \".\" S\nS: * LIST () \".\" S.a\nS: * LIST () \".\" Sa\n", []string{"all"}, []string{`"Sa"`}, fault.None, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, asked(tt.capabilities, tt.list, tt.opened...))
			target := local(script.Port)
			target.Mailboxes.Names = tt.names
			_, l, err := look(t, target, nil)
			if fault.KindOf(err) != tt.kind || len(l.Mailboxes) != len(tt.opened) || !strings.Contains(strings.Join(l.Notes, "; "), tt.note) {
				t.Errorf("%+v, %v, %v", l.Mailboxes, l.Notes, err)
			}
			wholly(t, script)
		})
	}
}

// TestSpecialUseIsAskedFor asks for it where it is offered, and without where it is refused all the same.
func TestSpecialUseIsAskedFor(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, greets+"C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1 SPECIAL-USE] in\n"+
		"C: T1 LIST \"\" \"*\" RETURN (SPECIAL-USE)\nS: T1 BAD what\nC: T2 LIST \"\" \"*\"\nS: * LIST (\\Trash) \"/\" t\nS: * LIST () \"/\" a\nS: T2 OK done\n"+
		"C: T3 EXAMINE \"a\"\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T3 OK done\n")
	target := local(script.Port)
	target.Mailboxes.Names = []string{"all"}
	if got, _, err := look(t, target, nil); err != nil || got != "a:0" {
		t.Errorf("%s, %v", got, err)
	}
	wholly(t, script)
}
