package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder is the data folder of this process, locked against a second one.
type Folder struct {
	// Path is absolute.
	Path string
	lock *os.File
}

// OpenFolder makes the folder with mode 0700 if it is missing, and locks it. The lock ends with Close or
// with the process.
func OpenFolder(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("data folder %s holds mail and keys, but others may enter it: chmod 700 %[1]s", path)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := os.ReadFile(lock.Name())
		_ = lock.Close()
		return nil, fmt.Errorf("data folder %s is in use by another mailferry (process %s): stop that one or choose another --data", path, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	// Who holds it is for people to read; the lock does not depend on it.
	_ = lock.Truncate(0)
	_, _ = fmt.Fprintf(lock, "%d\n", os.Getpid())
	return &Folder{Path: path, lock: lock}, nil
}

// Join returns the path of a file in the folder.
func (f *Folder) Join(name string) string { return filepath.Join(f.Path, name) }

// Write replaces a file of the folder at once, with mode 0600.
func (f *Folder) Write(name string, content []byte) error {
	tmp, err := os.CreateTemp(f.Path, "."+name+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it was renamed
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.Join(name))
}

// Close gives the folder back.
func (f *Folder) Close() error { return f.lock.Close() }
