package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors a caller branches on.
var (
	// ErrNotFound says that there is no such record, or no more.
	ErrNotFound = errors.New("does not exist")
	// ErrLost says that a record that was there is not, and was not deleted.
	ErrLost = errors.New("the directory has lost it: restore it from a backup")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("exists already")
	// ErrConflict says that the record is not the one at the given revision any more.
	ErrConflict = errors.New("was changed by somebody else meanwhile")
)

// Config says how the buckets are made.
type Config struct {
	// Replicas of the buckets, 1 by default; 3 in production.
	Replicas int
	// Now is the clock of CreatedAt and UpdatedAt, time.Now by default.
	Now func() time.Time
	// Unreadable is called for each record that listings and change feeds pass over because it cannot
	// be read, for instance one that was put by hand. May be nil.
	Unreadable func(bucket, key string, err error)
}

// Directory is the directory. It owns no goroutine.
type Directory struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	cfg Config
	api string // prefix of JetStream API subjects

	ensuring sync.Mutex

	accounts, domains, settings, collections, credentials *bucket
}

// Open makes the buckets, or brings them to cfg, and returns the directory.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Directory, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Directory{nc: js.Conn(), js: js, cfg: cfg, api: jsapi.Prefix(js.Options())}
	d.accounts = newBucket(d, "ACCOUNTS", "remote accounts")
	d.domains = newBucket(d, "DOMAINS", "tenants")
	d.settings = newBucket(d, "SETTINGS", "settings of the whole fleet")
	d.collections = newBucket(d, "COLLECTIONS", "accounts that have collected, and under which epoch of their UID index")
	d.credentials = newBucket(d, "CREDENTIALS", "OAuth consents of accounts, sealed")
	if err := d.retryLong(ctx, "open directory", jsapi.OpenLimit, func(ctx context.Context) error { return d.make(ctx, true) }); err != nil {
		return nil, err
	}
	return d, nil
}

// make makes buckets that are missing; with update it also brings those that are there to the
// configuration.
func (d *Directory) make(ctx context.Context, update bool) error {
	d.ensuring.Lock()
	defer d.ensuring.Unlock()
	for _, b := range []*bucket{d.accounts, d.domains, d.settings, d.collections, d.credentials} {
		if err := b.make(ctx, update); err != nil {
			return fmt.Errorf("bucket %s: %w", b.name, err)
		}
	}
	return nil
}

func (d *Directory) unreadable(b *bucket, e entry, err error) {
	if d.cfg.Unreadable != nil {
		d.cfg.Unreadable(b.name, e.key, err)
	}
}

func notFound(what string) error { return fault.New(fault.NotFound, what, ErrNotFound) }

func exists(what string) error { return fault.New(fault.Policy, what, ErrExists) }

func conflict(what string) error { return fault.New(fault.Policy, what, ErrConflict) }
