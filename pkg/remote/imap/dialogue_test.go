package imap_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Parts of dialogues. The order of items in a FETCH command changes from run to run.
const (
	greets = "S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\n"
	signs  = greets + "C? H1 AUTHENTICATE PLAIN \nS: H1 OK [CAPABILITY IMAP4rev1 UIDPLUS] in\n"
	// opens is a mailbox of three messages.
	opens = signs + "C: T1 EXAMINE INBOX\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK [READ-ONLY] done\n"
	lists = opens + "C: T2 UID FETCH 1:* (UID RFC822.SIZE)\n"
	// listed is a listing of UIDs 5, 6 and 9.
	listed = lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * 2 FETCH (UID 6 RFC822.SIZE 3)\n" +
		"S: * 3 FETCH (UID 9 RFC822.SIZE 3)\nS: T2 OK done\n"
	fetches = listed + "C? T3 UID FETCH 5:6,9 (UID \n"
	five    = "S: * 1 FETCH (UID 5 BODY[] {3}\nS: abc)\n"
	six     = "S: * 2 FETCH (UID 6 BODY[] {3}\nS: def)\n"
	hundred = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	nine    = "S: * 3 FETCH (UID 9 BODY[] {3}\nS: ghi)\n"
)

// brief gives a dialogue's server little time.
func brief(d remote.Dialer) remote.Dialer {
	d.Limits.Dial, d.Limits.Command, d.Limits.Idle = 2*time.Second, 2*time.Second, 2*time.Second
	return d
}

// failsWith looks at an error: its kind, a part of its text, no password, one line.
func failsWith(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v of kind %q, want %q and %q", err, fault.KindOf(err), kind, text)
		return
	}
	if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(canary)) || len(err.Error()) > 600 ||
		strings.ContainsAny(err.Error(), "\r\n\x00") {
		t.Errorf("bad text: %q", err)
	}
}

// wholly fails the test unless the server could play its whole dialogue.
func wholly(t *testing.T, s *testenv.Script) {
	t.Helper()
	testenv.Eventually(t, 5*time.Second, "the dialogue is played to its end", func() bool { return s.Finished() == 1 })
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + canary))
	tests := map[string]struct {
		dialogue string
		mode     account.TLSMode
		kind     fault.Kind
		text     string
	}{
		"another protocol":        {"S: SSH-2.0-OpenSSH_9.2\n", "", fault.Protocol, "not an IMAP server, it said: SSH-2.0"},
		"a web server":            {`S+ "HTTP/1.1 400 Bad Request\r\n\r\n<html>"` + "\n", "", fault.Protocol, "HTTP/1.1 400"},
		"a POP3 server":           {"S: +OK ready\n", "", fault.Protocol, "+OK ready"},
		"an empty line":           {"S: \n", "", fault.Protocol, "not an IMAP server"},
		"binary":                  {`S+ "\x16\x03\x01\x00\xff\x00\n"` + "\n", "", fault.Protocol, `\x16\x03\x01`},
		"an endless line":         {`S* 100000 "xxxxxxxxxxxxxxxx"` + "\n", "", fault.Protocol, "a line of more than 65536 octets"},
		"a close":                 {"CLOSE\n", "", fault.Network, "closed the connection"},
		"a cut line":              {`S+ "* OK rea"` + "\nCLOSE\n", "", fault.Network, "closed the connection"},
		"PREAUTH":                 {"S: * PREAUTH [CAPABILITY IMAP4rev1] welcome\n", "", fault.Protocol, "PREAUTH"},
		"PREAUTH before TLS":      {"S: * PREAUTH welcome\n", account.Detect, fault.Protocol, "PREAUTH"},
		"BYE":                     {"S: * BYE down for an hour\n", "", fault.Unavailable, "down for an hour"},
		"BYE, too many":           {"S: * BYE Too many connections from your address\n", "", fault.Throttled, "Too many"},
		"a forged log line":       {`S+ "* BYE x\x1b[31m\rlevel=info\n"` + "\n", "", fault.Unavailable, "x?[31m?level=info"},
		"( in the greeting":       {"S: * OK [CAPABILITY IMAP4rev1 (\nC: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 (\n", "", fault.Protocol, "parenthesis"},
		"( in the greeting's ]":   {"S: * OK [CAPABILITY IMAP4rev1 (] hi\n", "", fault.Protocol, "parenthesis"},
		"( in CAPABILITY":         {"S: * OK hi\nC: H1 CAPABILITY\nS: * CAPABILITY X (\n", "", fault.Protocol, "parenthesis"},
		"( in OK to CAPABILITY":   {"S: * OK hi\nC: H1 CAPABILITY\nS: H1 OK [CAPABILITY X (] a\n", "", fault.Protocol, "parenthesis"},
		"( after login":           {greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY X (] a\n", "", fault.Protocol, "parenthesis"},
		"( during login":          {greets + "C? H1 AUTHENTICATE\nS: * CAPABILITY A (\n", "", fault.Protocol, "parenthesis"},
		"no capabilities":         {"S: * OK hi\nC: H1 CAPABILITY\nS: H1 OK done\n", "", fault.Protocol, "does not say what it can do"},
		"CAPABILITY refused":      {"S: * OK hi\nC: H1 CAPABILITY\nS: H1 BAD no\n", "", fault.Protocol, "BAD no"},
		"chatter":                 {"S: * OK hi\nC: H1 CAPABILITY\nS* 30000 \"* OK hi\\r\\n\"\n", "", fault.Protocol, "more answers"},
		"STARTTLS refused":        {"S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\nS: H1 NO not now\n", account.Detect, fault.TLS, "refuses it: NO not now"},
		"STARTTLS bad":            {"S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\nS: H1 BAD what\n", account.Detect, fault.TLS, "refuses it"},
		"STARTTLS injection":      {"S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\nS+ \"H1 OK go\\r\\n* OK injected\\r\\n\"\n", account.Detect, fault.TLS, "15 octets behind the answer"},
		"STARTTLS, no TLS":        {"S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\nS: H1 OK go\nCLOSE\n", account.Detect, fault.TLS, "TLS"},
		"login is disabled":       {"S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\n", "", fault.TLS, "LOGINDISABLED"},
		"disabled inside TLS":     {"S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: H1 STARTTLS\nS: H1 OK go\nTLS\nC: H2 CAPABILITY\nS: * CAPABILITY IMAP4rev1 LOGINDISABLED\nS: H2 OK a\n", account.Detect, fault.AuthWithdrawn, "LOGINDISABLED"},
		"wrong password":          {greets + "C? H1 AUTHENTICATE PLAIN " + plain + "\nS: H1 NO [AUTHENTICATIONFAILED] no\n", "", fault.Auth, "NO [AUTHENTICATIONFAILED] no"},
		"a plain NO":              {greets + "C? H1 AUTHENTICATE\nS: H1 NO LOGIN failed.\n", "", fault.Auth, "LOGIN failed"},
		"not authorized":          {greets + "C? H1 AUTHENTICATE\nS: H1 NO [authorizationfailed] no\n", "", fault.Auth, ""},
		"expired":                 {greets + "C? H1 AUTHENTICATE\nS: H1 NO [EXPIRED] no\n", "", fault.Auth, ""},
		"unavailable":             {greets + "C? H1 AUTHENTICATE\nS: H1 NO [UNAVAILABLE] later\n", "", fault.Unavailable, ""},
		"in use":                  {greets + "C? H1 AUTHENTICATE\nS: H1 NO [INUSE] later\n", "", fault.InUse, ""},
		"limit":                   {greets + "C? H1 AUTHENTICATE\nS: H1 NO [LIMIT] later\n", "", fault.Throttled, ""},
		"throttled":               {greets + "C? H1 AUTHENTICATE\nS: H1 NO [THROTTLED x=1] later\n", "", fault.Throttled, ""},
		"throttled by words":      {greets + "C? H1 AUTHENTICATE\nS: H1 NO [ALERT] Too many simultaneous connections. (Failure)\n", "", fault.Throttled, ""},
		"Exchange":                {greets + "C? H1 AUTHENTICATE\nS: H1 BAD User is authenticated but not connected.\n", "", fault.Throttled, ""},
		"over quota":              {greets + "C? H1 AUTHENTICATE\nS: H1 NO [OVERQUOTA] no\n", "", fault.RemoteQuota, ""},
		"a bug":                   {greets + "C? H1 AUTHENTICATE\nS: H1 NO [SERVERBUG] ouch\n", "", fault.Unavailable, ""},
		"TLS first":               {greets + "C? H1 AUTHENTICATE\nS: H1 NO [PRIVACYREQUIRED] no\n", "", fault.TLS, ""},
		"BAD":                     {greets + "C? H1 AUTHENTICATE\nS: H1 BAD what\n", "", fault.Protocol, "BAD what"},
		"BYE at login":            {greets + "C? H1 AUTHENTICATE\nS: * BYE [UNAVAILABLE] maintenance\nCLOSE\n", "", fault.Unavailable, "maintenance"},
		"the password repeated":   {greets + "C? H1 AUTHENTICATE\nS: H1 NO user alice password " + canary + " is wrong\n", "", fault.Auth, "withheld"},
		"a part of it, in caps":   {greets + "C? H1 AUTHENTICATE\nS: H1 NO " + strings.ToUpper(canary[:9]) + "\n", "", fault.Auth, "withheld"},
		"the command repeated":    {greets + "C? H1 AUTHENTICATE\nS: H1 BAD AUTHENTICATE PLAIN " + plain + "\n", "", fault.Protocol, "withheld"},
		"repeated in BYE":         {greets + "C? H1 AUTHENTICATE\nS: * BYE " + plain + "\nCLOSE\n", "", fault.Unavailable, "withheld"},
		"repeated as garbage":     {greets + "C? H1 AUTHENTICATE\nS: \"" + canary + "\"\n", "", fault.Protocol, "withheld"},
		"another tag":             {greets + "C? H1 AUTHENTICATE\nS: T8 OK in\n", "", fault.Protocol, "not an answer"},
		"a strange challenge":     {greets + "C? H1 AUTHENTICATE\nS: + Zm9v\nC: *\n", "", fault.Protocol, "challenge"},
		"more and more asked":     {"S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC: H1 AUTHENTICATE PLAIN\nS: + \nC: " + plain + "\nS: + \nC: *\n", "", fault.Protocol, "challenge"},
		"LOGIN refused":           {"S: * OK [CAPABILITY IMAP4rev1] hi\nC: H1 LOGIN \"alice\" \"" + canary + "\"\nS: H1 NO no\n", "", fault.Auth, ""},
		"silence at the greeting": {"", "", fault.Timeout, "no answer from the server within 300ms"},
		"silence at login":        {greets + "C? H1 AUTHENTICATE\n", "", fault.Timeout, "no answer"},
		"chatter at login":        {greets + "C? H1 AUTHENTICATE\nS: * OK Hang in there..\n", "", fault.Timeout, "no answer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			target, d := local(script.Port), brief(dialer(script.CA.Pool))
			if tt.kind == fault.Timeout {
				d.Limits.Command = 300 * time.Millisecond
			}
			if tt.mode != "" {
				target.TLS = tt.mode
			}
			start := time.Now()
			_, err := imap.Dial(t.Context(), d, target)
			failsWith(t, err, tt.kind, tt.text)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if !strings.Contains(tt.dialogue, "S*") {
				wholly(t, script)
			}
		})
	}
}

func TestBackoffTimeOfExchange(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, greets+"C? H1 AUTHENTICATE\n"+
		"S: H1 NO Request is throttled. Suggested Backoff Time: 299963 milliseconds\n")
	_, err := imap.Dial(t.Context(), dialer(nil), local(script.Port))
	failsWith(t, err, fault.Throttled, "throttled")
	if wait := time.Until(fault.UntilOf(err)); wait < 290*time.Second || wait > 300*time.Second {
		t.Errorf("until in %v", wait)
	}
}

func TestCredentialsThatWouldInject(t *testing.T) {
	t.Parallel()
	for _, target := range []remote.Target{{Username: "a\r\nT9 LOGOUT"}, {Username: "a", Password: "b\x00c"}} {
		_, err := imap.Dial(t.Context(), dialer(nil), target)
		failsWith(t, err, fault.Policy, "line end")
	}
}

func TestWaysToSignIn(t *testing.T) {
	t.Parallel()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + canary))
	const in = " OK [CAPABILITY IMAP4rev1] in\nC: T1 LOGOUT\nS: * BYE bye\nS: T1 OK done\n"
	const after = "S: H1" + in
	for name, tt := range map[string]struct {
		dialogue, password string
		mode               account.TLSMode
	}{
		"SASL-IR": {dialogue: greets + "C: H1 AUTHENTICATE PLAIN " + plain + "\n" + after},
		"PLAIN":   {dialogue: "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC: H1 AUTHENTICATE PLAIN\nS: + \nC: " + plain + "\n" + after},
		"PLAIN where LOGIN is disabled": {dialogue: "S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN SASL-IR] hi\n" +
			"C: H1 AUTHENTICATE PLAIN " + plain + "\n" + after},
		"LOGIN": {dialogue: "S: * OK [CAPABILITY IMAP4rev1] hi\nC: H1 LOGIN \"alice\" \"" + canary + "\"\n" + after},
		"LOGIN with a literal": {dialogue: "S: * OK [CAPABILITY IMAP4rev1] hi\nC: H1 LOGIN \"alice\" {3}\nS: + go on\nC: ü\"\n" + after,
			password: "ü\""},
		"quotes": {dialogue: "S: * OK [CAPABILITY IMAP4rev1] hi\nC: H1 LOGIN \"alice\" \"a\\\"\\\\ b\"\n" + after, password: `a"\ b`},
		"capabilities asked before": {dialogue: "S: * OK hi\nC: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1  SASL-IR AUTH=PLAIN \"x\" {3}\nS: H1 OK done\n" +
			"C: H2 AUTHENTICATE PLAIN " + plain + "\nS: H2" + in},
		"capabilities asked after": {dialogue: "S: * OK [CAPABILITY IMAP4rev1] hi\nC? H1 LOGIN\nS: H1 OK in\n" +
			"C: H2 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: H2 OK done\nC: T1 LOGOUT\nS: T1 OK done\n"},
		"ID": {dialogue: greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1 ID] in\nC: T1 ID (\"name\" \"mailferry\" \"version\" \"1\")\n" +
			"C: T2 LOGOUT\nS: * ID (\"name\" NIL)\nS: T1 OK done\nS: T2 OK done\n"},
		"no STARTTLS": {dialogue: greets + "C: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\nS: H1 OK done\nC? H2 AUTHENTICATE\nS: H2" + in,
			mode: account.Detect},
		"STARTTLS": {dialogue: "S: * OK hi\nC: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 starttls\nS: * OK forget this\nS: H1 OK done\n" +
			"C: H2 STARTTLS\nS: H2 OK go\nTLS\nC: H3 CAPABILITY\nS: * CAPABILITY IMAP4rev1 auth=plain sasl-ir\nS: H3 OK done\nC? H4 AUTHENTICATE PLAIN " +
			plain + "\nS: H4" + in, mode: account.Detect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			target, d := local(script.Port), brief(dialer(script.CA.Pool))
			if tt.password != "" {
				target.Password = tt.password
			}
			if tt.mode != "" {
				target.TLS = tt.mode
			}
			s := session(t, d, target)
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			wholly(t, script)
			if got := s.Info().TLS; (got != "none") != (name == "STARTTLS") {
				t.Errorf("TLS %q", got)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	const examine = signs + "C: T1 EXAMINE INBOX\n"
	for name, tt := range map[string]struct {
		dialogue string
		kind     fault.Kind
		text     string // of the error or the note
		uids     string
	}{
		"three":              {dialogue: listed, uids: "[5 6 9]"},
		"none costs nothing": {dialogue: examine + "S: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK done\n", uids: "[]"},
		"no UIDVALIDITY":     {dialogue: examine + "S: * 0 EXISTS\nS: T1 OK done\n", uids: "[]"},
		"UIDVALIDITY 0":      {dialogue: examine + "S: * 0 EXISTS\nS: * OK [UIDVALIDITY 0] x\nS: T1 OK done\n", uids: "[]"},
		"a huge UIDVALIDITY": {dialogue: examine + "S: * 0 EXISTS\nS: * OK [UIDVALIDITY 4294967296] x\nS: T1 OK done\n", uids: "[]"},
		"no EXISTS":          {dialogue: examine + "S: * OK [UIDVALIDITY 7] ok\nS: T1 OK done\n", kind: fault.Protocol, text: "how many"},
		"a huge EXISTS":      {dialogue: examine + "S: * 4294967296 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: T1 OK done\n", kind: fault.Protocol, text: "how many"},
		"no such mailbox":    {dialogue: examine + "S: T1 NO [NONEXISTENT] no\n", kind: fault.NotFound, text: "no"},
		"refused":            {dialogue: examine + "S: T1 NO Unsafe Login. Please contact us\n", kind: fault.Unavailable, text: "Unsafe Login"},
		"one is missing":     {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: T2 OK done\n", uids: "[5]", text: "3 messages and lists 1"},
		"no order":           {dialogue: lists + "S: * 3 FETCH (UID 9 RFC822.SIZE 3)\nS: * 1 FETCH (RFC822.SIZE 3 UID 5)\nS: * 2 FETCH (UID 6 RFC822.SIZE 3)\nS: T2 OK done\n", uids: "[5 6 9]"},
		"one comes twice":    {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * 2 FETCH (UID 5 RFC822.SIZE 3)\nS: * 3 FETCH (UID 9 RFC822.SIZE 3)\nS: T2 OK done\n", uids: "[5 9]", text: "lists 2"},
		"no UID":             {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * 2 FETCH (RFC822.SIZE 3)\nS: * 3 FETCH (UID 0 RFC822.SIZE 3)\nS: T2 OK done\n", uids: "[5]", text: "lists 1"},
		"one goes meanwhile": {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * 2 EXPUNGE\nS: * 2 FETCH (UID 9 RFC822.SIZE 3)\nS: T2 OK done\n", uids: "[5 9]"},
		"flags change":       {dialogue: lists + "S: * 1 FETCH (FLAGS (\\Seen) UID 5)\n" + strings.TrimPrefix(listed, lists), uids: "[5 6 9]"},
		"NO in between":      {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: T2 NO some are gone\n", uids: "[5]", text: "some are gone"},
		"NO at once":         {dialogue: lists + "S: T2 NO [SERVERBUG] ouch\n", kind: fault.Unavailable, text: "ouch"},
		"throttled":          {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: T2 NO [LIMIT] slow down\n", kind: fault.Throttled, text: "slow down"},
		"BYE":                {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nS: * BYE [THROTTLED] enough\nCLOSE\n", kind: fault.Throttled, text: "enough"},
		"cut":                {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3)\nCLOSE\n", kind: fault.Network, text: "closed"},
		"answers nobody knows": {dialogue: lists + "S: * VANISHED (EARLIER) 41,43:116\nS: * ENABLED (\nS: * XLIST (\\Inbox) \"/\" {5}\nS: INBOX\n" +
			"S: * ESEARCH (TAG \"T2\") UID ALL 1:4294967295\nS: * OK [X-STRANGE (] hm\nS: * OK [ALERT open\nS: * NO not ]\nS: * FLAGS (\nS: * 17 WHAT (\n" +
			"S: * LIST (\"a\nS: * STATUS x y\nS: * ID (\"a\" NIL)\nS: * OK\nS: * \nS: * 99999999999999 EXISTS\n" + strings.TrimPrefix(listed, lists), uids: "[5 6 9]"},
		"items nobody asked for": {dialogue: lists + "S: * 1 FETCH (MODSEQ (12) UID 5 ENVELOPE (\"x)\" {4}\nS: (\"\") NIL (NIL)) X-GM-LABELS (\"\\\\Inbox\" a)  RFC822.SIZE 3 BODY[HEADER.FIELDS (\"]\")] {2}\n" +
			"S: hi BODY[]<0> NIL)\nS: * 2 FETCH (UID 6 RFC822.SIZE 99999999999999999999)\nS: * 3 FETCH (RFC822.SIZE 3 INTERNALDATE \"\" UID 9 EMPTY \"\")\nS: T2 OK done\n", uids: "[5 6 9]"},
		"what cannot be read": {dialogue: lists + "S: * 1 FETCH (UID 5 RFC822.SIZE 3\nS: * 2 FETCH (UID 6 RFC822.SIZE 3)\nS: * 3 FETCH (UID 9 \"x {3}\nS: abc)\nS: * 3 FETCH UID 9\nS: T2 OK done\n",
			uids: "[6]", text: "lists 1"},
		"no response":       {dialogue: lists + "S: hello there\n", kind: fault.Protocol, text: "not a response: hello there"},
		"a blank line":      {dialogue: lists + "S: \n", kind: fault.Protocol, text: "not a response"},
		"an endless line":   {dialogue: lists + "S* 100000 \"* 1 FETCH (UID 5 \"\n", kind: fault.Protocol, text: "a line of more than"},
		"an endless answer": {dialogue: lists + "S* 100000 \"* 1 FETCH (UID 5 RFC822.SIZE 3)\\r\\n\"\n", kind: fault.Protocol, text: "more answers"},
		"a huge literal":    {dialogue: lists + "S: * LIST {99999999}\n", kind: fault.Protocol, text: "a literal of 99999999 octets"},
		"a wild literal":    {dialogue: lists + "S: * 1 FETCH (UID 5 X {999999999999999999}\n", kind: fault.Protocol, text: "a literal of 999999999999999999"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			s := session(t, brief(dialer(nil)), local(script.Port))
			l, err := s.List(t.Context())
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
				return
			}
			uids := []uint32{}
			for _, i := range l.Items {
				if uids = append(uids, i.UID); i.Mailbox != "INBOX" || i.UIDValidity != 7 {
					t.Errorf("item %+v", i)
				}
			}
			if err != nil || fmt.Sprint(uids) != tt.uids || l.Complete != (tt.text == "") || !strings.Contains(l.Note, tt.text) {
				t.Errorf("%v %+v, %v", uids, l, err)
			}
			wholly(t, script)
		})
	}
}

func TestListOfTooMany(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, opens+"C: T2 FETCH 2:3 (UID RFC822.SIZE)\nS: * 2 FETCH (UID 6 RFC822.SIZE 3)\n"+
		"S: * 3 FETCH (UID 9 RFC822.SIZE 3)\nS: T2 OK done\n")
	d := dialer(nil)
	d.Limits.List = 2
	l, err := session(t, d, local(script.Port)).List(t.Context())
	if err != nil || len(l.Items) != 2 || l.Complete || !strings.Contains(l.Note, "holds 3 messages") {
		t.Errorf("%+v, %v", l, err)
	}
}
