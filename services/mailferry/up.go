package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/pkg/vault"
	"github.com/mailferry/mailferry/services/mailferry/cli"
	"github.com/mailferry/mailferry/services/mailferry/embedded"
)

// upCmd is every role in one process, with NATS inside and redis-server as a child.
type upCmd struct {
	Data          string `name:"data" env:"MAILFERRY_DATA" default:"./mailferry-data" placeholder:"DIR" help:"Folder of everything that is kept (${default}); made with mode 0700."`
	NATSListen    string `name:"nats-listen" env:"MAILFERRY_NATS_LISTEN" placeholder:"ADDR" help:"Let other processes on this host reach the embedded NATS; it asks for no password."`
	controlFlags  `embed:""`
	plannerFlags  `embed:""`
	workerFlags   `embed:""`
	deliveryFlags `embed:""`
	roomFlags     `embed:""`

	daemon.Process `embed:""`
}

// healthOfUp is where up serves health and metrics unless told otherwise.
const healthOfUp = "127.0.0.1:8026"

// redisPoolOfUp serves all roles at once.
const redisPoolOfUp = 64

// gcPercentOfUp lets the heap of up, a few tens of MB, grow a little further than Go does by itself. At 200 it takes 20 MB more and
// is no faster. GOGC in the environment wins.
const gcPercentOfUp = 125

// Run runs until a signal.
func (c *upCmd) Run(t *terminal) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercentOfUp)
	}
	return runProcess(t, c.Process, "up", healthOfUp, func(ctx context.Context, p *process) ([]daemon.Part, error) {
		return c.assemble(ctx, t, p)
	})
}

func (c *upCmd) assemble(ctx context.Context, t *terminal, p *process) ([]daemon.Part, error) {
	folder, err := embedded.OpenFolder(c.Data)
	if err != nil {
		return nil, err
	}
	p.atEnd(func() { _ = folder.Close() })
	b, err := c.backends(ctx, folder, p)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(folder)
	if err != nil {
		return nil, err
	}
	d, err := openDeps(ctx, p, b, c.roomFlags)
	if err != nil {
		return nil, err
	}
	api, err := newAPI(ctx, c.controlFlags, []string{token}, d)
	if err != nil {
		return nil, err
	}
	worker, err := workerPart(ctx, c.workerFlags, d)
	if err != nil {
		return nil, err
	}
	delivery, err := deliveryPart(ctx, c.deliveryFlags, d)
	if err != nil {
		return nil, err
	}
	if err := writeClientFile(folder, reachable(api.Addr())); err != nil {
		return nil, err
	}
	if t.outTTY {
		welcome(t.out, folder.Path, reachable(api.Addr()), p.healthAddr)
	}
	// Whoever needs another to finish its work comes before it: workers wait for receipts of delivery.
	return []daemon.Part{plannerPart(c.plannerFlags, d), daemon.Named("control", api), worker, delivery}, nil
}

// backends starts Redis and NATS in the folder, and makes the key file the first time.
func (c *upCmd) backends(ctx context.Context, folder *embedded.Folder, p *process) (backends, error) {
	rds, err := embedded.StartRedis(ctx, p.log, embedded.RedisConfig{Folder: folder})
	if err != nil {
		return backends{}, err
	}
	p.atEnd(rds.Stop)
	srv, err := embedded.StartNATS(ctx, p.log, embedded.NATSConfig{Dir: folder.Join("nats"), Listen: c.NATSListen})
	if err != nil {
		return backends{}, err
	}
	p.atEnd(srv.Stop)
	keys := folder.Join("vault.json")
	if _, err := vault.OpenOrCreate(keys); err != nil {
		return backends{}, err
	}
	return backends{inProcess: srv, Backends: daemon.Backends{
		NATSReplicas: 1, RedisURL: rds.URL(), RedisPool: redisPoolOfUp, VaultKeyFile: keys,
	}}, nil
}

// reachable returns the address a client on this host uses for what listens on addr.
func reachable(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ap.Port())))
}

// welcome tells a person what runs, where, and what to type next.
func welcome(w io.Writer, data, addr, health string) {
	at := ""
	if abs, err := filepath.Abs("mailferry-data"); err != nil || abs != data {
		at = " --data " + data
	}
	_, _ = fmt.Fprintf(w, `
mailferry is up: planner, worker, delivery and control in one process.

  data     %s  (accounts, keys, queue, index: keep it, back it up)
  API      http://%s  (token in control.token of the data folder)
`, data, addr)
	if health != "" {
		_, _ = fmt.Fprintf(w, "  health   http://%s/readyz, metrics at /metrics\n", health)
	}
	_, _ = fmt.Fprintf(w, `
In another terminal:

  mailferry account add%[1]s example.com/first --protocol imap --host imap.example.net \
      --username me --forward-to me@example.com
  mailferry fetch%[1]s example.com/first
  mailferry status%[1]s

Where mail goes: mailferry domain --help, mailferry settings --help. Ctrl-C finishes open work and ends.

`, at)
}

// tokenFile holds the token of the API in the data folder.
const tokenFile = "control.token"

// tokenOf reads the API token of the folder, and makes one of 32 random bytes where there is none.
func tokenOf(folder *embedded.Folder) (string, error) {
	raw, err := os.ReadFile(folder.Join(tokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, 32)
		_, _ = rand.Read(fresh) // never fails
		raw = []byte(hex.EncodeToString(fresh) + "\n")
		err = folder.Write(tokenFile, raw)
	}
	if err != nil {
		return "", fmt.Errorf("API token: %w", err)
	}
	token := string(bytes.TrimSpace(raw))
	if token == "" {
		return "", fmt.Errorf("API token: %s is empty: remove it and a new one is made", folder.Join(tokenFile))
	}
	return token, nil
}

// writeClientFile tells the client's commands where the API is.
func writeClientFile(folder *embedded.Folder, addr string) error {
	content, err := json.MarshalIndent(cli.ClientFile{Server: "http://" + addr, TokenFile: tokenFile}, "", "  ")
	if err != nil {
		return err
	}
	return folder.Write(cli.ClientFileName, append(content, '\n'))
}
