package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/services/mailferry/cli"
)

// TestMain lets this test binary be mailferry itself, so that tests start real processes of it.
func TestMain(m *testing.M) {
	if os.Getenv("MAILFERRY_TEST_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// command returns mailferry with the arguments, and with an environment that holds nothing of the
// developer's.
func command(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = testenv.TempDir(t)
	cmd.Env = []string{"MAILFERRY_TEST_MAIN=1", "PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "TMPDIR=" + os.TempDir()}
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell starts it
	return cmd, out
}

// running is an up of a test.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *output
	data   string
	exited chan error
}

// up starts mailferry up on the folder and waits until its API is there.
func up(t *testing.T, data string, flags ...string) *running {
	t.Helper()
	// A file of an earlier life must not be taken for this one's.
	if err := os.Remove(filepath.Join(data, cli.ClientFileName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	cmd, out := command(t, append([]string{"up", "--data", data, "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"}, flags...)...)
	r := &running{t: t, cmd: cmd, out: out, data: data, exited: make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = r.kill(syscall.SIGKILL) })
	testenv.Eventually(t, 30*time.Second, "mailferry up writes client.json", func() bool {
		select {
		case err := <-r.exited:
			t.Fatalf("mailferry up ended: %v\n%s", err, out)
		default:
		}
		_, err := os.Stat(filepath.Join(data, cli.ClientFileName))
		return err == nil
	})
	return r
}

// kill sends a signal and returns how the process ended.
func (r *running) kill(sig syscall.Signal) error {
	_ = r.cmd.Process.Signal(sig)
	select {
	case err := <-r.exited:
		r.exited <- err
		return err
	case <-time.After(40 * time.Second):
		_ = r.cmd.Process.Kill()
		r.t.Errorf("did not end after %v:\n%s", sig, r.out)
		return errors.New("did not end")
	}
}

// client runs a command against the up of the folder.
func (r *running) client(args ...string) string {
	r.t.Helper()
	cmd, out := command(r.t, append(args, "--data", r.data)...)
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("mailferry %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out.String()
}

// using returns the processes that have a file of the folder open or name it on their command line.
func using(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err == nil && bytes.Contains(line, []byte(folder)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestUpEndsOnSIGTERMAndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	data := filepath.Join(testenv.TempDir(t), "data")
	r := up(t, data)
	for name, want := range map[string]os.FileMode{"": 0o700, "vault.json": 0o600, tokenFile: 0o600, cli.ClientFileName: 0o600} {
		info, err := os.Stat(filepath.Join(data, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	if n := len(using(t, data)); n != 2 { // mailferry and redis-server
		t.Errorf("%d processes: %q", n, using(t, data))
	}
	if err := r.kill(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, r.out)
	}
	if left := using(t, data); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if !strings.Contains(r.out.String(), `"draining"`) || !strings.Contains(r.out.String(), `"stopped"`) {
		t.Errorf("log:\n%s", r.out)
	}
}

// Ctrl-C reaches every process of the terminal's group; Redis is needed until the last part has ended.
func TestCtrlCDoesNotReachRedis(t *testing.T) {
	t.Parallel()
	r := up(t, filepath.Join(testenv.TempDir(t), "data"))
	if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := r.kill(0); err != nil || strings.Contains(r.out.String(), "it died") {
		t.Errorf("%v\n%s", err, r.out)
	}
	if left := using(t, r.data); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestUpKilledLeavesNoRedisAndItsDataIsKept(t *testing.T) {
	t.Parallel()
	data := filepath.Join(testenv.TempDir(t), "data")
	r := up(t, data)
	r.client("domain", "add", "example.com")
	_ = r.kill(syscall.SIGKILL)
	testenv.Eventually(t, 30*time.Second, "redis-server ends with its parent", func() bool { return len(using(t, data)) == 0 })
	token, err := os.ReadFile(filepath.Join(data, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	r = up(t, data)
	if out := r.client("domain", "list"); !strings.Contains(out, "example.com") {
		t.Errorf("after a restart: %s", out)
	}
	if again, err := os.ReadFile(filepath.Join(data, tokenFile)); err != nil || !bytes.Equal(again, token) {
		t.Errorf("another token: %v", err)
	}
}

// The next start does not wait for the dying redis-server of the one before to be gone.
func TestUpAtOnceAfterAKill(t *testing.T) {
	t.Parallel()
	data := filepath.Join(testenv.TempDir(t), "data")
	for range 3 {
		_ = up(t, data).kill(syscall.SIGKILL)
	}
	r := up(t, data)
	if n := len(using(t, data)); n != 2 {
		t.Errorf("%d processes: %q", n, using(t, data))
	}
	r.client("status")
}

func TestSecondUpOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	data := filepath.Join(testenv.TempDir(t), "data")
	r := up(t, data)
	cmd, out := command(t, "up", "--data", data, "--listen", "127.0.0.1:0", "--health-listen", "off")
	err := cmd.Run()
	if code := exitCode(err); code != 1 || !strings.Contains(out.String(), "in use by another mailferry") {
		t.Errorf("exit %d: %s", code, out)
	}
	r.client("status")
}

func TestUpWithoutRedisServerSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	data := filepath.Join(testenv.TempDir(t), "data")
	cmd, out := command(t, "up", "--data", data, "--listen", "127.0.0.1:0", "--health-listen", "off")
	cmd.Env = append(cmd.Env, "PATH=/nowhere")
	err := cmd.Run()
	if code := exitCode(err); code != 1 || !strings.Contains(out.String(), "apt-get install redis-server") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestUpServesHealthAndMetrics(t *testing.T) {
	t.Parallel()
	r := up(t, filepath.Join(testenv.TempDir(t), "data"))
	var health string
	for line := range strings.SplitSeq(r.out.String(), "\n") {
		var l struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "health and metrics" {
			health = l.Address
		}
	}
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "nats: ok\nredis: ok\nready", "/metrics": "mailferry_build_info"} {
		testenv.Eventually(t, 30*time.Second, path+" answers "+want, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+health+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			var b bytes.Buffer
			_, _ = b.ReadFrom(resp.Body)
			return resp.StatusCode == http.StatusOK && strings.Contains(b.String(), want)
		})
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
