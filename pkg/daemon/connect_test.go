package daemon_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestConnectNATSSurvivesARestart(t *testing.T) {
	t.Parallel()
	srv := testenv.NewNATS(t)
	nc, js, err := daemon.ConnectNATS(t.Context(), zap.NewNop(), daemon.NATSConfig{URL: srv.URL, Name: "mailferry test"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := js.AccountInfo(t.Context()); err != nil {
		t.Error(err)
	}
	srv.Stop()
	srv.Start()
	testenv.Eventually(t, 10*time.Second, "connected again", func() bool {
		_, err := js.AccountInfo(t.Context())
		return err == nil
	})
}

// onWrite calls itself at each log line.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestConnectWaitsForAServerThatIsNotUpYet(t *testing.T) {
	t.Parallel()
	srv := testenv.NewNATS(t)
	srv.Stop()
	rds := testenv.NewRedis(t)
	rds.Kill()
	var up sync.Once
	log, err := daemon.Logger("warn", "json", onWrite(func() { up.Do(srv.Start) }), false)
	if err != nil {
		t.Fatal(err)
	}
	nc, _, err := daemon.ConnectNATS(t.Context(), log, daemon.NATSConfig{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	up = sync.Once{}
	log, err = daemon.Logger("warn", "json", onWrite(func() { up.Do(rds.Start) }), false)
	if err != nil {
		t.Fatal(err)
	}
	rdb, err := daemon.ConnectRedis(t.Context(), log, daemon.RedisConfig{URL: "unix://" + rds.Socket, Name: "mailferry-test"})
	if err != nil {
		t.Fatal(err)
	}
	_ = rdb.Close()
}

func TestConnectFailsInTimeAndHidesThePassword(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	_ = ln.Close()
	var logged bytes.Buffer
	log, err := daemon.Logger("debug", "json", &logged, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"nats://user:canary@" + free, "nats://canary@" + free, "nats://user:canary@%zz"} {
		_, _, err := daemon.ConnectNATS(t.Context(), log, daemon.NATSConfig{URL: url, Wait: 50 * time.Millisecond})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"redis://user:canary@" + free, "redis://user:canary@" + free + "?db=x", "redis://user:canary@%zz", "user:canary@x"} {
		_, err := daemon.ConnectRedis(t.Context(), log, daemon.RedisConfig{URL: url, Wait: 50 * time.Millisecond})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if !strings.Contains(logged.String(), "does not answer yet") || strings.Contains(logged.String(), "canary") {
		t.Errorf("log: %s", logged.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := daemon.ConnectNATS(ctx, log, daemon.NATSConfig{URL: "nats://" + free}); err == nil {
		t.Error("a canceled start went on")
	}
}

func TestRedisURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url     string
		addrs   []string
		master  string
		cluster bool
		db      int
		fails   string
	}{
		{url: "redis://h:1", addrs: []string{"h:1"}},
		{url: "unix:///run/r.sock", addrs: []string{"/run/r.sock"}},
		{url: "unix:///run/r.sock?db=3", addrs: []string{"/run/r.sock"}, db: 3},
		{url: "redis://u:p@a:1,b:2,c:3", addrs: []string{"a:1", "b:2", "c:3"}},
		{url: "rediss://u:p%2C@a:1,b:2?master=m&db=2", addrs: []string{"a:1", "b:2"}, master: "m", db: 2},
		{url: "redis://a:1?cluster=true", addrs: []string{"a:1"}, cluster: true},
		{url: "redis://a:1,b:2?db=1", fails: "database 0"},
		{url: "redis://a:1?cluster=true&master=m", fails: "exclude"},
		{url: "redis://a:1,redis://b:2", fails: "host:port"},
		{url: "redis://a:1?pool_sise=3", fails: `unknown option "pool_sise"`},
		{url: "http://a:1", fails: "no redis://"},
		{url: "", fails: "no redis://"},
	}
	for _, tt := range tests {
		o, cluster, err := daemon.RedisOptions(daemon.RedisConfig{URL: tt.url})
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: %v", tt.url, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if !slices.Equal(o.Addrs, tt.addrs) || o.MasterName != tt.master || cluster != tt.cluster || o.DB != tt.db {
			t.Errorf("%s: %v %q %v %d", tt.url, o.Addrs, o.MasterName, cluster, o.DB)
		}
	}
}

func TestRedactAll(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"nats://u:canary@h:1,nats://h:2", "canary@h:1", "u:canary@h:1", "nats://canary@h", "redis://:canary@h:1", "tls://u:canary@%zz"} {
		if got := daemon.RedactAll(url); strings.Contains(got, "canary") || !strings.Contains(got, "h") && !strings.Contains(got, "%zz") {
			t.Errorf("%s: %s", url, got)
		}
	}
}
