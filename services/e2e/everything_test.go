package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestEverythingKilledAtOnce kills -9 all of it in the middle of a run: the roles, NATS, Redis. Started again, it
// recovers without hands: nothing is lost, and doubled is at most what was being handed over. (Fault 10.)
func TestEverythingKilledAtOnce(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote, s := testenv.NewDovecot(t), newSink(t)
	h := &house{t: t, dir: testenv.TempDir(t), remote: remote}
	t.Cleanup(h.stopAll)
	user := "everything"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 150})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	data := filepath.Join(h.dir, "data")
	const handlers = 2
	start := func() *client {
		_ = os.Remove(filepath.Join(data, "client.json")) // of an earlier life
		h.launch(nil, "up", "--data", data, "--listen", "127.0.0.1:0", "--health-listen", "off", "--lease", short.String(), "--batch", "16",
			"--retry-min", "200ms", "--handlers", strconv.Itoa(handlers), "--remote-ca", remote.CAPath, "--egress-allow", "127.0.0.0/8")
		c := &client{h: h, env: append(os.Environ(), "MAILFERRY_DATA="+data)}
		testenv.Eventually(t, 60*time.Second, "up answers", func() bool {
			_, err := c.run("status")
			return err == nil
		})
		return c
	}
	cli := start()
	password := filepath.Join(h.dir, "password")
	if err := os.WriteFile(password, []byte(remote.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	cli.ok("settings", "set", "destination="+s.destination(), "interval=24h")
	finish := h.watchDeletions(user, s, len(seeds))
	cli.ok("account", "add", "example.com/everything", "--protocol", string(account.POP3), "--host", fmt.Sprintf("%s:%d", remote.Host, remote.POP3Port),
		"--username", user, "--forward-to", "everything@example.com", "--after", string(account.Delete), "--password-file", password)
	go func() { _, _ = cli.run("fetch", "example.com/everything") }() // may also have begun by the schedule; ends with what it talks to
	testenv.Eventually(t, 60*time.Second, "the run is in its middle", func() bool { return len(s.copies("everything@example.com")) > 10 })
	h.killAll(t, data)
	if n := len(s.copies("everything@example.com")); n == len(seeds) {
		t.Fatal("the run had ended")
	}
	killed := time.Now()
	start()
	testenv.Eventually(t, 2*time.Minute, "everything is delivered and deleted, without hands", func() bool {
		return len(s.copies("everything@example.com")) == len(seeds) && len(remote.Messages(user)) == 0
	})
	t.Logf("recovered in %v", time.Since(killed).Round(time.Second))
	finish()
	checkCopies(t, s, account.Account{ForwardTo: "everything@example.com"}, seeds, handlers)
}

// killAll kills -9 every process of the house, and those that its data folder names.
func (h *house) killAll(t *testing.T, data string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, name := range names {
		line, err := os.ReadFile(name)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && bytes.Contains(line, []byte(data)) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed < 2 {
		t.Fatalf("%d processes killed: where is redis-server?", killed)
	}
	for _, p := range h.procs {
		<-p.done
	}
}
