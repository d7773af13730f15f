package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
)

// TestQuiet is about an index that holds nothing: every message that is listed is left to do.
func TestQuiet(t *testing.T) {
	t.Parallel()
	keyer := ledger.NewKeyer([]byte("secret"))
	boxOf := func(mailbox string) string { return keyer.IMAP(mailbox, 0, 0).Mailbox() }
	st := remote.Status{UIDValidity: 7, UIDNext: 3}
	whole := func(name string, st remote.Status) remote.Mailbox {
		return remote.Mailbox{Name: name, Whole: true, Status: st}
	}
	for name, tt := range map[string]struct {
		items     []string // mailboxes of messages; "-" in front of one without a key, "+" of one that was published
		mailboxes []remote.Mailbox
		want      []string
	}{
		"nothing is left":      {mailboxes: []remote.Mailbox{whole("a", st), whole("b", st)}, want: []string{"a", "b"}},
		"a message is left":    {items: []string{"a"}, mailboxes: []remote.Mailbox{whole("a", st), whole("b", st)}, want: []string{"b"}},
		"one without a key":    {items: []string{"-b"}, mailboxes: []remote.Mailbox{whole("a", st), whole("b", st)}, want: []string{"a"}},
		"one was published":    {items: []string{"+a", "b"}, mailboxes: []remote.Mailbox{whole("a", st), whole("b", st)}, want: []string{"a"}},
		"and another is left":  {items: []string{"+a", "a"}, mailboxes: []remote.Mailbox{whole("a", st), whole("b", st)}, want: []string{"b"}},
		"only what is new":     {items: []string{"+a"}, mailboxes: []remote.Mailbox{{Name: "a", Status: st, Before: 1}}, want: []string{"a"}},
		"not whole":            {mailboxes: []remote.Mailbox{{Name: "a", Status: st}}},
		"unchanged":            {mailboxes: []remote.Mailbox{{Name: "a", Status: st, Unchanged: true}}},
		"no UIDNEXT was said":  {mailboxes: []remote.Mailbox{whole("a", remote.Status{})}},
		"none could be opened": {},
	} {
		m := mailbox{index: new(ledger.Index), listing: remote.Listing{Mailboxes: tt.mailboxes}}
		var published []candidate
		for i, box := range tt.items {
			name := strings.TrimLeft(box, "+-")
			key := keyer.IMAP(name, 7, uint32(i+1))
			switch box[0] {
			case '-':
				key = ""
			case '+':
				published = append(published, candidate{key: key})
			}
			box = name
			m.keys = append(m.keys, key)
			m.listing.Items = append(m.listing.Items, remote.Item{Mailbox: box, UIDValidity: 7, UID: uint32(i + 1)})
		}
		var want []ledger.QuietMailbox
		for _, box := range tt.want {
			q := ledger.QuietMailbox{Mailbox: boxOf(box), UIDValidity: 7, UIDNext: 3}
			if !tt.mailboxes[0].Whole {
				q.Since = 42
			}
			want = append(want, q)
		}
		if got := m.quiet(boxOf, func(string) int64 { return 42 }, published); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
