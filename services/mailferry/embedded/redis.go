package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// ErrNoRedis says that redis-server is not installed, and what to do.
var ErrNoRedis = errors.New("redis-server is not installed, and mailferry up needs it: " +
	"apt-get install redis-server (its system service need not run: systemctl disable --now redis-server)")

// RedisConfig says how the redis-server runs. Zero times take their defaults.
type RedisConfig struct {
	// Folder holds its data in the folder "redis", and its socket if the path is short enough.
	Folder *Folder
	// Program is redis-server; empty: looked up in PATH.
	Program string
	// Pause and MaxPause bound the wait before a child that died is started again; 100 ms and 5 s.
	Pause, MaxPause time.Duration
	// Orphan is how long one that an earlier process left may take to end; 20 s.
	Orphan time.Duration
}

// Redis is a redis-server child that is started again when it dies.
type Redis struct {
	cfg    RedisConfig
	dir    string
	socket string
	log    *zap.Logger

	stop  context.CancelFunc
	done  chan struct{}
	mu    sync.Mutex
	child *os.Process
	last  []string // its last lines
}

// StartRedis returns when the server answers, which is after it has read its data.
func StartRedis(ctx context.Context, log *zap.Logger, cfg RedisConfig) (*Redis, error) {
	setDefault(&cfg.Pause, 100*time.Millisecond)
	setDefault(&cfg.MaxPause, 5*time.Second)
	setDefault(&cfg.Orphan, 20*time.Second)
	if cfg.Program == "" {
		path, err := exec.LookPath("redis-server")
		if err != nil {
			return nil, ErrNoRedis
		}
		cfg.Program = path
	}
	r := &Redis{cfg: cfg, dir: cfg.Folder.Join("redis"), log: log.Named("redis-server"), done: make(chan struct{})}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if r.socket, err = socketPath(cfg.Folder.Path, os.TempDir()); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	first := make(chan error, 1)
	go r.supervise(run, first)
	if err := r.await(ctx, first); err != nil {
		r.Stop()
		return nil, fmt.Errorf("embedded Redis: %w", err)
	}
	return r, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// URL is where clients find it.
func (r *Redis) URL() string { return "unix://" + r.socket }

// Pid is the process of the child that runs, or 0.
func (r *Redis) Pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		return 0
	}
	return r.child.Pid
}

// Stop ends the child in order, and waits for it.
func (r *Redis) Stop() {
	r.stop()
	<-r.done
}

// await returns when the server answers, or with the reason of the first child's death.
func (r *Redis) await(ctx context.Context, died <-chan error) error {
	c := r.client()
	defer c.Close()
	for {
		// Before our child runs, the one of an earlier process may still answer.
		if r.Pid() != 0 && c.Ping(ctx).Err() == nil {
			return nil
		}
		select {
		case err := <-died:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *Redis) client() *redis.Client {
	return redis.NewClient(&redis.Options{Network: "unix", Addr: r.socket, MaxRetries: -1, DialerRetries: 1, PoolSize: 1,
		DialTimeout: time.Second, ReadTimeout: 2 * time.Second, DisableIdentity: true})
}

// supervise owns the child until ctx ends. Its thread is the child's parent to the kernel: the child
// gets its death signal when the thread ends, so the goroutine never leaves it and nothing else runs
// there.
func (r *Redis) supervise(ctx context.Context, first chan<- error) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	defer close(r.done)
	pause := r.cfg.Pause
	for {
		began := time.Now()
		err := r.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		select {
		case first <- err:
		default:
		}
		if time.Since(began) > time.Minute {
			pause = r.cfg.Pause
		}
		r.log.Error("it died and is started again", zap.Error(err), zap.Duration("in", pause))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, r.cfg.MaxPause)
	}
}

// runOnce runs one child to its end and says why it ended.
func (r *Redis) runOnce(ctx context.Context) error {
	lock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, r.cfg.Program, r.args()...)
	cmd.Dir = r.dir
	cmd.ExtraFiles = []*os.File{lock} // the lock is held for as long as the child, or a child of it, lives
	// Its own group: Ctrl-C on the terminal is for us, who end it last. SIGTERM lets it write its file out.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	lines := &lineWriter{each: r.line}
	cmd.Stdout, cmd.Stderr = lines, lines
	err = cmd.Start()
	_ = lock.Close()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.child, r.last = cmd.Process, nil
	r.mu.Unlock()
	err = cmd.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.child = nil
	if err == nil {
		err = errors.New("it ended by itself")
	}
	if len(r.last) > 0 {
		err = fmt.Errorf("%w; its last words: %s", err, strings.Join(r.last, " | "))
	}
	return err
}

func (r *Redis) args() []string {
	return []string{
		"--port", "0", "--unixsocket", r.socket, "--unixsocketperm", "700", "--dir", r.dir,
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		"--daemonize", "no", "--supervised", "no", "--pidfile", "", "--logfile", "", "--loglevel", "notice",
		"--always-show-logo", "no", "--set-proc-title", "no",
	}
}

// line logs a line of the child for those who debug, and keeps the last ones for the error.
func (r *Redis) line(s string) {
	r.log.Debug(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == 4 {
		r.last = r.last[1:]
	}
	r.last = append(r.last, s)
}

// lineWriter cuts what is written into lines of at most 500 bytes.
type lineWriter struct {
	each func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || len(w.rest) == 500 {
			if s := strings.TrimSpace(string(w.rest)); s != "" {
				w.each(s)
			}
			w.rest = w.rest[:0]
		}
		if b != '\n' {
			w.rest = append(w.rest, b)
		}
	}
	return len(p), nil
}

// lockPath is the file whose lock the child inherits.
func (r *Redis) lockPath() string { return filepath.Join(r.dir, "lock") }
