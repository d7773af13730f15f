package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says how long things last. Zero fields take their default.
type Config struct {
	TTL           time.Duration // of the lock; default 30 s
	Margin        time.Duration // by how much trust ends before the TTL; default and at most TTL/3
	DeliveryLease time.Duration // of a delivery on a message; default 30 s
	MaxAttempts   int           // fetches of a message, and deliveries that died of it; default 5
	Gather        time.Duration // between two scripts in which deliveries of one account share; default none
	KeyID         string        // Keyer.ID of the installation key
	Offset        time.Duration // added to Redis TIME; tests only

	Waiter   time.Duration // how long a waiter that does not try again keeps its place; default 60 s
	Grace    time.Duration // how long a vanished key stays in the index; default 7 days
	Digests  int           // messages of an account that are known again after a UID storm; default 50,000
	Listings int           // and for how many complete listings without it; default 3
	Ghost    time.Duration // how long copies of a key that left the index are repeats; default 6 h
	Grave    time.Duration // life of tombstones and signposts; default 90 days
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.TTL, 30*time.Second)
	def(&c.Margin, c.TTL/3)
	c.Margin = min(c.Margin, c.TTL/3)
	def(&c.DeliveryLease, 30*time.Second)
	def(&c.Waiter, time.Minute)
	def(&c.Grace, 7*24*time.Hour)
	def(&c.Ghost, 6*time.Hour)
	def(&c.Grave, 90*24*time.Hour)
	if c.MaxAttempts <= 0 {
		c.MaxAttempts = 5
	}
	if c.Digests <= 0 {
		c.Digests = 50_000
	}
	if c.Listings <= 0 {
		c.Listings = 3
	}
	return c
}

// Ledger is the door to all remote mailboxes. It may be used by many goroutines.
type Ledger struct {
	rdb     redis.UniversalClient
	cfg     Config
	scripts map[string]*redis.Script
	offset  atomic.Int64 // ms
	now     func() time.Time
	takes   *together
	commits *together
	// idle is set by tests that renew locks themselves.
	idle bool
}

// New returns a ledger on rdb. Every script may be sent again by the client.
func New(rdb redis.UniversalClient, cfg Config) *Ledger {
	all, err := scripts()
	if err != nil {
		panic("ledger: the embedded scripts cannot be read: " + err.Error())
	}
	l := &Ledger{rdb: rdb, cfg: cfg.withDefaults(), scripts: all, now: time.Now}
	l.offset.Store(cfg.Offset.Milliseconds())
	l.takes = l.together("take", l.cfg.DeliveryLease.Milliseconds(), l.cfg.MaxAttempts)
	l.commits = l.together("commit", (l.cfg.Digests+chunkSize-1)/chunkSize)
	return l
}

// nonce returns 16 random hex digits.
func nonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
