package imap_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// outcome of a message: its body, or "!" and the kind of its error, with "…" where the body broke.
func outcome(f remote.Fetched) string {
	if f.Err != nil {
		return "!" + fault.KindOf(f.Err).String()
	}
	b, err := io.ReadAll(f.Body)
	switch {
	case len(b) > 20:
		b = fmt.Appendf(nil, "%s*%d", b[:1], len(b))
	case errors.Is(err, io.EOF):
		return "a cut body that ends well"
	}
	if err != nil {
		return string(b) + "…!" + fault.KindOf(err).String()
	}
	return string(b)
}

func TestFetch(t *testing.T) {
	t.Parallel()
	const ok = "S: T3 OK done\n"
	all := five + six + nine + ok
	for name, tt := range map[string]struct {
		dialogue string // after the command
		want     string // outcomes in the order of UIDs
		kind     fault.Kind
		text     string
	}{
		"three":                  {dialogue: all, want: "abc def ghi"},
		"another order":          {dialogue: nine + five + six + ok, want: "abc def ghi"},
		"one is missing":         {dialogue: five + nine + ok, want: "abc !not-found ghi"},
		"none comes":             {dialogue: ok, want: "!not-found !not-found !not-found"},
		"NIL":                    {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] NIL)\n" + nine + ok, want: "abc !protocol ghi"},
		"no body":                {dialogue: five + "S: * 2 FETCH (UID 6 FLAGS (\\Seen))\n" + nine + ok, want: "abc !not-found ghi"},
		"a quoted body":          {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] \"d\\\"\\\\f\")\n" + nine + ok, want: `abc d"\f ghi`},
		"an empty body":          {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {0}\nS: )\n" + nine + ok, want: "abc  ghi"},
		"an empty quoted body":   {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] \"\")\n" + nine + ok, want: "abc  ghi"},
		"literal8":               {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] ~{3}\nS: def)\n" + nine + ok, want: "abc def ghi"},
		"spaces":                 {dialogue: five + "S: * 2 fetch  ( uid  6  body[]  {3}\nS: def )\n" + nine + ok, want: "abc def ghi"},
		"one comes twice":        {dialogue: five + six + strings.Replace(six, "def", "DEF", 1) + nine + ok, want: "abc def ghi"},
		"another one's":          {dialogue: five + strings.Replace(six, "UID 6", "UID 7", 1) + nine + ok, want: "abc !not-found ghi"},
		"no UID":                 {dialogue: five + strings.Replace(six, "UID 6 ", "", 1) + nine + ok, want: "abc !not-found ghi"},
		"flags come first":       {dialogue: five + "S: * 2 FETCH (UID 6 FLAGS (\\Seen))\n" + six + nine + ok, want: "abc def ghi"},
		"the UID comes last":     {dialogue: five + "S: * 2 FETCH (BODY[] {3}\nS: def UID 6)\n" + nine + ok, want: "abc def ghi"},
		"NIL before the UID":     {dialogue: five + "S: * 2 FETCH (BODY[] NIL UID 6)\n" + nine + ok, want: "abc !protocol ghi"},
		"all UIDs come last":     {dialogue: "S: * 1 FETCH (BODY[] {3}\nS: abc UID 5)\nS: * 2 FETCH (BODY[] {3}\nS: def UID 6)\nS: * 3 FETCH (BODY[] {3}\nS: ghi UID 9)\n" + ok, want: "abc def ghi"},
		"two bodies":             {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {3}\nS: def BODY[] {3}\nS: DEF RFC822 {3}\nS: xxx)\n" + nine + ok, want: "abc def ghi"},
		"a strange item":         {dialogue: five + "S: * 2 FETCH (UID 6 X-FOO (a {2}\nS: )( b) RFC822.HEADER {3}\nS: abc BODY[] {3}\nS: def X-BAR {3}\nS: xyz)\n" + nine + ok, want: "abc def ghi"},
		"a bad date":             {dialogue: five + "S: * 2 FETCH (UID 6 INTERNALDATE \"yesterday\" BODY[] {3}\nS: def)\n" + nine + ok, want: "abc def ghi"},
		"year one":               {dialogue: five + "S: * 2 FETCH (UID 6 INTERNALDATE \"01-Jan-0001 00:00:00 +0000\" BODY[] {3}\nS: def)\n" + nine + ok, want: "abc def ghi"},
		"odd flags":              {dialogue: five + "S: * 2 FETCH (UID 6 FLAGS (\\ {x \"y\" \\* ok) BODY[] {3}\nS: def)\n" + nine + ok, want: "abc def ghi"},
		"unreadable at the end":  {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {3}\nS: def \"oops\n" + nine + ok, want: "abc def ghi"},
		"unreadable before":      {dialogue: five + "S: * 2 FETCH (UID 6 \"oops BODY[] {3}\nS: def)\n" + nine + ok, want: "abc !not-found ghi"},
		"answers nobody knows":   {dialogue: five + "S: * VANISHED 3\nS: * 4 EXISTS\nS: * 1 RECENT\nS: * 9 FETCH (FLAGS (\\Seen))\n" + six + "S: * 1 EXPUNGE\n" + nine + ok, want: "abc def ghi"},
		"NO after all":           {dialogue: five + six + nine + "S: T3 NO some failed\n", want: "abc def ghi"},
		"cut in a body":          {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {300}\nS: def\nCLOSE\n", want: "abc def\r\n…!network", kind: fault.Network, text: "closed"},
		"cut at the end":         {dialogue: five + six + nine + "CLOSE\n", want: "abc def ghi", kind: fault.Network, text: "closed"},
		"silent in a body":       {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {300}\nS: def\n", want: "abc def\r\n…!timeout", kind: fault.Timeout, text: "no answer"},
		"silent at the end":      {dialogue: five + six + nine, want: "abc def ghi", kind: fault.Timeout, text: "no answer"},
		"a body too large":       {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {99999999999}\n", want: "abc", kind: fault.Policy, text: "a message of 99999999999 octets"},
		"an impossible literal":  {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {-1}\n" + nine + ok, want: "abc !not-found ghi"},
		"a literal of 20 digits": {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {99999999999999999999}\n" + nine + ok, want: "abc !not-found ghi"},
		"a literal too short":    {dialogue: five + "S: * 2 FETCH (UID 6 BODY[] {2}\nS: def)\n" + nine + ok, want: "abc de ghi"},
		"lines out of nowhere":   {dialogue: five + "S: hello\n", want: "abc", kind: fault.Protocol, text: "not a response: hello"},
		"an endless line":        {dialogue: five + "S* 100000 \"* 2 FETCH (UID 6 \"\n", want: "abc", kind: fault.Protocol, text: "a line of more than"},
		"throttled":              {dialogue: five + "S: T3 NO [THROTTLED] later\n", want: "abc", kind: fault.Throttled, text: "later"},
		"a quota":                {dialogue: five + "S: T3 NO [OVERQUOTA] tomorrow\n", want: "abc", kind: fault.RemoteQuota, text: "tomorrow"},
		"the rest one by one": {dialogue: five + "S: T3 NO some failed\nC? T4 UID FETCH 6 (UID \n" + six + "S: T4 OK done\n" +
			"C? T5 UID FETCH 9 (UID \n" + nine + "S: T5 OK done\n", want: "abc def ghi"},
		"plainer and plainer": {dialogue: five + "S: T3 NO some failed\n" +
			"C? T4 UID FETCH 6 (UID \nS: T4 NO no date\nC: T5 UID FETCH 6 (UID FLAGS BODY.PEEK[])\nS: T5 BAD no flags\n" +
			"C: T6 UID FETCH 6 (UID BODY.PEEK[])\n" + six + "S: T6 OK done\nC? T7 UID FETCH 9 (UID \n" + nine + "S: T7 OK done\n", want: "abc def ghi"},
		"one is refused": {dialogue: five + "S: T3 NO some failed\n" +
			"C? T4 UID FETCH 6 (\nS: T4 NO [UNAVAILABLE] a\nC: T5 UID FETCH 6 (UID FLAGS BODY.PEEK[])\nS: T5 NO [UNAVAILABLE] b\n" +
			"C: T6 UID FETCH 6 (UID BODY.PEEK[])\nS: T6 NO [UNAVAILABLE] c\nC? T7 UID FETCH 9 (UID \n" + nine + "S: T7 OK done\n", want: "abc !unavailable ghi"},
		"large, the UID last": {dialogue: five + "S: * 2 FETCH (BODY[] {600000}\nS* 6000 \"" + hundred + "\"\nS:  UID 6)\n" + nine + ok +
			"C? T4 UID FETCH 6 (UID \nS: * 2 FETCH (BODY[] {600000}\nS* 6000 \"" + hundred + "\"\nS:  UID 6)\nS: T4 OK done\n", want: "abc x*600000 ghi"},
		"large, nobody's": {dialogue: five + "S: * 2 FETCH (BODY[] {600000}\nS* 6000 \"" + hundred + "\"\nS: )\n" + nine + ok +
			"C? T4 UID FETCH 6 (UID \nS: * 2 FETCH (BODY[] {600000}\nS* 6000 \"" + hundred + "\"\nS:  UID 7)\nS: T4 OK done\n", want: "abc x*600000…!protocol ghi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, fetches+tt.dialogue)
			d := brief(dialer(nil))
			if tt.kind == fault.Timeout {
				d.Limits.Command, d.Limits.Idle = 300*time.Millisecond, 300*time.Millisecond
			}
			s := session(t, d, local(script.Port))
			l, err := s.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := map[uint32]string{}
			var uids []uint32
			err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
				if _, twice := got[f.Item.UID]; twice {
					t.Errorf("each is called twice for %+v", f)
				}
				got[f.Item.UID] = outcome(f)
				uids = append(uids, f.Item.UID)
				return nil
			})
			var outcomes []string
			for _, i := range l.Items {
				if o, ok := got[i.UID]; ok {
					outcomes = append(outcomes, strings.ReplaceAll(o, "\r\n", `\r\n`))
				}
			}
			if want := strings.ReplaceAll(tt.want, "\r\n", `\r\n`); strings.Join(outcomes, " ") != want {
				t.Errorf("outcomes %q (%v), want %q", outcomes, uids, want)
			}
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
			} else if err != nil {
				t.Error(err)
			}
			if !strings.Contains(tt.dialogue, "100000") {
				wholly(t, script)
			}
		})
	}
}
