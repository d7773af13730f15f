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
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

// Where a child process of this test finds what to do, and where to end.
const (
	crashRoot = "MAILDIR_CRASH_ROOT"
	crashStep = "MAILDIR_CRASH_STEP"
	crashPath = "MAILDIR_CRASH_PATH" // of a mailbox, its levels parted by slashes; "" for none
)

const crashBody = "Subject: x\n\n\r.\x00\xff no end"

var crashTo = []string{"a@example.com", "b@example.com"}

// crashDate is the date of the message in a mailbox.
var crashDate = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)

func crashDeliver(t *testing.T, m *Maildir, path string) {
	t.Helper()
	env := local.Envelope{To: crashTo}
	msg := local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(crashBody), ID: "0123.p99", Date: crashDate}
	if path != "" {
		env.Mailbox, msg.Flags = strings.Split(path, "/"), []string{`\Answered`, "keyword"}
	}
	replies, err := m.Deliver(t.Context(), env, msg,
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
	crashDeliver(t, m, os.Getenv(crashPath))
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
				crash(t, step, reader, "", "", before)
			})
		}
	}
	for step, before := range map[string]int{"folder1": 0, "made1": 0, "made2": 0, "made3": 0, "made4": 0, "dated1": 0, "dated2": 1} {
		steps[step] = before
	}
	for step, before := range steps {
		t.Run(step+", a mailbox", func(t *testing.T) {
			t.Parallel()
			crash(t, step, "no reader", "Imported/Größe", ".Imported.Gr&APYA3w-e", before)
		})
	}
}

// crash kills a hand-over at a step, repeats it, and sees that everybody has one copy.
func crash(t *testing.T, step, reader, path, folder string, before int) {
	root := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
	child.Env = append(os.Environ(), crashRoot+"="+root, crashStep+"="+step, crashPath+"="+path)
	out, err := child.CombinedOutput()
	if (err == nil) != (step == "never") || err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended with %v: %s", err, out)
	}
	if got := len(mailOf(t, root, "a/"+folder)) + len(mailOf(t, root, "b/"+folder)); got != before {
		t.Errorf("%d have the message after the crash, want %d", got, before)
	}
	for _, user := range []string{"a", "b"} {
		read(t, filepath.Join(root, "example.com", user), reader)
	}
	m, err := New(Config{Path: root + "/%d/%n"})
	if err != nil {
		t.Fatal(err)
	}
	crashDeliver(t, m, path)
	crashDeliver(t, m, path)
	for _, user := range []string{"a", "b"} {
		got := mailOf(t, root, user+"/"+folder)
		if len(got) != 1 || !bytes.Equal(got[0], []byte("Trace: 1\r\n"+crashBody)) {
			t.Errorf("%s has %q", user, got)
		}
		if path == "" {
			continue
		}
		dir := filepath.Join(root, "example.com", user, folder)
		info, err := os.Stat(filepath.Join(dir, "cur", "0123.p99"+suffix+":2,R"))
		if err != nil || !info.ModTime().Equal(crashDate) {
			t.Errorf("the file is %v, %v", info, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "maildirfolder")); err != nil {
			t.Error(err)
		}
		if got := mailOf(t, root, user); len(got) != 0 {
			t.Errorf("the inbox of %s has %q", user, got)
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
