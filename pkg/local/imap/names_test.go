package imap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// entered is a dialogue up to the sign-in, with what the server can do then; the next command is M4.
func entered(caps string) string {
	before, _, _ := strings.Cut(signedIn, "S: * CAPABILITY IMAP4rev1\n")
	return before + "S: * CAPABILITY " + caps + "\nS: M3 OK done\n"
}

// Where a tree goes, by what a server says of its names.
func TestNames(t *testing.T) {
	t.Parallel()
	const (
		namespace = "C: M4 NAMESPACE\nS: * NAMESPACE ((\"\" \"/\")) NIL NIL\nS: M4 OK done\n"
		list      = "C: M4 LIST \"\" \"\"\nS: * LIST (\\Noselect) \"/\" \"\"\nS: M4 OK done\n"
		flat      = "C: M4 LIST \"\" \"\"\nS: * LIST (\\Noselect) NIL \"\"\nS: M4 OK done\n"
	)
	path := []string{"Größe", "台北&x"}
	for name, tt := range map[string]struct {
		dialogue string
		path     []string
		want     string // begins the next command
	}{
		"IMAP4rev2 alone":        {entered("IMAP4rev2") + namespace, path, `M5 APPEND "Größe/台北&x"`},
		"of both the older":      {entered("IMAP4rev1 IMAP4rev2 ENABLE") + namespace, path, `M5 APPEND "Gr&APYA3w-e/&U,BTFw-&-x"`},
		"UTF8=ACCEPT is offered": {entered("IMAP4rev1 ENABLE UTF8=ACCEPT") + list, path, `M5 APPEND "Gr&APYA3w-e/&U,BTFw-&-x"`},
		"UTF8=ONLY": {entered("IMAP4rev1 ENABLE UTF8=ONLY") + "C: M4 ENABLE UTF8=ACCEPT\nS: * ENABLED UTF8=ACCEPT\nS: M4 OK done\n" +
			strings.ReplaceAll(list, "M4", "M5"), path, `M6 APPEND "Größe/台北&x"`},
		"beneath a prefix":        {entered("IMAP4rev2") + strings.Replace(namespace, `"" "/"`, `"INBOX." "."`, 1), path, `M5 APPEND "INBOX.Größe.台北&x"`},
		"INBOX has no prefix":     {entered("IMAP4rev2") + strings.Replace(namespace, `"" "/"`, `"INBOX." "."`, 1), []string{"inbox", "x"}, `M5 APPEND "INBOX.x"`},
		"NAMESPACE is not known":  {entered("IMAP4rev2") + "C: M4 NAMESPACE\nS: M4 BAD what\n" + strings.ReplaceAll(list, "M4", "M5"), path, `M6 APPEND "Größe/台北&x"`},
		"no delimiter":            {entered("IMAP4rev1") + flat, path, `M5 APPEND "Gr&APYA3w-e/&U,BTFw-&-x"`},
		"no delimiter, in UTF-8":  {entered("IMAP4rev2") + strings.Replace(namespace, `"" "/"`, `"" NIL`, 1), path, `M5 APPEND "Größe/台北&x"`},
		"no delimiter, a prefix":  {entered("IMAP4rev2") + strings.Replace(namespace, `"" "/"`, `"~" NIL`, 1), path, `M5 APPEND "~Größe/台北&x"`},
		"no delimiter, INBOX":     {entered("IMAP4rev2") + strings.Replace(namespace, `"" "/"`, `"~" NIL`, 1), []string{"Inbox"}, `M5 APPEND "INBOX"`},
		"quotes and backslashes":  {entered("IMAP4rev2") + namespace, []string{`a"b\c`}, `M5 APPEND "a\"b\\c"`},
		"no line end in a name":   {entered("IMAP4rev2") + namespace, []string{"a\r\nM6 LOGOUT"}, `M5 APPEND "a%0D%0AM6 LOGOUT"`},
		"no mailbox is the INBOX": {entered("IMAP4rev2") + namespace, nil, `M5 APPEND INBOX`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := play(t, tt.dialogue+"C? "+tt.want+" (\nS: + go on\nC: a: b\nC:\nC: xx\nS: "+tt.want[:2]+" OK done\nANY", nil)
			replies, err := c.Deliver(t.Context(), local.Envelope{To: alice.To, Mailbox: tt.path}, letter(), allow)
			if err != nil || len(replies) != 1 || !replies[0].Accepted() {
				t.Errorf("replies %+v, error %v", replies, err)
			}
		})
	}
}

// A server that wants UTF-8 enabled and refuses to says so; nothing is tried under another name.
func TestUTF8RefusedIsToldOff(t *testing.T) {
	t.Parallel()
	c, _ := play(t, entered("IMAP4rev1 UTF8=ONLY")+"C: M4 ENABLE UTF8=ACCEPT\nS: M4 NO not today", nil)
	replies, err := c.Deliver(t.Context(), alice, letter(), allow)
	if len(replies) != 0 || fault.KindOf(err) != fault.DestinationTemporary || !strings.Contains(err.Error(), "not today") {
		t.Errorf("replies %+v, error %v", replies, err)
	}
}

// How a mailbox comes to be, whatever a server wants of those above it.
func TestMailboxIsMade(t *testing.T) {
	t.Parallel()
	const (
		none  = "C? M5 APPEND \"Imported/x\" \nS: M5 NO [TRYCREATE] none\nC: M6 CREATE \"Imported/x\"\n"
		gone  = "C: M7 STATUS \"Imported/x\" (MESSAGES)\nS: M7 NO [NONEXISTENT] none\n"
		above = "C: M8 CREATE \"Imported\"\n"
		then  = "C: M9 CREATE \"Imported/x\"\nS: M9 OK made\nC? M10 SUBSCRIBE \"Imported/x\"\nS: M10 OK done\n"
		flat  = "S: * LIST (\\Noselect) NIL \"\"\n"
	)
	into := func(tag, name string) string {
		return "C? " + tag + " APPEND " + name + " (\nS: + go on\nC: a: b\nC:\nC: xx\nS: " + tag + " OK done\n"
	}
	for name, tt := range map[string]struct {
		dialogue string
		path     []string
		code     int
		text     string // of the reply
	}{
		"with those above it": {none + "S: M6 NO [NONEXISTENT] no parent\n" + gone + above + "S: M8 OK made\n" + then + into("M11", `"Imported/x"`), nil, 250, ""},
		"with one above it that is there": {none + "S: M6 NO Parent does not exist\n" + gone + above + "S: M8 NO [ALREADYEXISTS] there\n" + then +
			into("M11", `"Imported/x"`), nil, 250, ""},
		"by another, between those above it": {none + "S: M6 NO [NONEXISTENT] no parent\n" + gone + above + "S: M8 OK made\n" +
			"C: M9 CREATE \"Imported/x\"\nS: M9 NO [ALREADYEXISTS] there\nC? M10 SUBSCRIBE\nS: M10 OK done\n" + into("M11", `"Imported/x"`), nil, 250, ""},
		"not, for those above it": {none + "S: M6 NO [NONEXISTENT] no parent\n" + gone + above + "S: M8 NO [NOPERM] not yours\n" +
			"C: M9 CREATE \"Imported/x\"\nS: M9 NO [NONEXISTENT] no parent\n", nil, 451, "no parent"},
		"of a placeholder": {"C? M5 APPEND\nS: M5 NO [CANNOT] \\NoSelect\nC: M6 CREATE \"Imported/x\"\nS: M6 OK made\nC? M7 SUBSCRIBE\nS: M7 OK done\n" +
			into("M8", `"Imported/x"`), nil, 250, ""},
		"not, of a placeholder that stays one": {"C? M5 APPEND\nS: M5 NO [NONEXISTENT] \\NoSelect\nC: M6 CREATE \"Imported/x\"\nS: M6 NO [ALREADYEXISTS] there\n" +
			"C? M7 SUBSCRIBE\nS: M7 OK done\nC? M8 APPEND\nS: M8 NO [NONEXISTENT] \\NoSelect", nil, 451, "NoSelect"},
		"under a careful name": {"C? M5 APPEND \"a*b/c\" \nS: M5 NO [TRYCREATE] none\nC: M6 CREATE \"a*b/c\"\nS: M6 NO [CANNOT] not with an asterisk\n" +
			"C? M7 STATUS\nS: M7 NO none\nC: M8 CREATE \"a=2Ab/c\"\nS: M8 OK made\nC? M9 SUBSCRIBE \"a=2Ab/c\"\nS: M9 OK done\n" + into("M10", `"a=2Ab/c"`),
			[]string{"a*b", "c"}, 250, ""},
		"under a careful name, with those above it": {"C? M5 APPEND \"a*b/c\" \nS: M5 NO [TRYCREATE] none\nC: M6 CREATE \"a*b/c\"\nS: M6 NO [CANNOT] no\n" +
			"C? M7 STATUS\nS: M7 NO none\nC: M8 CREATE \"a=2Ab/c\"\nS: M8 NO [NONEXISTENT] no parent\nC: M9 CREATE \"a=2Ab\"\nS: M9 OK made\n" +
			"C: M10 CREATE \"a=2Ab/c\"\nS: M10 OK made\nC? M11 SUBSCRIBE\nS: M11 OK done\n" + into("M12", `"a=2Ab/c"`), []string{"a*b", "c"}, 250, ""},
		"not, under any name":        {none + "S: M6 NO [CANNOT] never\n" + gone, nil, 550, "never"},
		"not, for want of rights":    {none + "S: M6 NO [NOPERM] not yours", nil, 550, "not yours"},
		"not, for want of room":      {none + "S: M6 NO [OVERQUOTA] full", nil, 552, "full"},
		"not, there are too many":    {none + "S: M6 NO [LIMIT] 500 mailboxes", nil, 451, "500"},
		"flat, with no one above":    {"FLAT" + none + "S: M6 NO [NONEXISTENT] none\n" + gone, nil, 451, "none"},
		"flat, a slash is no parent": {"FLAT" + none + "S: M6 OK made\nC? M7 SUBSCRIBE\nS: M7 NO what\n" + into("M8", `"Imported/x"`), nil, 250, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := signedIn
			if rest, ok := strings.CutPrefix(tt.dialogue, "FLAT"); ok {
				begin, tt.dialogue = strings.Replace(signedIn, "S: * LIST (\\Noselect) \"/\" \"\"\n", flat, 1), rest
			}
			env := alice
			if tt.path != nil {
				env = local.Envelope{To: alice.To, Mailbox: tt.path}
			}
			c, _ := play(t, begin+tt.dialogue+"\nANY", nil)
			replies, err := c.Deliver(t.Context(), env, letter(), allow)
			if err != nil || len(replies) != 1 || replies[0].Code != tt.code || !strings.Contains(replies[0].Text, tt.text) {
				t.Errorf("replies %+v, error %v; want %d", replies, err, tt.code)
			}
		})
	}
}

// What a later attempt does after a refusal: a mailbox that was deleted meanwhile is made again, and a limit that may be one of
// keywords is met without them.
func TestNextAttempt(t *testing.T) {
	t.Parallel()
	const sent = "S: + go on\nC: a: b\nC:\nC: xx\n"
	for name, tt := range map[string]struct {
		dialogue string
		flags    []string
		codes    []int
	}{
		"deleted meanwhile": {begun + "S: M5 OK done\nC? M6 APPEND\nS: M6 NO [TRYCREATE] none\nC: M7 CREATE \"Imported/x\"\nS: M7 OK made\nC? M8 SUBSCRIBE\nS: M8 OK done\n" +
			"C? M9 APPEND\n" + sent + "S: M9 OK done\n", []string{`\Seen`}, []int{250, 250}},
		"too many keywords": {signedIn + "C: M5 SELECT \"Imported/x\"\nS: * OK [PERMANENTFLAGS (\\Seen \\*)] ok\nS: M5 OK done\n" +
			"C? M6 APPEND \"Imported/x\" (\\Seen Label)\nS: M6 NO [LIMIT] 26 keywords\nC? M7 APPEND \"Imported/x\" (\\Seen) \n" + sent + "S: M7 OK done\n",
			[]string{`\Seen`, "Label"}, []int{451, 250}},
		"too many keywords, told at the end": {signedIn + "C: M5 SELECT \"Imported/x\"\nS: * OK [PERMANENTFLAGS (\\Seen \\*)] ok\nS: M5 OK done\n" +
			"C? M6 APPEND \"Imported/x\" (\\Seen Label)\n" + sent + "S: M6 NO [LIMIT] 26 keywords\nC? M7 APPEND \"Imported/x\" (\\Seen) \n" + sent + "S: M7 OK done\n",
			[]string{`\Seen`, "Label"}, []int{451, 250}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := play(t, tt.dialogue+"ANY", nil)
			var codes []int
			for range tt.codes {
				msg := letter()
				msg.Flags = tt.flags
				replies, err := c.Deliver(t.Context(), alice, msg, allow)
				if err != nil || len(replies) != 1 {
					t.Fatalf("replies %+v, error %v", replies, err)
				}
				codes = append(codes, replies[0].Code)
			}
			if !slices.Equal(codes, tt.codes) {
				t.Errorf("answers %v, want %v", codes, tt.codes)
			}
		})
	}
}
