package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestDestinationRefusesForAMinute answers 451 for a minute, then accepts: each message is delivered once, and
// deleted at the remote server only after that. (Fault 27.)
func TestDestinationRefusesForAMinute(t *testing.T) {
	t.Parallel()
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "minute"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 6})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("minute", user, account.POP3, account.Delete)
	finish := h.watchDeletions(user, s, len(seeds))
	opens := time.Now().Add(time.Minute)
	refused := make(chan struct{}, 1000)
	s.decide(func([]byte) error {
		if time.Now().Before(opens) {
			select {
			case refused <- struct{}{}:
			default:
			}
			return temporary()
		}
		return nil
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 3*time.Minute, "the destination has everything", func() bool { return len(s.copies(a.ForwardTo)) == len(seeds) })
	if len(refused) < 2*len(seeds) {
		t.Errorf("the destination was tried only %d times while it refused", len(refused))
	}
	h.settle(a, s, len(seeds), account.Delete)
	finish()
	checkCopies(t, s, a, seeds, 0)
	for _, got := range s.all(a.ForwardTo) {
		if got.at.Before(opens) {
			t.Error("a message was accepted while the destination refused")
		}
	}
}

// TestDestinationRefusesForGood answers 550: the message is in DEAD with the reply, stays at the remote server, is
// listed by the command line, and retry delivers it. (Fault 19.)
func TestDestinationRefusesForGood(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "never"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 5})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	a := h.account("never", user, account.POP3, account.Delete)
	s.decide(func(raw []byte) error {
		if strings.Contains(string(raw), "X-Seed-Id: never-0002") {
			return permanent()
		}
		return nil
	})
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "one dead letter, the others delivered and deleted", func() bool {
		st, err := h.transit.Stats(context.Background())
		return err == nil && st.Dead == 1 && len(s.copies(a.ForwardTo)) == len(seeds)-1 && len(remote.Messages(user)) == 1 && h.idle(a)
	})
	out := cli.ok("dead", "list", "--json")
	var dead struct {
		ID     string
		Letter struct {
			Fault struct{ Kind, Message string }
		}
	}
	if err := json.Unmarshal([]byte(strings.SplitN(strings.TrimSpace(out), "\n", 2)[0]), &dead); err != nil || dead.ID == "" {
		t.Fatalf("dead list: %v\n%s", err, out)
	}
	if text := cli.ok("dead", "list"); !strings.Contains(text, "550") || !strings.Contains(text, "never") || !strings.Contains(text, "destination-rejected") {
		t.Errorf("dead list does not show the reply, the account and the kind:\n%s", text)
	}
	h.trigger(a, "second", queue.Scheduled)
	testenv.Eventually(t, 30*time.Second, "another run has ended", func() bool { return h.idle(a) })
	if len(remote.Messages(user)) != 1 || len(s.copies(a.ForwardTo)) != len(seeds)-1 {
		t.Error("a parked message was fetched again or deleted")
	}
	dir := filepath.Join(h.dir, "dead")
	cli.ok("dead", "export", "--to", dir, dead.ID)
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("exported %v, %v", files, err)
	}
	if raw, err := os.ReadFile(files[0]); err != nil || !slices.ContainsFunc(seeds, func(m testenv.Seed) bool { return m.ID == "never-0002" && bytes.Equal(raw, m.Raw) }) {
		t.Errorf("what is exported is not what was received: %d octets, %v", len(raw), err)
	}
	if _, err := cli.run("dead", "export", "--to", dir, "nobody/nothing"); err == nil {
		t.Error("a letter that is not there is exported")
	}
	s.decide(nil)
	cli.ok("dead", "retry", dead.ID)
	h.settle(a, s, len(seeds), account.Delete)
	checkCopies(t, s, a, seeds, 0)
	if text := cli.ok("dead", "list", "--json"); strings.TrimSpace(text) != "" {
		t.Errorf("the dead letter is still there: %s", text)
	}
}

// TestRetryRoutesAnew: a dead letter that is retried goes where its account and its domain say now, also if they were mended
// a moment ago.
func TestRetryRoutesAnew(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s, there := newHouse(t, remote), newSink(t), newSink(t)
	h.destination(s.destination())
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: "moved", Messages: 1})
	remote.Append("moved", seeds[0].Raw)
	a := h.account("moved", "moved", account.IMAP, account.Delete)
	s.decideRcpt(func(string) error { return permanent() })
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	buriedFor := func(to string) (id string) {
		testenv.Eventually(t, 2*time.Minute, "it is a dead letter for "+to, func() bool {
			list, err := h.transit.Dead(context.Background(), a.UID, 10)
			if err != nil || len(list) != 1 || !slices.Equal(list[0].GetLetter().GetRecipients(), []string{to}) {
				return false
			}
			id = list[0].GetId()
			return h.counts(a).Parked == 1 && h.idle(a)
		})
		return id
	}
	h.trigger(a, "first", queue.Scheduled)
	id := buriedFor(a.ForwardTo)
	cli.ok("account", "edit", a.Ref(), "--forward-to", "new@example.com")
	cli.ok("dead", "retry", id)
	buriedFor("new@example.com")
	cli.ok("domain", "add", a.Domain, "--destination", there.destination())
	cli.ok("dead", "retry", id)
	testenv.Eventually(t, 2*time.Minute, "it arrives", func() bool { return len(there.copies("new@example.com")) > 0 && h.idle(a) })
	wantOnce(t, there, "new@example.com", seeds)
	if n := len(there.copies(a.ForwardTo)); n != 0 {
		t.Errorf("who refused has %d", n)
	}
}

// client is the command line against a control of the house.
type client struct {
	h   *house
	env []string
}

// control starts a control and returns the command line for it.
func (h *house) control() *client { return h.controlAt(freeAddr(h.t)) }

func (h *house) controlAt(addr string, flags ...string) *client {
	h.t.Helper()
	token := filepath.Join(h.dir, "token")
	if err := os.WriteFile(token, []byte("token-of-the-house"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.startWith("control", append(flags, "--listen", addr, "--api-token-file", token))
	c := &client{h: h, env: append(os.Environ(), "MAILFERRY_SERVER=http://"+addr, "MAILFERRY_TOKEN_FILE="+token)}
	testenv.Eventually(h.t, 30*time.Second, "control answers", func() bool {
		_, err := c.run("status")
		return err == nil
	})
	return c
}

// run returns what the command printed, both streams, and its error.
func (c *client) run(args ...string) (string, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *client) ok(args ...string) string {
	c.h.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.h.t.Fatalf("mailferry %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
