package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/services/worker"
)

type workerFlags struct {
	Slots            int            `name:"slots" env:"MAILFERRY_SLOTS" default:"64" placeholder:"N" group:"worker" help:"Accounts that run at once in one worker."`
	ReservedSlots    int            `name:"reserved-slots" env:"MAILFERRY_RESERVED_SLOTS" placeholder:"N" group:"worker" help:"Slots of them that only take Connect Now; default: a tenth."`
	Batch            int            `name:"batch" env:"MAILFERRY_BATCH" default:"512" placeholder:"N" group:"worker" help:"Messages of one account that are marked together and fetched in one window."`
	DialTimeout      time.Duration  `name:"dial-timeout" env:"MAILFERRY_DIAL_TIMEOUT" default:"15s" group:"worker" help:"How long connecting may take, and the TLS handshake."`
	AnswerTimeout    time.Duration  `name:"answer-timeout" env:"MAILFERRY_ANSWER_TIMEOUT" default:"60s" group:"worker" help:"How long a remote server may be silent."`
	RunLimit         time.Duration  `name:"run-limit" env:"MAILFERRY_RUN_LIMIT" default:"2h" group:"worker" help:"How long one run may take."`
	MessageLimit     int64          `name:"message-limit" env:"MAILFERRY_MESSAGE_LIMIT" default:"268435456" placeholder:"BYTES" group:"worker" help:"Largest message that is fetched."`
	PushSessions     int            `name:"push-sessions" env:"MAILFERRY_PUSH_SESSIONS" default:"500" placeholder:"N" group:"worker" help:"Remote sessions of one worker that wait for messages (push) besides the accounts that run; accounts above it are polled. 0: none."`
	PushPerHost      int            `name:"push-per-host" env:"MAILFERRY_PUSH_PER_HOST" default:"200" placeholder:"N" group:"worker" help:"How many of them may be at one remote host."`
	EgressAllow      []netip.Prefix `name:"egress-allow" env:"MAILFERRY_EGRESS_ALLOW" placeholder:"CIDR" group:"worker" help:"Networks that accounts may point to although they are not public, separated by commas."`
	EgressDenyPorts  []uint16       `name:"egress-deny-ports" env:"MAILFERRY_EGRESS_DENY_PORTS" default:"7,9,13,17,19,21,22,23,25,53,111,135,139,389,445,465,587,636,1433,1521,2049,2375,2376,2379,3306,3389,4222,5432,5672,5900,6379,6443,9200,10250,11211,27017" placeholder:"PORT" group:"worker" help:"Ports that no account may point to, allowed network or not (${default}); settings and domains may deny more."`
	NoticeOwnerAfter int            `name:"notice-owner-after" env:"MAILFERRY_NOTICE_OWNER_AFTER" default:"3" placeholder:"N" group:"worker" help:"Runs in a row that failed in a way that the owner can mend (password, consent, TLS …) before it is told."`
	NoticeAfter      int            `name:"notice-after" env:"MAILFERRY_NOTICE_AFTER" default:"6" placeholder:"N" group:"worker" help:"The same for any other fault."`
	NoticeFor        time.Duration  `name:"notice-for" env:"MAILFERRY_NOTICE_FOR" default:"2h" group:"worker" help:"How long an account has failed before that is told, however few runs they were."`
	RemoteCA         string         `name:"remote-ca" env:"MAILFERRY_REMOTE_CA" placeholder:"FILE" group:"worker" help:"Certificate authorities (PEM) trusted for remote servers besides the system's."`
}

type workerCmd struct {
	roleFlags   `embed:""`
	workerFlags `embed:""`
}

// Run runs a worker until a signal.
func (c *workerCmd) Run(t *terminal) error {
	return c.run(t, "worker", func(ctx context.Context, d *deps) (daemon.Part, error) { return workerPart(ctx, c.workerFlags, d) })
}

func workerPart(ctx context.Context, f workerFlags, d *deps) (daemon.Part, error) {
	roots, err := rootsWith("--remote-ca", f.RemoteCA)
	if err != nil {
		return nil, err
	}
	w, err := worker.New(ctx, worker.Deps{
		Directory: d.directory, Due: d.due, Queue: d.queue, Transit: d.transit, Ledger: d.ledger, Budget: d.budget, Keyer: d.keyer,
		Vault: d.vault, OAuth: d.oauth, Notices: d.notices, Log: d.log.Named("worker"), Metrics: d.p.health.Registry(),
	}, worker.Config{
		Name: d.name, Slots: f.Slots, Reserved: f.ReservedSlots, RunLimit: f.RunLimit, Batch: f.Batch,
		PushSessions: noneOf(f.PushSessions), PushPerHost: noneOf(f.PushPerHost), PushGap: 6 * d.lease,
		Recheck: d.lease / 6, BusyRetry: d.lease / 30,
		Notices: notice.Rules{OwnerAfter: f.NoticeOwnerAfter, After: f.NoticeAfter, For: f.NoticeFor},
		Session: remote.Limits{Message: f.MessageLimit, Dial: f.DialTimeout, Command: f.AnswerTimeout, Idle: f.AnswerTimeout},
		Egress:  remote.Guard{Allow: f.EgressAllow, DenyPorts: f.EgressDenyPorts},
		// Resumed sessions make polls cheaper.
		TLS: &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(4096), MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		return nil, err
	}
	return daemon.Named("worker", w), nil
}

// noneOf returns n with 0 as a configuration says "none".
func noneOf(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// rootsWith returns the system's certificate authorities and those of the file.
func rootsWith(flag, path string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil || path == "" {
		return pool, err
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", flag, path)
	}
	return pool, nil
}
