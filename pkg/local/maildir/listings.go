package maildir

import (
	"context"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered: 16 MiB in all. A folder with more of our messages is read each time.
const (
	maxListings = 16
	maxListing  = 128 << 10
)

// settled is how old the last change of a folder must be for its listing to be remembered: a later change
// within the grain of the file system's clock would leave no trace.
const settled = time.Second

// listings remembers which of our messages lie in some cur/ folders, as hashes, each until its folder
// changes. It knows for certain only what is not there: reading a folder of 100,000 messages takes 70 ms,
// too much for each message of a large mailbox.
type listings struct {
	seed maphash.Seed
	mu   sync.Mutex
	m    map[string]listing
}

type listing struct {
	changed time.Time
	names   []uint64 // sorted
}

func newListings() *listings {
	return &listings{seed: maphash.MakeSeed(), m: map[string]listing{}}
}

// lacks says that the folder, last changed at that time, does not have the message.
func (l *listings) lacks(dir string, changed time.Time, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.m[dir]
	if !ok || !known.changed.Equal(changed) {
		return false
	}
	_, there := slices.BinarySearch(known.names, maphash.String(l.seed, name))
	return !there
}

// keep remembers what read returned, if reading began long enough after the folder's last change.
func (l *listings) keep(dir string, changed, began time.Time, names []uint64) {
	if began.Sub(changed) < settled || len(names) > maxListing {
		return
	}
	slices.Sort(names)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.m[dir]; !there && len(l.m) >= maxListings {
		for other := range l.m { // any
			delete(l.m, other)
			break
		}
	}
	l.m[dir] = listing{changed, names}
}

// read says whether the folder has the message, with or without the flags behind a colon; if it has not,
// it returns the hashes of our messages there, as far as they are worth keeping.
func (l *listings) read(ctx context.Context, dir, name string) (bool, []uint64, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, nil, err
	}
	defer d.Close()
	var hashes []uint64
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			n, _, _ = strings.Cut(n, ":")
			if n == name {
				return true, nil, nil
			}
			if strings.HasSuffix(n, suffix) && len(hashes) <= maxListing {
				hashes = append(hashes, maphash.String(l.seed, n))
			}
		}
		if err == io.EOF {
			return false, hashes, nil
		}
		if err != nil {
			return false, nil, err
		}
		if ctx.Err() != nil {
			return false, nil, ctx.Err()
		}
	}
}
