package worker

import (
	"fmt"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
)

func TestLeaving(t *testing.T) {
	t.Parallel()
	// Of ten messages, ten octets more each, 0, 3 and 9 are not collected; those up to 4 are old.
	m := mailbox{listing: remote.Listing{Complete: true}}
	for i := range 10 {
		m.listing.Items = append(m.listing.Items, remote.Item{Number: i + 1, Size: int64(10 * i)})
	}
	collected := []int{1, 2, 4, 5, 6, 7, 8}
	old := func(i int) bool { return i <= 4 }
	for _, tt := range []struct {
		name string
		a    account.Account
		want string
	}{
		{"leave", account.Account{After: account.Leave, AfterDays: 1}, "[]"},
		{"all", account.Account{After: account.Delete}, "[1 2 4 5 6 7 8]"},
		{"move", account.Account{After: account.Move}, "[1 2 4 5 6 7 8]"},
		{"days", account.Account{After: account.Delete, AfterDays: 7}, "[1 2 4]"},
		{"larger", account.Account{After: account.Delete, AfterLargerThan: 60}, "[7 8]"},
		{"days or larger", account.Account{After: account.Delete, AfterDays: 7, AfterLargerThan: 60}, "[1 2 4 7 8]"},
		{"newest collected stay", account.Account{After: account.Delete, AfterKeepNewest: 5}, "[1 2]"},
		{"newest stay though large", account.Account{After: account.Delete, AfterKeepNewest: 1, AfterLargerThan: 60}, "[7]"},
		{"newest stay though old", account.Account{After: account.Delete, AfterKeepNewest: 5, AfterDays: 7}, "[1 2]"},
		{"fewer than are kept", account.Account{After: account.Delete, AfterKeepNewest: 50}, "[]"},
	} {
		if got := fmt.Sprint(m.leaving(tt.a, collected, old)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	m.listing.Complete = false
	if got := m.leaving(account.Account{After: account.Delete}, collected, old); len(got) > 0 {
		t.Errorf("of a listing that contradicts itself: %v", got)
	}
	for i := range m.listing.Items {
		m.listing.Items[i].Mailbox = []string{"a", "b"}[i%2]
	}
	m.listing.Mailboxes = []remote.Mailbox{{Name: "a"}, {Name: "b", Whole: true}}
	if got := fmt.Sprint(m.leaving(account.Account{After: account.Delete}, collected, old)); got != "[1 5 7]" {
		t.Errorf("of two mailboxes, one of them whole: %s", got)
	}
}

// TestNewestOfEachMailbox counts the newest that stay in each mailbox by itself, by UID.
func TestNewestOfEachMailbox(t *testing.T) {
	t.Parallel()
	m := mailbox{listing: remote.Listing{Items: []remote.Item{
		{Mailbox: "a", UID: 9}, {Mailbox: "b", UID: 1}, {Mailbox: "a", UID: 3}, {Mailbox: "b", UID: 2}, {Mailbox: "c", UID: 1},
	}}}
	if got := fmt.Sprint(m.older([]int{0, 1, 2, 3, 4}, 1)); got != "[1 2]" {
		t.Errorf("%s", got)
	}
}

func TestAdmitted(t *testing.T) {
	t.Parallel()
	var fresh []candidate
	for _, size := range []int64{10, 500, 20, 30, 40} {
		fresh = append(fresh, candidate{item: remote.Item{Size: size}})
	}
	none, some := ledger.Day{}, ledger.Day{Messages: 3, Octets: 100}
	for _, tt := range []struct {
		a     account.Account
		today ledger.Day
		want  string // sizes taken, sizes passed over, left, for another day
	}{
		{account.Account{}, none, "[10 500 20 30 40] [] 0 false"},
		{account.Account{MaxMessageSize: 100}, none, "[10 20 30 40] [500] 0 false"},
		{account.Account{MaxMessages: 2, MaxMessageSize: 100}, none, "[10 20] [500] 2 false"},
		{account.Account{MaxMessages: 2, NewestFirst: true}, none, "[40 30] [] 3 false"},
		{account.Account{MaxBytes: 520}, none, "[10 500] [] 3 false"},
		{account.Account{MaxBytes: 5}, none, "[10] [] 4 false"},
		{account.Account{MaxMessagesPerDay: 4}, some, "[10] [] 4 true"},
		{account.Account{MaxMessagesPerDay: 3}, some, "[] [] 5 true"},
		{account.Account{MaxMessagesPerDay: 9, MaxMessages: 2}, some, "[10 500] [] 3 false"},
		{account.Account{MaxMessagesPerDay: 8}, some, "[10 500 20 30 40] [] 0 false"},
		{account.Account{MaxBytesPerDay: 110}, some, "[10] [] 4 true"},
		{account.Account{MaxBytesPerDay: 100}, some, "[] [] 5 true"},
		{account.Account{MaxBytesPerDay: 5}, none, "[10] [] 4 true"},
	} {
		take, large, left, daily := admitted(tt.a, tt.today, fresh, 3)
		if got := fmt.Sprint(sizes(take), sizes(large), left, daily); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.a, got, tt.want)
		}
	}
	if take, _, _, _ := admitted(account.Account{NewestFirst: true}, none, fresh, 5); take[0].item.Size != 10 {
		t.Error("without a backlog messages come in order")
	}
}

func sizes(cs []candidate) []int64 {
	out := []int64{}
	for _, c := range cs {
		out = append(out, c.item.Size)
	}
	return out
}

// TestUnlikeMessagesOfOneKey leaves at the remote server what shares its key with a message of another size.
func TestUnlikeMessagesOfOneKey(t *testing.T) {
	t.Parallel()
	m := mailbox{
		listing: remote.Listing{Items: []remote.Item{{Size: 10}, {Size: 10}, {Size: 5}, {Size: 7}, {Size: 5}}},
		keys:    []ledger.Key{"same", "same", "other", "alone", ""},
	}
	if got := m.unlike(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	m.keys[3] = "other"
	if got := m.unlike(); len(got) != 1 || !got["other"] {
		t.Errorf("%v", got)
	}
}
