package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/services/mailferry/embedded"
)

func folder(t *testing.T, path string) *embedded.Folder {
	t.Helper()
	f, err := embedded.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestFolderIsOurs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testenv.TempDir(t), "data")
	f := folder(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := embedded.OpenFolder(path); err == nil || !strings.Contains(err.Error(), "in use by another mailferry") {
		t.Errorf("second: %v", err)
	}
	if err := f.Write("client.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(f.Join("client.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v %v", info, err)
	}
	_ = f.Close()
	folder(t, path)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.OpenFolder(path); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("open to others: %v", err)
	}
}

func TestNATSKeepsItsDataAndListensOnlyWhenTold(t *testing.T) {
	t.Parallel()
	dir := testenv.TempDir(t)
	bucket := jetstream.KeyValueConfig{Bucket: "B", Storage: jetstream.FileStorage}
	for i, listen := range []string{"", "127.0.0.1:0"} {
		srv, err := embedded.StartNATS(t.Context(), zap.NewNop(), embedded.NATSConfig{Dir: dir, Listen: listen})
		if err != nil {
			t.Fatal(err)
		}
		if (srv.Addr() == nil) != (listen == "") {
			t.Errorf("listens on %v", srv.Addr())
		}
		nc, err := nats.Connect("", nats.InProcessServer(srv))
		if err != nil {
			t.Fatal(err)
		}
		if nc.MaxPayload() != 1<<20 {
			t.Errorf("max_payload %d", nc.MaxPayload())
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateOrUpdateKeyValue(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := kv.PutString(t.Context(), "k", "v"); err != nil {
				t.Error(err)
			}
		} else if e, err := kv.Get(t.Context(), "k"); err != nil || string(e.Value()) != "v" {
			t.Errorf("after a restart: %v %v", e, err)
		}
		nc.Close()
		srv.Stop()
	}
}

func TestNATSSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(testenv.TempDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.StartNATS(t.Context(), zap.NewNop(), embedded.NATSConfig{Dir: file}); err == nil {
		t.Error("started on a file")
	}
	if _, err := embedded.StartNATS(t.Context(), zap.NewNop(), embedded.NATSConfig{Dir: testenv.TempDir(t), Listen: "nowhere"}); err == nil {
		t.Error("started on an address that is none")
	}
}

func startRedis(t *testing.T, cfg embedded.RedisConfig) (*embedded.Redis, *redis.Client) {
	t.Helper()
	r, err := embedded.StartRedis(t.Context(), zap.NewNop(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: strings.TrimPrefix(r.URL(), "unix://")})
	t.Cleanup(func() { _ = c.Close() })
	return r, c
}

func TestRedisIsStartedAgainWithItsData(t *testing.T) {
	t.Parallel()
	r, c := startRedis(t, embedded.RedisConfig{Folder: folder(t, testenv.TempDir(t)), Pause: time.Millisecond})
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction", "port": "0"} {
		if got := c.ConfigGet(t.Context(), key).Val()[key]; got != want {
			t.Errorf("%s = %q", key, got)
		}
	}
	pid := r.Pid()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "a new redis-server answers with the old data", func() bool {
		return r.Pid() != pid && c.Get(t.Context(), "k").Val() == "v"
	})
	pid = r.Pid()
	r.Stop()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after Stop: %v", pid, err)
	}
}

// A process that was killed may leave its redis-server for a moment; here it stays until it is asked.
func TestRedisOfAnEarlierProcessIsEndedFirst(t *testing.T) {
	t.Parallel()
	f := folder(t, testenv.TempDir(t))
	one, c := startRedis(t, embedded.RedisConfig{Folder: f, Pause: time.Hour})
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	pid := one.Pid()
	_, c = startRedis(t, embedded.RedisConfig{Folder: f})
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("two on one folder: %v", err)
	}
	if v := c.Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("data: %q", v)
	}
}

func TestRedisThatDoesNotEndIsNamed(t *testing.T) {
	t.Parallel()
	f := folder(t, testenv.TempDir(t))
	one, _ := startRedis(t, embedded.RedisConfig{Folder: f, Pause: time.Hour})
	if err := syscall.Kill(one.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(one.Pid(), syscall.SIGCONT) }()
	_, err := embedded.StartRedis(t.Context(), zap.NewNop(), embedded.RedisConfig{Folder: f, Orphan: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "another redis-server still uses") {
		t.Errorf("got %v", err)
	}
}

func TestRedisSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	f := folder(t, testenv.TempDir(t))
	r, c := startRedis(t, embedded.RedisConfig{Folder: f})
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	files, err := filepath.Glob(f.Join("redis/appendonlydir/*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("this is no append-only file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = embedded.StartRedis(t.Context(), zap.NewNop(), embedded.RedisConfig{Folder: f})
	if err == nil || !strings.Contains(err.Error(), "append only file") {
		t.Errorf("got %v", err)
	}
}

func TestLongFolderHasAShortSocket(t *testing.T) {
	t.Parallel()
	f := folder(t, filepath.Join(testenv.TempDir(t), strings.Repeat("long/", 30)+"data"))
	r, c := startRedis(t, embedded.RedisConfig{Folder: f})
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(strings.TrimPrefix(r.URL(), "unix://"))) })
	if len(r.URL()) > 107 {
		t.Errorf("%s", r.URL())
	}
	if err := c.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}
