package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// canary is the password of every account of TestBadInput: it must be found nowhere.
const canary = "canary-2f7e-pass"

// TestBadInput points accounts at servers that are not there, not what they seem, or not to be trusted: each is a
// one-line error with its kind, within its time limit, on the command line and in the run report, and no
// password is found in anything that was written.
func TestBadInput(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	h.startWith("worker", []string{"--answer-timeout", "3s", "--dial-timeout", "3s"})
	h.start("delivery")
	h.start("planner")
	cli := h.control()
	secret := filepath.Join(t.TempDir(), "secret") // outside of what is searched
	if err := os.WriteFile(secret, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	garbage, silent := server(t, "SSH-2.0-OpenSSH_9.2\r\n"), server(t, "")
	stranger := testenv.NewDovecot(t) // its certificate is by an authority the worker does not know
	pop, pops, imap, imaps := port(remote.POP3Port), port(remote.POP3SPort), port(remote.IMAPPort), port(remote.IMAPSPort)
	tests := []struct {
		name, protocol, host, tls, kind string
	}{
		{"unknown-host", "pop3", "no-such-host.invalid", "detect", "dns"},
		{"unknown-host-imap", "imap", "no-such-host.invalid", "detect", "dns"},
		{"refused-port", "pop3", freeAddr(t), "detect", "refused"},
		{"refused-port-imap", "imap", freeAddr(t), "detect", "refused"},
		{"wrong-password", "pop3", pop, "detect", "auth"},
		{"wrong-password-imap", "imap", imap, "detect", "auth"},
		{"tls-on-plain-port", "pop3", pop, "direct", "tls"},
		{"tls-on-plain-port-imap", "imap", imap, "direct", "tls"},
		{"plain-on-tls-port", "pop3", pops, "disable", ""},
		{"plain-on-tls-port-imap", "imap", imaps, "disable", ""},
		{"untrusted", "pop3", port(stranger.POP3SPort), "direct", "tls"},
		{"untrusted-imap", "imap", port(stranger.IMAPSPort), "direct", "tls"},
		{"garbage", "pop3", garbage, "detect", "protocol"},
		{"garbage-imap", "imap", garbage, "detect", "protocol"},
		{"silent", "pop3", silent, "detect", "timeout"},
		{"silent-imap", "imap", silent, "detect", "timeout"},
	}
	for _, tt := range tests {
		name := "example.com/" + tt.name
		cli.ok("account", "add", name, "--protocol", tt.protocol, "--host", tt.host, "--tls", tt.tls, "--username", "bob",
			"--password-file", secret, "--forward-to", "bob@example.com", "--interval", "24h")
		start := time.Now()
		out, err := cli.run("fetch", name)
		took := time.Since(start)
		if err == nil {
			t.Errorf("%s: fetch says it is fine:\n%s", tt.name, out)
			continue
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		last := lines[len(lines)-1]
		if !strings.Contains(last, name) || !strings.Contains(last, "["+tt.kind) {
			t.Errorf("%s: want one line with the account and [%s], got:\n%s", tt.name, tt.kind, out)
		}
		if took > 12*time.Second {
			t.Errorf("%s: took %v", tt.name, took)
		}
		var report struct {
			Fault struct{ Kind, Message, Advice string }
		}
		if err := json.Unmarshal([]byte(strings.SplitN(cli.ok("runs", name, "--json"), "\n", 2)[0]), &report); err != nil || report.Fault.Advice == "" ||
			tt.kind != "" && !strings.HasSuffix(strings.ReplaceAll(strings.ToLower(report.Fault.Kind), "_", "-"), tt.kind) {
			t.Errorf("%s: run report: %+v, %v", tt.name, report, err)
		}
	}
	badArguments(t, cli, secret)
	h.search(canary)
}

// badArguments are refused by control before anything is stored.
func badArguments(t *testing.T, cli *client, secret string) {
	t.Helper()
	tests := []struct{ args, want string }{
		{"account add example.com/x --protocol pop3 --host h:0 --username u --forward-to u@example.com", "host"},
		{"account add example.com/x --protocol pop3 --host h --username u --forward-to nobody", "forward"},
		{"account add example.com/garbage --protocol pop3 --host h --username u --forward-to u@example.com", "example.com/garbage"},
		{"account add example.com/x --protocol imap --host h --username u --forward-to u@example.com --apop", "apop"},
		{"account show example.com/nobody", "example.com/nobody"},
		{"fetch example.com/nobody", "example.com/nobody"},
		{"index reset example.com/nobody", "example.com/nobody"},
		{"settings set destination=ftp:nowhere", "destination"},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		if args[1] == "add" {
			args = append(args, "--password-file", secret)
		}
		out, err := cli.run(args...)
		if err == nil || !strings.Contains(out, tt.want) || strings.Contains(out, "panic") {
			t.Errorf("mailferry %s: %v\n%s", tt.args, err, out)
		}
	}
}

// search looks for a secret in everything that the house has written: logs, streams, the files of Redis and of
// NATS. It first proves that it would find it.
func (h *house) search(secret string) {
	h.t.Helper()
	ctx := context.Background()
	planted := "planted-" + secret
	if _, err := h.nats.JS.Publish(ctx, "ferry.v1.run.planted", []byte(planted)); err != nil {
		h.t.Fatal(err)
	}
	h.redis.Client.Set(ctx, "planted", planted, 0)
	if err := os.WriteFile(filepath.Join(h.dir, "planted.log"), []byte(planted), 0o600); err != nil {
		h.t.Fatal(err)
	}
	testenv.Eventually(h.t, 30*time.Second, "what was planted is found in the logs, in Redis and in NATS", func() bool {
		return len(h.files(planted)) >= 3
	})
	for _, f := range h.files(secret) {
		content, _ := os.ReadFile(f)
		if bytes.Count(content, []byte(secret)) > bytes.Count(content, []byte(planted)) {
			h.t.Errorf("the password was written into %s", f)
		}
	}
}

// files are those of the house that hold the text.
func (h *house) files(text string) (found []string) {
	for _, dir := range []string{h.dir, h.nats.StoreDir(), filepath.Dir(h.redis.Socket)} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte(text)) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

func port(n int) string { return fmt.Sprintf("localhost:%d", n) }

// server greets every connection with a text, and then says nothing.
func server(t testing.TB, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			_, _ = c.Write([]byte(greeting))
		}
	}()
	return l.Addr().String()
}
