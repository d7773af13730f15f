package maildir

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mailferry/mailferry/pkg/local"
)

// Where a child process of this test finds what to do, and where to end.
const (
	crashRoot = "MAILDIR_CRASH_ROOT"
	crashStep = "MAILDIR_CRASH_STEP"
)

const crashBody = "Subject: x\n\n\r.\x00\xff no end"

var crashTo = []string{"a@example.com", "b@example.com"}

func crashDeliver(t *testing.T, m *Maildir) {
	t.Helper()
	replies, err := m.Deliver(t.Context(), local.Envelope{To: crashTo},
		local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(crashBody), ID: "0123.p99"},
		func(context.Context) error { return nil })
	if err != nil || len(replies) != 2 || !replies[0].Accepted() || !replies[1].Accepted() {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
}

// TestCrashChild is the process that ends: at its step, as if the power of its hand were gone.
func TestCrashChild(t *testing.T) {
	root, at := os.Getenv(crashRoot), os.Getenv(crashStep)
	if root == "" {
		return // only as a child
	}
	m, err := New(Config{Path: root + "/%d/%n"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	m.at = func(step string) {
		if seen[step]++; fmt.Sprint(step, seen[step]) == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	crashDeliver(t, m)
}

// Faults 8 and 9: a hand-over is killed at each of its steps and repeated; everybody has one copy, also
// where a mail reader has taken the first one.
func TestRepeatAfterACrashMakesNoCopy(t *testing.T) {
	t.Parallel()
	if os.Getenv(crashRoot) != "" {
		return
	}
	steps := map[string]int{ // how many have the message when the process ends
		"opened1": 0, "written1": 0, "filled1": 0, "committed1": 0,
		"renamed1": 1, "published1": 1, "renamed2": 2, "published2": 2, "never": 2,
	}
	for step, before := range steps {
		for _, reader := range []string{"no reader", "seen", "moved without flags"} {
			t.Run(step+", "+reader, func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
				child.Env = append(os.Environ(), crashRoot+"="+root, crashStep+"="+step)
				out, err := child.CombinedOutput()
				if (err == nil) != (step == "never") || err != nil && !strings.Contains(err.Error(), "killed") {
					t.Fatalf("the child ended with %v: %s", err, out)
				}
				if got := len(mailOf(t, root, "a")) + len(mailOf(t, root, "b")); got != before {
					t.Errorf("%d have the message after the crash, want %d", got, before)
				}
				for _, user := range []string{"a", "b"} {
					read(t, filepath.Join(root, "example.com", user), reader)
				}
				m, err := New(Config{Path: root + "/%d/%n"})
				if err != nil {
					t.Fatal(err)
				}
				crashDeliver(t, m)
				crashDeliver(t, m)
				for _, user := range []string{"a", "b"} {
					got := mailOf(t, root, user)
					if len(got) != 1 || !bytes.Equal(got[0], []byte("Trace: 1\r\n"+crashBody)) {
						t.Errorf("%s has %q", user, got)
					}
				}
			})
		}
	}
}

// read does what a mail reader does with new mail.
func read(t *testing.T, dir, how string) {
	t.Helper()
	suffix, ok := map[string]string{"seen": ":2,FS", "moved without flags": ":2,"}[how]
	if !ok {
		return
	}
	names, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
	for _, n := range names {
		if err := os.Rename(n, filepath.Join(dir, "cur", filepath.Base(n)+suffix)); err != nil {
			t.Fatal(err)
		}
	}
}

func mailOf(t *testing.T, root, user string) [][]byte {
	t.Helper()
	var out [][]byte
	for _, sub := range []string{"new", "cur"} {
		names, _ := filepath.Glob(filepath.Join(root, "example.com", user, sub, "*"))
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b)
		}
	}
	return out
}
