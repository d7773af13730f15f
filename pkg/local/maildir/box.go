package maildir

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

// box is the Maildir of one recipient in one hand-over. Once it has an answer its other methods do
// nothing.
type box struct {
	dir, name string
	final     string    // where the message will be, below dir
	date      time.Time // of its file; the zero one is when it was written
	tmp       *os.File  // open until synced
	tmpPath   string    // set until renamed
	reply     local.Reply
}

func (b *box) done() bool { return b.reply.Code != 0 }

func (b *box) accept() { b.reply.Code, b.reply.Text = 250, "2.0.0 stored" }

// fail answers the recipient with what a system call said, without paths.
func (b *box) fail(err error) {
	b.reply.Code, b.reply.Text = 451, "4.3.0 the mailbox cannot be written to"
	for _, e := range []struct {
		err  error
		code int
		text string
	}{
		{syscall.EDQUOT, 452, "4.2.2 the quota is used up"},
		{syscall.ENOSPC, 452, "4.3.1 the disk is full"},
		{syscall.EFBIG, 552, "5.3.4 the message is too big for the file system"},
		{syscall.ENAMETOOLONG, 550, "5.1.3 the address is too long to name a mailbox"},
		{fs.ErrPermission, 451, "4.3.0 no permission to write to the mailbox"},
		{syscall.EROFS, 451, "4.3.0 the file system is read-only"},
		{errNoRoot, 451, "4.3.0 " + errNoRoot.Error()},
	} {
		if errors.Is(err, e.err) {
			b.reply.Code, b.reply.Text = e.code, e.text
			return
		}
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		b.reply.Text += ": " + no.Error()
	}
}

var errNoRoot = errors.New("the folder of the mail store is not there")

// prepare makes what is missing of the Maildir below root.
func (b *box) prepare(root string) error {
	if info, err := os.Stat(filepath.Join(b.dir, "new")); err == nil && info.IsDir() {
		// new/ is made last.
		return nil
	}
	if info, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return errNoRoot
	} else if err != nil {
		return err
	}
	path := root
	for name := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(b.dir, root), "/"), "/") {
		path = filepath.Join(path, name)
		if err := makeDir(path); err != nil {
			return err
		}
	}
	for _, sub := range []string{"tmp", "cur", "new"} {
		if err := makeDir(filepath.Join(b.dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a folder unless it is there, so that it outlives a crash of the machine.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// search says whether the message lies in new/ or cur/, and sees to it that it stays there. A reader may
// be moving it from the one to the other, or from one name in cur/ to the next: a cur/ that changed while
// it was read is read again.
func (b *box) search(ctx context.Context, known *listings) (bool, error) {
	_, err := os.Lstat(filepath.Join(b.dir, "new", b.name))
	if err == nil {
		return true, syncDir(filepath.Join(b.dir, "new"))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	cur := filepath.Join(b.dir, "cur")
	for range 5 {
		began := time.Now()
		before, err := os.Stat(cur)
		if err != nil {
			return false, err
		}
		if known.lacks(cur, before.ModTime(), b.name) {
			return false, nil
		}
		there, names, err := known.read(ctx, cur, b.name)
		if err != nil {
			return false, err
		}
		if there {
			return true, syncDir(cur)
		}
		after, err := os.Stat(cur)
		if err != nil {
			return false, err
		}
		if after.ModTime().Equal(before.ModTime()) {
			known.keep(cur, before.ModTime(), began, names)
			return false, nil
		}
	}
	return false, nil
}

// create opens the file in tmp/.
func (b *box) create() {
	path := filepath.Join(b.dir, "tmp", b.name+"."+rand.Text())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		b.fail(err)
		return
	}
	b.tmp, b.tmpPath = f, path
}

func (b *box) write(p []byte) {
	if b.done() || len(p) == 0 {
		return
	}
	if _, err := b.tmp.Write(p); err != nil {
		b.fail(err)
	}
}

// sync brings the file to the disk and closes it.
func (b *box) sync() {
	if b.done() {
		return
	}
	err := b.tmp.Sync()
	if cerr := b.tmp.Close(); err == nil {
		err = cerr
	}
	b.tmp = nil
	if err != nil {
		b.fail(err)
	}
}

// publish makes the file mail.
func (b *box) publish(at func(string)) {
	if b.done() {
		return
	}
	final, err := filepath.Join(b.dir, b.final), error(nil)
	if !b.date.IsZero() {
		err = os.Chtimes(b.tmpPath, time.Time{}, b.date)
		at("dated")
	}
	if err == nil {
		err = os.Rename(b.tmpPath, final)
	}
	if err != nil {
		b.fail(err)
		return
	}
	b.tmpPath = ""
	at("renamed")
	if err := syncDir(filepath.Dir(final)); err != nil {
		b.fail(err)
		return
	}
	at("published")
	b.accept()
}

// discard removes the file from tmp/ if it is still there.
func (b *box) discard() {
	if b.tmp != nil {
		_ = b.tmp.Close()
	}
	if b.tmpPath != "" {
		_ = os.Remove(b.tmpPath)
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
