package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

const hookSecret = "the secret of the webhook"

// hook is a receiver of webhooks that answers 500 to the first few requests.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	fail   int
	tries  int
	events []string // "type account", of those that it took
	bodies [][]byte
	wrong  []string
}

// newHook returns one at an address of the loopback network.
func newHook(t *testing.T, ip string, fail int) *hook {
	t.Helper()
	h := &hook{fail: fail}
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	h.Server = httptest.NewUnstartedServer(h)
	_ = h.Listener.Close()
	h.Listener = l
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries++
	id, at := r.Header.Get(notice.HeaderID), r.Header.Get(notice.HeaderTimestamp)
	if err != nil || r.Header.Get(notice.HeaderSignature) != notice.Sign(hookSecret, id, at, body) {
		h.wrong = append(h.wrong, "signature of "+id)
	}
	if h.fail > 0 {
		h.fail--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var e struct {
		Type string
		Data struct{ ID, Account string }
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Data.ID != id {
		h.wrong = append(h.wrong, "body of "+id)
	}
	h.events, h.bodies = append(h.events, e.Type+" "+e.Data.Account), append(h.bodies, body)
}

// got returns the events in order, and how many requests there were.
func (h *hook) got(t *testing.T) ([]string, int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.wrong {
		t.Error(w)
	}
	return slices.Clone(h.events), h.tries
}

// noticesOf returns the types of the notices that were mailed to an address, in order.
func (s *sink) noticesOf(to string) []string {
	var out []string
	for _, m := range s.all(to) {
		_, rest, ok := bytes.Cut(m.raw, []byte("X-Mailferry-Notice: "))
		if typ, _, _ := bytes.Cut(rest, []byte(";")); ok {
			out = append(out, string(typ))
		}
	}
	return out
}

// settled says that no notice is on its way.
func (h *house) settled() bool {
	s, err := h.nats.JS.Stream(h.t.Context(), "NOTICES")
	return err == nil && s.CachedInfo().State.Msgs == 0
}

// TestNotices tells of a wrong password once, and once that it was mended, to each who wants to know: by mail, and by
// webhooks, of which one fails at first; a domain cannot have its own sent into the house.
func TestNotices(t *testing.T) {
	t.Parallel()
	acquire(t)
	h, s := newHouse(t, testenv.NewDovecot(t)), newSink(t)
	h.destination(s.destination())
	h.startWith("worker", []string{"--notice-owner-after", "2"})
	h.startWith("delivery", []string{"--webhook-egress-allow", "127.0.0.1/32"})
	cli := h.controlAt(freeAddr(t), "--webhook-egress-allow", "127.0.0.1/32")
	ofDomain, ofFleet, inside := newHook(t, "127.0.0.1", 3), newHook(t, "127.0.0.2", 0), newHook(t, "127.0.0.3", 0)
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hookSecret)
	cli.ok("domain", "add", "example.com", "--webhook", ofDomain.URL, "--webhook-secret-file", secret, "--notify-admin", "admin@example.com")
	cli.ok("settings", "set", "webhook_url="+ofFleet.URL, "webhook_secret_file="+secret, "notify_admin=root@example.com")
	if out, err := cli.run("domain", "add", "inside.example", "--webhook", inside.URL, "--webhook-secret-file", secret); err == nil || !strings.Contains(out, "may not go to this address") {
		t.Errorf("a webhook into the house: %v\n%s", err, out)
	}
	if out := cli.ok("domain", "list", "--json") + cli.ok("settings", "show", "--json"); strings.Count(out, `"sealedWebhookSecret":""`) != 2 {
		t.Errorf("the API shows a secret:\n%s", out)
	}
	a := h.account("alice", "alice", account.POP3, account.Leave, func(a *account.Account) { a.Notify = true })
	quiet := h.account("bob", "bob", account.POP3, account.Leave, func(a *account.Account) { a.ForwardTo = "bob@example.com" })
	for _, a := range []account.Account{a, quiet} {
		// As a planner would, which would run it once more at a time of its own.
		if err := h.due.Put(t.Context(), due.Entry{UID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Active: true}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		write("canary-password")
		cli.ok("account", "edit", a.Ref(), "--password-file", secret)
		for range 3 { // a run that a slow machine repeats is one more, and after five nobody signs in for an hour
			if out, err := cli.run("fetch", a.Ref()); err == nil {
				t.Fatalf("fetched with a wrong password:\n%s", out)
			}
		}
		write(h.remote.Password)
		cli.ok("account", "edit", a.Ref(), "--password-file", secret)
		for range 2 {
			testenv.Eventually(t, 90*time.Second, "it is fetched again", func() bool {
				_, err := cli.run("fetch", a.Ref())
				return err == nil
			})
		}
	}
	testenv.Eventually(t, 60*time.Second, "every notice is sent", h.settled)
	mail := "failing recovered"
	for to, want := range map[string]string{"alice@example.com": mail, "bob@example.com": "", "admin@example.com": mail + " " + mail, "root@example.com": mail + " " + mail} {
		got := s.noticesOf(to)
		if to != "alice@example.com" { // those of two accounts
			slices.Sort(got)
			w := strings.Fields(want)
			slices.Sort(w)
			want = strings.Join(w, " ")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s got %v, want %s", to, got, want)
		}
	}
	want := []string{"account.failing example.com/alice", "account.failing example.com/bob", "account.recovered example.com/alice", "account.recovered example.com/bob"}
	for name, w := range map[string]*hook{"domain": ofDomain, "fleet": ofFleet} {
		events, tries := w.got(t)
		if slices.Sort(events); !slices.Equal(events, want) || name == "domain" && tries != len(want)+3 {
			t.Errorf("the webhook of the %s got %v in %d requests", name, events, tries)
		}
		for _, b := range w.bodies {
			if bytes.Contains(b, []byte("canary")) || bytes.Contains(b, []byte(h.remote.Password)) {
				t.Errorf("a password in %s", b)
			}
		}
	}
	if n := len(s.all("alice@example.com")); n != 2 {
		t.Errorf("alice has %d messages", n)
	}
	// What control would have refused is refused by the delivery, too.
	sealed, err := h.vault.Seal(hookSecret, directory.Notify{}.SealContext("example.com"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.book.Domain(t.Context(), "example.com")
	if err != nil {
		t.Fatal(err)
	}
	d.WebhookURL, d.SealedWebhookSecret = inside.URL, string(sealed)
	if _, err := h.book.PutDomain(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	h.remote.Append("alice", []byte("Subject: large\r\n\r\n"+strings.Repeat("large\r\n", 1000)))
	cli.ok("account", "edit", a.Ref(), "--max-message-size", "1000")
	testenv.Eventually(t, 90*time.Second, "the large one is passed over", func() bool {
		_, err := cli.run("fetch", a.Ref())
		return err == nil && h.counts(a).Skipped == 1
	})
	testenv.Eventually(t, 60*time.Second, "every notice is sent or given up", h.settled)
	if got := s.noticesOf("alice@example.com"); len(got) != 3 || got[2] != "oversize-skipped" {
		t.Errorf("alice got %v", got)
	}
	if events, tries := inside.got(t); tries != 0 {
		t.Errorf("a webhook went into the house: %v", events)
	}
	if events, _ := ofFleet.got(t); len(events) != 5 {
		t.Errorf("the webhook of the fleet got %v", events)
	}
}

// TestNoticeOfADeadWorker tells once what a worker said that died before it noted so: another run says the same again.
func TestNoticeOfADeadWorker(t *testing.T) {
	t.Parallel()
	acquire(t)
	h, s := newHouse(t, testenv.NewDovecot(t)), newSink(t)
	h.destination(s.destination())
	a := h.add(account.Account{
		Name: "alice", Protocol: account.POP3, Host: net.JoinHostPort(h.remote.Host, strconv.Itoa(h.remote.POP3Port)),
	}, "wrong", func(a *account.Account) { a.Notify, a.NotifyTo = true, "owner@example.com" })
	if err := h.due.Put(t.Context(), due.Entry{UID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Active: true}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	failures := func() int {
		e, _, err := h.due.Get(t.Context(), a.UID)
		if err != nil {
			t.Fatal(err)
		}
		return e.Failures
	}
	h.start("delivery")
	dying := h.startWith("worker", []string{"--notice-owner-after", "1"}, "MAILFERRY_KILL_AT=worker.told")
	h.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 60*time.Second, "the worker is dead", dying.ended)
	h.startWith("worker", []string{"--notice-owner-after", "1"})
	testenv.Eventually(t, 60*time.Second, "another one has run the account", func() bool { return failures() == 2 && h.idle(a) })
	h.trigger(a, "second", queue.Manual)
	testenv.Eventually(t, 60*time.Second, "it has run again, and every notice is sent", func() bool { return failures() == 3 && h.idle(a) && h.settled() })
	if got := s.noticesOf("owner@example.com"); !slices.Equal(got, []string{"failing"}) {
		t.Errorf("the owner got %v", got)
	}
}
