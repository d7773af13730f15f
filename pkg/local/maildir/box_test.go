package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

func TestPath(t *testing.T) {
	t.Parallel()
	tests := []struct{ path, to, root, dir string }{
		{"/var/mail/%d/%n", "Alice@Example.COM", "/var/mail", "/var/mail/example.com/alice"},
		{"/var/mail/%u/Maildir/", "a+tag@b.c", "/var/mail", "/var/mail/a+tag@b.c/Maildir"},
		{"/var/mail/x-%n-%d", "a@b", "/var/mail", "/var/mail/x-a-b"},
		{"/%d/%n", "a@b", "/", "/b/a"},
		{"/var/100%%/%n", "a@b", "/var/100%", "/var/100%/a"},
		{"/var/%n%%", "a@b", "/var", "/var/a%"},
		{"/home/alice/Maildir", "a@b", "/home/alice", "/home/alice/Maildir"},
		{"/v/%n", "%d@b", "/v", "/v/%d"},
		{"/v/%n", "ÄÖ\u212aK@b", "/v", "/v/ÄÖ\u212ak"},
	}
	for _, tt := range tests {
		p, err := parseTemplate(tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if root, dir, err := p.expand(tt.to); err != nil || root != tt.root || dir != tt.dir {
			t.Errorf("%s of %s: %s, %s, %v", tt.path, tt.to, root, dir, err)
		}
	}
	for _, path := range []string{"", "mail/%u", "/", "/mail/../%u", "/mail//%u", "/mail/./%u", "/mail/%x", "/mail/%", "/mail/\x00%u"} {
		if _, err := New(Config{Path: path}); fault.KindOf(err) != fault.Policy {
			t.Errorf("path %q: %v", path, err)
		}
	}
}

func TestAddressesCannotLeaveTheirFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m, err := New(Config{Path: root + "/store/%d/%n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/store", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{
		"", "a", "@b", "a@", "../a@b", "a@..", "..@b", ".@b", ".a@b", "a@.b", "a..b@c", "a/b@c", "a@b/c", "/@b", "a\x00@b", "a\n@b",
		"a b@c", "a@b\u2028c", "\xff@b", "a\u200b@b", strings.Repeat("a", 256) + "@b", strings.Repeat("ä", 200) + "@b",
	} {
		replies, err := m.Deliver(t.Context(), local.Envelope{To: []string{to}}, local.Message{Body: strings.NewReader("x"), ID: "x"}, nil)
		if err != nil || len(replies) != 1 || replies[0].Code != 550 || replies[0].Recipient != to {
			t.Errorf("%q: replies %+v, error %v", to, replies, err)
		}
	}
	all, _ := filepath.Glob(root + "/store/*")
	if len(all) != 0 {
		t.Errorf("made %q", all)
	}
	for _, id := range []string{"", ".", "..", ".x", "a/b", "a:b", "a b", "a\x00", "ä", strings.Repeat("x", 161)} {
		_, err := m.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x"), ID: id}, nil)
		if fault.KindOf(err) != fault.Internal {
			t.Errorf("ID %q: %v", id, err)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"a@b", "../a@b", "a@../b", ".a@b", "%d@%n", "A@B", "\u212a@b"} {
		f.Add(s)
	}
	p, err := parseTemplate("/store/%d/x%n/%u")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, to string) {
		_, dir, err := p.expand(to)
		if err != nil {
			return
		}
		names := strings.Split(strings.TrimPrefix(dir, "/store/"), "/")
		if !strings.HasPrefix(dir, "/store/") || len(names) != 3 || filepath.Clean(dir) != dir || strings.Contains(dir, "..") ||
			strings.ContainsRune(dir, 0) || names[0][0] == '.' || names[2][0] == '.' {
			t.Errorf("%q goes to %q", to, dir)
		}
	})
}

func TestFailuresAreAnswers(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]struct {
		code int
		kind fault.Kind
	}{
		&fs.PathError{Op: "write", Path: "/secret", Err: syscall.EDQUOT}:       {452, fault.DestinationQuota},
		&fs.PathError{Op: "write", Path: "/secret", Err: syscall.ENOSPC}:       {452, fault.DestinationTemporary},
		&fs.PathError{Op: "write", Path: "/secret", Err: syscall.EFBIG}:        {552, fault.DestinationRejected},
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EACCES}:        {451, fault.DestinationTemporary},
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EPERM}:         {451, fault.DestinationTemporary},
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EROFS}:         {451, fault.DestinationTemporary},
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EIO}:           {451, fault.DestinationTemporary},
		&fs.PathError{Op: "mkdir", Path: "/secret", Err: syscall.ENOTDIR}:      {451, fault.DestinationTemporary},
		&fs.PathError{Op: "mkdir", Path: "/secret", Err: syscall.ENAMETOOLONG}: {550, fault.DestinationRejected},
		errNoRoot: {451, fault.DestinationTemporary},
	} {
		b := &box{}
		b.fail(err)
		if b.reply.Code != want.code || b.reply.Kind() != want.kind || strings.Contains(b.reply.Text, "secret") {
			t.Errorf("%v: %+v (%v)", err, b.reply, b.reply.Kind())
		}
	}
}

// A mailbox that cannot be written to is that recipient's trouble alone.
func TestOneMailboxFails(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m, err := New(Config{Path: root + "/%n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.at = func(step string) {
		if step == "committed" { // as if it were thrown away under our hands
			if err := os.RemoveAll(root + "/gone/new"); err != nil {
				t.Error(err)
			}
		}
	}
	replies, err := m.Deliver(t.Context(), local.Envelope{To: []string{"file@x", "a@x", "gone@x", "a@x"}},
		local.Message{Body: strings.NewReader("x"), ID: "x"}, nil)
	var got []int
	for _, r := range replies {
		got = append(got, r.Code)
	}
	if err != nil || fmt.Sprint(got) != "[451 250 451 250]" {
		t.Errorf("replies %+v, error %v", replies, err)
	}
	files, _ := filepath.Glob(root + "/*/*/*")
	if len(files) != 1 || files[0] != root+"/a/new/x.mailferry" {
		t.Errorf("files %q", files)
	}
}

// A message that is there is neither read nor written again, wherever it lies.
func TestRepeatTouchesNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m, err := New(Config{Path: root + "/%n"})
	if err != nil {
		t.Fatal(err)
	}
	env, path := local.Envelope{To: []string{"a@x"}}, root+"/a/new/x.mailferry"
	if _, err := m.Deliver(t.Context(), env, local.Message{Body: strings.NewReader("x"), ID: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		replies, err := m.Deliver(t.Context(), env, local.Message{Body: iotest.ErrReader(errors.New("body is read")), ID: "x"},
			func(context.Context) error { return errors.New("commit of a repeat") })
		if err != nil || len(replies) != 1 || !replies[0].Accepted() {
			t.Errorf("replies %+v, error %v", replies, err)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the file is another one, %v", err)
		}
		moved := root + "/a/cur/x.mailferry:2,S"
		if err := os.Rename(path, moved); err == nil {
			path = moved
		}
	}
}

// A full disk, for real where the system has the device for it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatalf("%v: the test needs Linux", err)
	}
	b := &box{tmp: f}
	b.write([]byte("x"))
	if b.reply.Code != 452 {
		t.Errorf("reply %+v", b.reply)
	}
	b.discard()
}

// A volume that is not mounted must not become an empty mail store.
func TestMissingRootIsNotMade(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "volume")
	m, err := New(Config{Path: root + "/%d/%n"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		replies, err := m.Deliver(t.Context(), local.Envelope{To: []string{"a@b"}}, local.Message{Body: strings.NewReader("x"), ID: "x"}, nil)
		if err != nil || len(replies) != 1 || replies[0].Code != 451 {
			t.Errorf("replies %+v, error %v", replies, err)
		}
		if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the root was made: %v", err)
		}
	}
}

// The name of a message must not be found in another one's.
func TestNamesAreWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, n := range []string{"x.mailferry.b:2,S", "xx.mailferry:2,S", "x.mailferry2"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"x.mailferry": false, "xx.mailferry": true, "x.mailferry2": true, "mailferry": false} {
		if got, _, err := newListings().read(t.Context(), dir, name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// What is remembered of cur/ holds until cur/ changes, and not if that was a moment ago.
func TestListingsAreForgottenInTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known := newListings()
	b := &box{dir: dir, name: "a.mailferry"}
	search := func(want bool) {
		t.Helper()
		if got, err := b.search(t.Context(), known); got != want || err != nil {
			t.Errorf("found %v, error %v; want %v", got, err, want)
		}
	}
	changed := func(ago time.Duration) time.Time {
		t.Helper()
		at := time.Now().Add(-ago)
		if err := os.Chtimes(dir+"/cur", at, at); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir + "/cur")
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for _, sub := range []string{"new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/cur/b.mailferry:2,S", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	at := changed(0)
	search(false)
	if known.lacks(dir+"/cur", at, "a.mailferry") {
		t.Error("a folder that changed a moment ago is remembered")
	}
	at = changed(time.Hour)
	search(false)
	if !known.lacks(dir+"/cur", at, "a.mailferry") || known.lacks(dir+"/cur", at, "b.mailferry") {
		t.Error("a folder that has not changed is not remembered, or wrongly")
	}
	if err := os.WriteFile(dir+"/cur/a.mailferry:2,", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	search(true)
	for n := range 3 * maxListings {
		known.keep(fmt.Sprint(n), at, time.Now(), nil)
	}
	if len(known.m) > maxListings {
		t.Errorf("%d folders are remembered", len(known.m))
	}
}

// BenchmarkSearch is the price of looking for a message among those that were read, for the first time
// and again.
func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		dir := b.TempDir()
		if err := errors.Join(os.Mkdir(dir+"/new", 0o700), os.Mkdir(dir+"/cur", 0o700)); err != nil {
			b.Fatal(err)
		}
		for i := range n {
			if err := os.WriteFile(fmt.Sprintf("%s/cur/0123456789abcdefghij.p%014d.mailferry:2,S", dir, i), nil, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(dir+"/cur", old, old); err != nil {
			b.Fatal(err)
		}
		box := &box{dir: dir, name: "x.mailferry"}
		for _, again := range []bool{false, true} {
			known := newListings()
			b.Run(fmt.Sprintf("%d again=%v", n, again), func(b *testing.B) {
				for b.Loop() {
					if !again {
						known = newListings()
					}
					if there, err := box.search(b.Context(), known); there || err != nil {
						b.Fatal(there, err)
					}
				}
			})
		}
	}
}

// BenchmarkDeliver is bound by the disk: two syncs a message.
func BenchmarkDeliver(b *testing.B) {
	m, err := New(Config{Path: b.TempDir() + "/%n"})
	if err != nil {
		b.Fatal(err)
	}
	body, n := strings.Repeat("x", 2048), 0
	for b.Loop() {
		n++
		_, err := m.Deliver(b.Context(), local.Envelope{To: []string{"a@b"}},
			local.Message{Body: strings.NewReader(body), ID: fmt.Sprint(n)}, nil)
		if err != nil {
			b.Fatal(err)
		}
	}
}
