package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/mailferry/mailferry/pkg/vault"
)

// short is every lease in these tests: TTL of locks, AckWait, delivery leases.
const short = 2 * time.Second

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("/tmp", "mfe2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "mailferry")
	build := exec.Command("go", "build", "-tags", "killpoints", "-o", binary, "../mailferry")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Println("build mailferry:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// house is a fleet of a test's own: NATS, Redis, processes. Remote and destination are given to it.
type house struct {
	t     testing.TB
	dir   string
	redis *testenv.Redis
	nats  *testenv.NATS
	// replicas of each stream.
	replicas int
	remote   *testenv.Dovecot
	vault    *vault.Vault

	book    *directory.Directory
	queue   *queue.Queue
	transit *transit.Transit
	ledger  *ledger.Ledger
	due     *due.Index

	mu    sync.Mutex
	procs []*proc
}

func newHouse(t testing.TB, remote *testenv.Dovecot) *house {
	t.Helper()
	return newHouseOn(t, remote, testenv.NewNATS(t), 1)
}

// newHouseOn is newHouse with this NATS, where streams have so many replicas.
func newHouseOn(t testing.TB, remote *testenv.Dovecot, on *testenv.NATS, replicas int) *house {
	t.Helper()
	h := &house{t: t, dir: testenv.TempDir(t), redis: testenv.NewRedis(t), nats: on, replicas: replicas, remote: remote}
	ctx := context.Background()
	var err error
	must := func(what string) {
		t.Helper()
		if err != nil {
			t.Fatal(what, ": ", err)
		}
	}
	h.vault, err = vault.OpenOrCreate(h.vaultFile())
	must("vault")
	h.book, err = directory.Open(ctx, h.nats.JS, directory.Config{Replicas: replicas})
	must("directory")
	h.queue, err = queue.Open(ctx, h.nats.Conn, h.nats.JS, queue.Config{AckWait: short, Replicas: replicas})
	must("queue")
	h.transit, err = transit.Open(ctx, h.nats.Conn, h.nats.JS, transit.Config{AckWait: short, Replicas: replicas})
	must("transit")
	h.ledger = ledger.New(h.redis.Client, ledger.Config{TTL: short, DeliveryLease: short, KeyID: ledger.NewKeyer(h.vault.KeySecret()).ID()})
	h.due = due.New(h.redis.Client)
	t.Cleanup(h.stopAll)
	return h
}

func (h *house) vaultFile() string { return filepath.Join(h.dir, "vault.json") }

// destination sets the global one.
func (h *house) destination(d string) {
	h.t.Helper()
	_, err := h.book.UpdateSettings(h.t.Context(), func(s *directory.Settings) error {
		s.Destination, s.Interval = d, 24*time.Hour
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// account adds one for a user of the remote Dovecot.
func (h *house) account(name, user string, p account.Protocol, after account.After, change ...func(*account.Account)) account.Account {
	h.t.Helper()
	port := h.remote.POP3Port
	if p == account.IMAP {
		port = h.remote.IMAPPort
	}
	return h.add(account.Account{
		Name: name, Protocol: p, Host: fmt.Sprintf("%s:%d", h.remote.Host, port), Username: user, After: after,
	}, h.remote.Password, change...)
}

// add adds an account on any server; it is active and its mail goes to its name.
func (h *house) add(a account.Account, password string, change ...func(*account.Account)) account.Account {
	h.t.Helper()
	a.UID, a.Domain, a.Active, a.ForwardTo = directory.NewUID(), "example.com", true, a.Name+"@example.com"
	if a.Username == "" {
		a.Username = a.Name
	}
	a = a.WithDefaults()
	for _, c := range change {
		c(&a)
	}
	var err error
	if a.SealedPassword, err = h.vault.Seal(password, a.SealContext()); err != nil {
		h.t.Fatal(err)
	}
	if err := a.Validate(); err != nil {
		h.t.Fatal(err)
	}
	if a, err = h.book.CreateAccount(h.t.Context(), a); err != nil {
		h.t.Fatal(err)
	}
	if err := h.ledger.Enroll(h.t.Context(), h.slot(a), a.UID); err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) slot(a account.Account) ledger.Slot {
	h.t.Helper()
	s, err := ledger.SlotOfAccount(a)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// trigger publishes a job; one that is coalesced counts as published.
func (h *house) trigger(a account.Account, id string, trig queue.Trigger) {
	h.t.Helper()
	err := h.queue.Publish(h.t.Context(), queue.Job{
		ID: id, AccountUID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Trigger: trig, DueAt: time.Now(),
	})
	if err != nil && !isCoalesced(err) {
		h.t.Fatal(err)
	}
}

func (h *house) counts(a account.Account) ledger.Counts {
	c, err := h.ledger.State(context.Background(), h.slot(a), a.UID)
	if err != nil {
		return ledger.Counts{}
	}
	return c
}

// idle says that nothing is queued, running or in transit.
func (h *house) idle(a account.Account) bool {
	ctx := context.Background()
	jobs, err := h.queue.Pending(ctx)
	if err != nil || jobs > 0 {
		return false
	}
	st, err := h.transit.Stats(ctx)
	c := h.counts(a)
	return err == nil && st.Messages == 0 && c.Marked == 0 && c.Job == ""
}

// proc is one process of the fleet.
type proc struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts a role; env is added to its environment.
func (h *house) start(role string, env ...string) *proc { return h.startWith(role, nil, env...) }

func (h *house) startWith(role string, flags []string, env ...string) *proc {
	h.t.Helper()
	args := []string{role, "--nats-url", h.nats.URL, "--nats-replicas", strconv.Itoa(h.replicas), "--redis-url", "unix://" + h.redis.Socket, "--health-listen", "off", "--log-level", "debug",
		"--vault-key-file", h.vaultFile(), "--lease", short.String(), "--drain-grace", "5s"}
	switch role {
	case "worker":
		args = append(args, "--egress-allow", "127.0.0.0/8")
		if h.remote != nil {
			args = append(args, "--remote-ca", h.remote.CAPath)
		}
	case "delivery":
		args = append(args, "--retry-min", "200ms")
	}
	return h.launch(env, append(args, flags...)...)
}

func (h *house) launch(env []string, args ...string) *proc {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &proc{log: filepath.Join(h.dir, fmt.Sprintf("%s-%d.log", args[0], len(h.procs))), done: make(chan struct{})}
	f, err := os.Create(p.log)
	if err != nil {
		h.t.Fatal(err)
	}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	_ = f.Close()
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	h.procs = append(h.procs, p)
	return p
}

func (p *proc) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill is kill -9, waited for.
func (p *proc) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stopped says that the process is stopped by a signal.
func (p *proc) stopped() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	return ok && strings.HasPrefix(rest, "T")
}

func (h *house) stopAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.procs {
		p.kill()
	}
	if h.t.Failed() {
		for _, p := range h.procs {
			text, _ := os.ReadFile(p.log)
			h.t.Logf("---- %s\n%s", filepath.Base(p.log), tail(text, 6000))
		}
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
