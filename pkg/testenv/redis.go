package testenv

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisConf is the file that deploy/compose starts its Redis with.
//
//go:embed conf/redis.conf
var redisConf []byte

// Redis is a redis-server of the test's own, with its append-only file, on a unix socket.
type Redis struct {
	t      testing.TB
	dir    string
	cmd    *exec.Cmd
	Socket string
	// Client is closed at the end of the test and survives Restart.
	Client *redis.Client
}

// NewRedis starts a redis-server that ends with the test.
func NewRedis(t testing.TB) *Redis {
	t.Helper()
	r := &Redis{t: t, dir: TempDir(t)}
	r.Socket = filepath.Join(r.dir, "redis.sock")
	r.Start()
	r.Client = redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
	t.Cleanup(func() {
		_ = r.Client.Close()
		r.Kill()
	})
	return r
}

// Start starts the server on its folder again and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatal("redis-server is not installed: apt-get install redis-server")
	}
	conf := filepath.Join(r.dir, "redis.conf")
	if err := os.WriteFile(conf, redisConf, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(path, conf, "--port", "0", "--unixsocket", r.Socket, "--dir", r.dir)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket, MaxRetries: -1})
	defer c.Close()
	Eventually(r.t, 10*time.Second, "redis-server answers", func() bool {
		return c.Ping(context.Background()).Err() == nil
	})
}

// Kill stops the server with SIGKILL.
func (r *Redis) Kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// Stop stops the server in order; its data is kept.
func (r *Redis) Stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}

// TempDir returns a folder with a path short enough for unix sockets, removed at the end of the test.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Eventually polls cond until it holds, and fails the test after the limit.
func Eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; !cond(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(pause)
	}
}
