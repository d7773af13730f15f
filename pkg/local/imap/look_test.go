package imap_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// again is a hand-over of a message that may be there; by is what differs from one to the next.
func again(key, by, body string) local.Message {
	return local.Message{
		Trace: []byte("X-Mailferry: account=abc;\r\n\tkey=" + key + "\r\nReceived: " + by + "\r\n"),
		Body:  strings.NewReader(body), Size: int64(len(body)), Repeat: true,
		Date: time.Date(2001, 2, 3, 23, 59, 59, 0, time.FixedZone("", 11*3600)),
	}
}

// A message that is there is not appended again, in whatever mailbox; what only looks like it is another.
func TestRepeat(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "s\"e\\cret"))
	kept := imap.New(configs(dove)["starttls"])
	t.Cleanup(func() { _ = kept.Close() })
	odd := "Subject: a\r\nReceived: from \"q\\uoted\" by x\n\r\nGr\xfc\xdfe \x00\r" + strings.Repeat("lines\n", 2000)
	other := strings.Replace(odd, "Subject: a", "Subject: b", 1)
	refused := strings.Repeat("long", 70) // becomes a careful name
	for i, tt := range []struct{ to, mailbox, key, body string }{
		{"alice", "", "1", odd},
		{"alice", "", "12", odd},  // a key that begins like it
		{"alice", "", "1", other}, // the unique-id used again
		{"alice", "", "2", ""},
		{"alice", "Imported|v1.2|Größe", "1", odd}, // another leg
		{"alice", "Imported|" + refused, "1", odd},
		{"bob", "Imported|v1.2|Größe", "1", odd},
	} {
		env := local.Envelope{To: []string{tt.to + "@example.com"}}
		if tt.mailbox != "" {
			env.Mailbox = strings.Split(tt.mailbox, "|")
		}
		fresh := imap.New(configs(dove)["tls"]) // as after a crash
		for n, c := range []*imap.Client{kept, fresh, kept} {
			replies, err := c.Deliver(t.Context(), env, again(tt.key, strings.Repeat("x", 100*n), tt.body), allow)
			if err != nil || len(replies) != 1 || !replies[0].Accepted() {
				t.Fatalf("%d: %+v, %v", i, replies, err)
			}
		}
		_ = fresh.Close()
	}
	for user, want := range map[string][]int{"alice": {1, 1, 4}, "bob": {1}} {
		counts := map[int]int{}
		for _, n := range mailboxes(t, dove, user+"@example.com") {
			counts[n]++
		}
		delete(counts, 0)
		wanted := map[int]int{}
		for _, n := range want {
			wanted[n]++
		}
		if !maps.Equal(counts, wanted) {
			t.Errorf("%s has mailboxes by messages %v, want %v", user, counts, wanted)
		}
	}
}

// What a server says of a message that is looked for, and whether it is appended then.
func TestLook(t *testing.T) {
	t.Parallel()
	const examined = signedIn + "C: M5 EXAMINE \"Imported/x\"\nS: * 3 EXISTS\nS: M5 OK [READ-ONLY] done\n"
	const searched = examined + "C: M6 UID SEARCH SINCE 2-Feb-2001 BEFORE 5-Feb-2001 HEADER \"X-Mailferry\" \"account=abc;\" HEADER \"X-Mailferry\" \"key=1\"\n"
	const fetch = "C: M7 UID FETCH 7,9 (BODY.PEEK[]<0.1092>)\n"
	body := func(more string) string {
		text := "X-Mailferry: account=abc;\r\n\tkey=1\r\nOther: \"\\\r\n" + more
		return "S+ " + strconv.Quote(fmt.Sprintf("* 2 FETCH (UID 9 BODY[]<0> {%d}\r\n%s FLAGS ())\r\n", len(text), text)) + "\nS: M7 OK done\n"
	}
	appended := func(tag string) string {
		return "C? " + tag + " APPEND\nS: + go on\nC: X-Mailferry: account=abc;\nC: \tkey=1\nC: Received: x\nC: a: b\nC:\nC: xx\nS: " + tag + " OK done\nANY"
	}
	fresh := "NEXT\n" + signedIn
	for name, tt := range map[string]struct {
		dialogue string
		appended bool
		fails    bool
	}{
		"there":             {dialogue: searched + "S: * SEARCH 7 9\nS: M6 OK done\n" + fetch + body("a: b\r\n\r\nxx") + "ANY"},
		"there, by ESEARCH": {dialogue: searched + "S: * ESEARCH (TAG \"M6\") UID COUNT 2 ALL 7,9\nS: M6 OK done\n" + fetch + body("a: b\n\nxx") + "ANY"},
		"another":           {searched + "S: * SEARCH 7 9\nS: M6 OK done\n" + fetch + body("a: c\r\n\r\nxx") + appended("M8"), true, false},
		"another's trace":   {searched + "S: * SEARCH 7 9\nS: M6 OK done\n" + fetch + strings.Replace(body("a: b\r\n\r\nxx"), "key=1", "key=2", 1) + appended("M8"), true, false},
		"not found":         {searched + "S: * SEARCH\nS: M6 OK done\n" + appended("M7"), true, false},
		"no SEARCH":         {searched + "S: M6 NO [CANNOT] no\n" + appended("M7"), true, false},
		"gone meanwhile":    {searched + "S: * SEARCH 7 9\nS: M6 OK done\n" + fetch + "S: M7 OK done\n" + appended("M8"), true, false},
		"odd UIDs":          {searched + "S: * SEARCH 1:* x -1 4294967296\nS: M6 OK done\n" + appended("M7"), true, false},
		"no mailbox":        {signedIn + "C? M5 EXAMINE\nS: M5 NO [NONEXISTENT] none\n" + appended("M6"), true, false},
		"too much":          {searched + "S* 20100 \"* SEARCH 1\\r\\n\"\n" + fresh + appended("M5"), true, false},
		"silent":            {searched + fresh + appended("M5"), true, false},
		"hangs up":          {searched + "CLOSE", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := play(t, tt.dialogue, func(cfg *imap.Config) {
				if name == "silent" {
					cfg.Timeouts.Command = 4 * time.Second
				}
			})
			committed := false
			replies, err := c.Deliver(t.Context(), alice, again("1", "x", "a: b\r\n\r\nxx"), func(context.Context) error { committed = true; return nil })
			switch {
			case tt.fails:
				if fault.KindOf(err) != fault.DestinationTemporary || local.Uncertain(err) || len(replies) != 0 {
					t.Errorf("replies %+v, error %v", replies, err)
				}
			case err != nil || len(replies) != 1 || !replies[0].Accepted() || committed != tt.appended:
				t.Errorf("replies %+v, error %v, appended %v", replies, err, committed)
			}
		})
	}
}
