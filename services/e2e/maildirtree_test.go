package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestMaildirTree brings mailboxes with odd names beneath a mailbox path of a Maildir: Dovecot finds names, flags and
// INTERNALDATE there, and another run makes and files nothing.
func TestMaildirTree(t *testing.T) {
	t.Parallel()
	acquire(t)
	const n = 40
	remote := testenv.NewDovecot(t, testenv.DovecotExtra(slashes))
	local := testenv.NewDovecot(t)
	mail := filepath.Dir(filepath.Dir(local.Maildir("x")))
	h := newHouse(t, remote)
	h.destination("lmtp:127.0.0.1:1")
	h.mailboxDestination("maildir:"+mail+"/%u/Maildir", "", "")
	want := fillTree(t, remote, "tree", oddNames(n))
	for name, w := range want { // a Maildir has no place for keywords
		w.flags = strings.Join(slices.DeleteFunc(strings.Fields(w.flags), func(f string) bool { return f[0] != '\\' }), " ")
		want[name] = w
	}
	a := h.account("tree", "tree", account.IMAP, account.Leave, func(a *account.Account) {
		a.Mailboxes, a.ForwardTo = []string{"*"}, "alice@example.com/Imported/Gmail"
	})
	h.start("worker")
	h.start("delivery")
	h.trigger(a, "first", queue.Manual)
	again := 0
	testenv.Eventually(t, 4*time.Minute, "everything is collected", func() bool {
		idle := h.idle(a)
		if idle && int(h.counts(a).Collected) < n { // a run lost its lock on a busy machine
			again++
			h.trigger(a, fmt.Sprint("again-", again), queue.Manual)
		}
		return idle && int(h.counts(a).Collected) == n
	})
	give(t, mail)
	wantTree(t, readTree(t, local, "alice@example.com"), want)
	first := files(t, mail)
	if r := h.fetchNow(a, "second"); r.GetNew() != 0 {
		t.Errorf("another run finds %d new messages", r.GetNew())
	}
	if second := files(t, mail); !maps.Equal(first, second) {
		t.Errorf("there are %d files and folders, and %d others after another run", len(first), len(second))
	}
}

// give has the owner of the folder, as whom Dovecot reads mail, own everything in it.
func give(t *testing.T, mail string) {
	t.Helper()
	info, err := os.Stat(mail)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	walk(t, mail, func(p string, _ fs.DirEntry) error { return os.Lchown(p, int(owner.Uid), int(owner.Gid)) })
}

// files returns the times of the messages in a mail store, and the folders, by path.
func files(t *testing.T, mail string) map[string]time.Time {
	t.Helper()
	out := map[string]time.Time{}
	walk(t, mail, func(p string, e fs.DirEntry) error {
		if strings.HasPrefix(e.Name(), "dovecot") || strings.HasPrefix(e.Name(), "maildirfolder") {
			return nil // Dovecot's own
		}
		out[p] = time.Time{}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			out[p] = info.ModTime()
		}
		return err
	})
	return out
}

func walk(t *testing.T, root string, each func(string, fs.DirEntry) error) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return each(p, e)
	})
	if err != nil {
		t.Fatal(err)
	}
}
