package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/mailferry/mailferry/pkg/vault"
)

// roomFlags is what all roles must be told alike.
type roomFlags struct {
	Lease time.Duration `name:"lease" env:"MAILFERRY_LEASE" default:"30s" group:"backends" help:"Life of a lock, of a delivery's lease and of an unsettled job: how soon the work of a process that died is taken over. The same in all roles."`

	oauthFlags  `embed:""`
	noticeFlags `embed:""`
}

// deps are the rooms of a process, each over the connections that are opened here.
type deps struct {
	name string // of this process, in locks and reports
	log  *zap.Logger
	p    *process

	directory *directory.Directory
	due       *due.Index
	budget    *budget.Budget
	queue     *queue.Queue
	transit   *transit.Transit
	ledger    *ledger.Ledger
	keyer     *ledger.Keyer
	vault     *vault.Vault
	oauth     *oauth.Broker
	notices   *notice.Notices
	lease     time.Duration
	rooms     roomFlags
	checks    map[string]func(context.Context) error
}

// backends says where the rooms are; inProcess is set where NATS is inside this process.
type backends struct {
	daemon.Backends
	inProcess nats.InProcessConnProvider
}

// gather lets the messages of a large mailbox share scripts; one message of an account waits for nothing.
const gather = 8 * time.Millisecond

// openDeps connects, and opens every room. What it opened is closed at the end of the process.
func openDeps(ctx context.Context, p *process, b backends, rooms roomFlags) (*deps, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	d := &deps{name: fmt.Sprintf("%s/%d", host, os.Getpid()), log: p.log, p: p, lease: rooms.Lease, rooms: rooms}
	if d.vault, err = openVault(b.VaultKeyFile); err != nil {
		return nil, err
	}
	nc, js, err := daemon.ConnectNATS(ctx, p.log, daemon.NATSConfig{
		URL: b.NATSURL, Creds: b.NATSCreds, Name: "mailferry " + p.role + " " + host, InProcess: b.inProcess,
	})
	if err != nil {
		return nil, err
	}
	p.atEnd(nc.Close)
	rdb, err := daemon.ConnectRedis(ctx, p.log, daemon.RedisConfig{URL: b.RedisURL, Name: "mailferry-" + p.role, Pool: b.RedisPool})
	if err != nil {
		return nil, err
	}
	p.atEnd(func() { _ = rdb.Close() })
	d.check(nc, js, rdb)
	return d, d.openRooms(ctx, nc, js, rdb, b.NATSReplicas)
}

func (d *deps) openRooms(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, rdb redis.UniversalClient, replicas int) error {
	var err error
	if d.directory, err = directory.Open(ctx, js, directory.Config{Replicas: replicas}); err != nil {
		return err
	}
	if d.queue, err = queue.Open(ctx, nc, js, queue.Config{Replicas: replicas, AckWait: d.lease}); err != nil {
		return err
	}
	bodies, err := d.vault.Bodies()
	if err != nil {
		return err
	}
	if d.transit, err = transit.Open(ctx, nc, js, transit.Config{Replicas: replicas, AckWait: d.lease, Bodies: bodies}); err != nil {
		return err
	}
	if d.notices, err = notice.Open(ctx, nc, js, notice.Config{Replicas: replicas}); err != nil {
		return err
	}
	d.keyer = ledger.NewKeyer(d.vault.KeySecret())
	d.ledger = ledger.New(rdb, ledger.Config{TTL: d.lease, DeliveryLease: d.lease, Gather: gather, KeyID: d.keyer.ID()})
	d.due = due.New(rdb)
	d.budget = budget.New(rdb)
	if d.oauth, err = d.rooms.broker(d, rdb); err != nil {
		return err
	}
	return nil
}

// check makes readiness, and the status that control shows, depend on NATS and Redis.
func (d *deps) check(nc *nats.Conn, js jetstream.JetStream, rdb redis.UniversalClient) {
	d.checks = map[string]func(context.Context) error{
		"nats": func(ctx context.Context) error {
			if s := nc.Status(); s != nats.CONNECTED {
				return fmt.Errorf("connection is %s", s)
			}
			_, err := js.AccountInfo(ctx)
			return err
		},
		"redis": func(ctx context.Context) error { return rdb.Ping(ctx).Err() },
	}
	for name, fn := range d.checks {
		d.p.health.Check(name, fn)
	}
}

// openVault reads the keys from the file, or from MAILFERRY_VAULT_KEY where no file is named.
func openVault(path string) (*vault.Vault, error) {
	if path != "" {
		return vault.Open(path)
	}
	if content := os.Getenv("MAILFERRY_VAULT_KEY"); content != "" {
		return vault.Parse([]byte(content))
	}
	return nil, errors.New("there are no keys for sealed passwords: name the file with --vault-key-file, or put its content into MAILFERRY_VAULT_KEY")
}
