package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
)

func fill(t testing.TB, d *Directory, domain string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				if _, err := d.CreateAccount(context.Background(), acc(domain, fmt.Sprintf("n%05d", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func listed(t testing.TB, d *Directory, domain string) []account.Account {
	t.Helper()
	var out []account.Account
	for a, err := range d.Accounts(limited(t, 60*time.Second), domain) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func refs(as []account.Account) []string {
	out := make([]string, len(as))
	for i, a := range as {
		out[i] = a.Ref()
	}
	return out
}

func TestListsAreOfADomainInOrder(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	if got := listed(t, d, ""); len(got) != 0 {
		t.Fatalf("an empty directory holds %v", refs(got))
	}
	const many = 2*batch + 7
	fill(t, d, "big.example", many)
	for _, name := range []string{"z", "b.c", "b-c", "a", "ü"} {
		create(t, d, "small.example", name)
	}
	remove(t, d, create(t, d, "small.example", "gone"))
	var bad []string
	d.cfg.Unreadable = func(bucket, key string, _ error) { bad = append(bad, bucket+" "+key) }
	for _, key := range []string{"small=2eexample.rubbish", "small=2eexample.x=y"} {
		if _, err := n.JS.Publish(limited(t, 30*time.Second), d.accounts.root+key, []byte("\xff")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"small.example/a", "small.example/b-c", "small.example/b.c", "small.example/z", "small.example/ü"}
	if got := refs(listed(t, d, "small.example")); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if len(bad) != 2 {
		t.Fatalf("told of unreadable records: %v", bad)
	}
	all := listed(t, d, "")
	if len(all) != many+5 || !slices.IsSorted(refs(all)[:many]) {
		t.Fatalf("%d accounts", len(all))
	}
	if a, err := d.Account(limited(t, 30*time.Second), all[3].Domain, all[3].Name); err != nil || a.Revision != all[3].Revision || a.UID != all[3].UID {
		t.Fatalf("listed %+v, read %+v, %v", all[3], a, err)
	}
	if got := listed(t, d, "example"); len(got) != 0 {
		t.Fatalf("another domain has %v", refs(got))
	}
	for _, err := range d.Accounts(limited(t, 30*time.Second), "big.example") {
		if err != nil {
			t.Fatal(err)
		}
		break // leaves nothing behind
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range d.Accounts(ctx, "") {
		if err == nil {
			t.Fatal("a list went on without its context")
		}
	}
}

// The server names at most 100,000 keys at a time; here it is 10. A key that is added meanwhile moves those
// behind it to another page.
func TestAListOfManyPages(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	const many = 57
	fill(t, d, "m.example", many)
	remove(t, d, create(t, d, "m.example", "removed"))
	create(t, d, "z.example", "last")
	pages := 0
	sub, err := n.Conn.Subscribe("PAGES.>", func(m *nats.Msg) {
		to := "$JS.API." + strings.TrimPrefix(m.Subject, "PAGES.")
		if !strings.HasPrefix(to, "$JS.API.STREAM.INFO.") {
			_ = n.Conn.PublishRequest(to, m.Reply, m.Data)
			return
		}
		if pages++; pages == 3 {
			create(t, d, "a.example", "first")
		}
		_ = m.Respond(pageOf(t, n, to, m.Data, 10))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := n.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	paged, err := Open(limited(t, 30*time.Second), n.JS, Config{})
	if err != nil {
		t.Fatal(err)
	}
	paged.api = "PAGES."
	got := refs(listed(t, paged, ""))
	if len(got) != many+1 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || pages != 6 {
		t.Fatalf("%d accounts in %d pages: %v", len(got), pages, got)
	}
}

// pageOf asks for all keys and answers as a server does that names at most limit of them.
func pageOf(t *testing.T, n *testenv.NATS, to string, request []byte, limit int) []byte {
	var req map[string]any
	var resp map[string]any
	if err := json.Unmarshal(request, &req); err != nil {
		t.Error(err)
		return nil
	}
	offset := int(req["offset"].(float64))
	m, err := n.Conn.Request(to, []byte(fmt.Sprintf(`{"subjects_filter":%q}`, req["subjects_filter"])), 30*time.Second)
	if err == nil {
		err = json.Unmarshal(m.Data, &resp)
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	all := resp["state"].(map[string]any)["subjects"].(map[string]any)
	keys := slices.Sorted(maps.Keys(all))
	for i, key := range keys {
		if i < offset || i >= offset+limit {
			delete(all, key)
		}
	}
	out, err := json.Marshal(resp)
	if err != nil {
		t.Error(err)
	}
	return out
}

func TestAListDoesNotBelieveAReplicaThatLags(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	a := create(t, d, "example.com", "x")
	old, err := d.accounts.get(limited(t, 30*time.Second), accountKey("example.com", "x"))
	if err != nil {
		t.Fatal(err)
	}
	edit := a
	edit.Username = "bob"
	if _, err := d.UpdateAccount(limited(t, 30*time.Second), edit); err != nil {
		t.Fatal(err)
	}
	create(t, d, "example.com", "y")
	answers(t, d, n, func(m *nats.Msg) {
		one := recordOf(old, nil)
		one.Subject = m.Reply
		end := nats.NewMsg(m.Reply)
		end.Header.Set("Status", "204")
		end.Header.Set("Nats-UpTo-Sequence", fmt.Sprint(old.revision))
		_ = n.Conn.PublishMsg(one)
		_ = n.Conn.PublishMsg(end)
	})
	got := listed(t, d, "example.com")
	if len(got) != 2 || got[0].Username != "bob" || got[1].Name != "y" {
		t.Fatalf("got %+v", got)
	}
}

// answers answers batched direct gets in place of the server.
func answers(t *testing.T, d *Directory, n *testenv.NATS, answer func(m *nats.Msg)) {
	t.Helper()
	replica(t, d, n, func(string) *nats.Msg { return nil }) // switches direct gets off
	sub, err := n.Conn.Subscribe("$JS.API.DIRECT.GET."+d.accounts.stream, answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	if err := n.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestAListOfMoreThanTheServerAnswers has accounts added between the naming and the reading.
func TestAListOfMoreThanTheServerAnswers(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	fill(t, d, "example.com", 20)
	answers(t, d, n, func(m *nats.Msg) {
		many := nats.NewMsg(m.Reply)
		many.Header.Set("Status", "413")
		_ = n.Conn.PublishMsg(many)
	})
	if got := listed(t, d, "example.com"); len(got) != 20 {
		t.Errorf("%d accounts", len(got))
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	ctx := limited(t, 60*time.Second)
	if got, err := d.Find(ctx, []account.Account{acc("example.com", "a")}); err != nil || len(got) != 0 {
		t.Fatalf("an empty directory holds %v, %v", got, err)
	}
	const many = batch + 20
	fill(t, d, "example.com", many)
	dot := create(t, d, "other.example", "a.b ü")
	remove(t, d, create(t, d, "example.com", "gone"))
	if _, err := n.JS.Publish(ctx, d.accounts.root+accountKey("example.com", "rubbish"), []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	named := []account.Account{acc("example.com", "gone"), acc("example.com", "rubbish"), acc("example.com", "never"), acc("other.example", dot.Name), acc("other.example", dot.Name)}
	for i := range many {
		named = append(named, acc("example.com", fmt.Sprintf("n%05d", i)))
	}
	for domain, want := range map[string]int{"example.com": many + 2, "other.example": 1, "never.example": 0} {
		if n, err := d.AtMost(ctx, domain); err != nil || n != want {
			t.Errorf("%s has %d accounts at most, want %d; %v", domain, n, want, err)
		}
	}
	got, err := d.Find(ctx, named)
	if err != nil || len(got) != many+1 || got[dot.Ref()].UID != dot.UID || got[dot.Ref()].Revision != dot.Revision {
		t.Fatalf("found %d, %v", len(got), err)
	}
	if got, err := d.Find(ctx, named[:3]); err != nil || len(got) != 0 {
		t.Errorf("found %v, %v", got, err)
	}
}

// TestFindDoesNotBelieveAReplicaThatLags asks for an account that was removed meanwhile.
func TestFindDoesNotBelieveAReplicaThatLags(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	a := create(t, d, "example.com", "x")
	old, err := d.accounts.get(limited(t, 30*time.Second), accountKey("example.com", "x"))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, d, a)
	answers(t, d, n, func(m *nats.Msg) {
		one, end := recordOf(old, nil), nats.NewMsg(m.Reply)
		one.Subject = m.Reply
		end.Header.Set("Status", "204")
		end.Header.Set("Nats-UpTo-Sequence", fmt.Sprint(old.revision))
		_ = n.Conn.PublishMsg(one)
		_ = n.Conn.PublishMsg(end)
	})
	if got, err := d.Find(limited(t, 30*time.Second), []account.Account{a}); err != nil || len(got) != 0 {
		t.Errorf("found %v, %v", got, err)
	}
}

func BenchmarkAccounts(b *testing.B) {
	d, _ := newDirectory(b)
	const n = 20_000
	fill(b, d, "example.com", n)
	for b.Loop() {
		if got := len(listed(b, d, "")); got != n {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "accounts/s")
}
