package testenv

import (
	_ "embed"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsConf is the file that deploy/compose starts its NATS with.
//
//go:embed conf/nats.conf
var natsConf []byte

// NATS is a nats-server in process, with JetStream on disk, or a cluster of three.
type NATS struct {
	t    testing.TB
	dir  string
	port int
	srv  *server.Server
	// adapt changes the options of a member of a cluster.
	adapt   func(*server.Options)
	members []*NATS
	// URL of the server, or of all.
	URL string
	// Conn and JS are closed at the end of the test and survive Restart.
	Conn *nats.Conn
	JS   jetstream.JetStream
}

// NewNATS starts a nats-server that ends with the test.
func NewNATS(t testing.TB) *NATS {
	t.Helper()
	n := &NATS{t: t, dir: TempDir(t), port: -1}
	n.Start()
	n.connect()
	return n
}

// connect opens Conn; at the end of the test it is closed and the server stopped.
func (n *NATS) connect() {
	n.t.Helper()
	conn, err := nats.Connect(n.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		n.t.Fatal(err)
	}
	n.Conn = conn
	if n.JS, err = jetstream.New(conn); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		conn.Close()
		n.Stop()
	})
}

// Start starts the server on its folder and, after the first time, its port again.
func (n *NATS) Start() {
	n.t.Helper()
	conf := filepath.Join(n.dir, "nats.conf")
	if err := os.WriteFile(conf, natsConf, 0o600); err != nil {
		n.t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		n.t.Fatal(err)
	}
	opts.Host, opts.Port, opts.StoreDir, opts.NoSigs, opts.NoLog = "127.0.0.1", n.port, n.dir, true, true
	if n.adapt != nil {
		n.adapt(opts)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		n.t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		n.t.Fatal("nats-server is not ready")
	}
	n.srv, n.URL, n.port = srv, srv.ClientURL(), portOf(srv)
}

// Stop stops the server, or all of them; its data is kept.
func (n *NATS) Stop() {
	for _, m := range n.members {
		m.Stop()
	}
	if n.members != nil {
		return
	}
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

// StoreDir is the folder of JetStream.
func (n *NATS) StoreDir() string { return n.dir }
