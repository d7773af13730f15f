package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/vault"
)

// freeAddr returns an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Each role stands alone: it finds NATS, Redis and the keys by variables, gets ready, and ends in order.
func TestEachRoleStandsAlone(t *testing.T) {
	t.Parallel()
	nats, redis, dir := testenv.NewNATS(t), testenv.NewRedis(t), testenv.TempDir(t)
	keys, tokens := filepath.Join(dir, "vault.json"), filepath.Join(dir, "tokens")
	if _, err := vault.OpenOrCreate(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tokens, []byte(strings.Repeat("t", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"planner", "worker", "delivery", "control"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			cmd, out := command(t, role)
			cmd.Env = append(cmd.Env, "MAILFERRY_NATS_URL="+nats.URL, "MAILFERRY_REDIS_URL=unix://"+redis.Socket,
				"MAILFERRY_VAULT_KEY_FILE="+keys, "MAILFERRY_API_TOKEN_FILE="+tokens,
				"MAILFERRY_LISTEN=127.0.0.1:0", "MAILFERRY_HEALTH_LISTEN="+addr)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r := &running{t: t, cmd: cmd, out: out, exited: make(chan error, 1)}
			go func() { r.exited <- cmd.Wait() }()
			t.Cleanup(func() { _ = r.kill(syscall.SIGKILL) })
			testenv.Eventually(t, 60*time.Second, role+" is ready", func() bool {
				resp, err := http.Get("http://" + addr + "/readyz")
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				return resp.StatusCode == http.StatusOK
			})
			if err := r.kill(syscall.SIGTERM); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestARoleThatWaitsForNATSEndsWhenTold(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(testenv.TempDir(t), "vault.json")
	if _, err := vault.OpenOrCreate(keys); err != nil {
		t.Fatal(err)
	}
	cmd, out := command(t, "planner", "--nats-url", "nats://user:canary@"+freeAddr(t), "--vault-key-file", keys, "--health-listen", "off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, cmd: cmd, out: out, exited: make(chan error, 1)}
	go func() { r.exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = r.kill(syscall.SIGKILL) })
	testenv.Eventually(t, 60*time.Second, "it says what it waits for", func() bool {
		return strings.Contains(out.String(), "NATS does not answer yet")
	})
	if err := r.kill(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(out.String(), "canary") {
		t.Errorf("the log shows the password:\n%s", out)
	}
}

func TestARoleWithoutKeysSaysSo(t *testing.T) {
	t.Parallel()
	cmd, out := command(t, "worker", "--health-listen", "off")
	if code := exitCode(cmd.Run()); code != 1 || !strings.Contains(out.String(), "--vault-key-file") {
		t.Errorf("exit %d: %s", code, out)
	}
}
