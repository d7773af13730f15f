package worker_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/transit"
	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/worker"
)

// Parts of dialogues; the messages have three and more.
const (
	enter   = "S: +OK\nC: CAPA\nS: +OK\nS: TOP\nS: .\nC: USER u\nS: +OK\nC: PASS p\nS: +OK\n"
	noTOP   = "S: +OK\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: USER u\nS: +OK\nC: PASS p\nS: +OK\n"
	eats    = "S: +OK\nC: CAPA\nS: +OK\nS: EXPIRE 0\nS: LOGIN-DELAY 600\nS: .\nC: USER u\nS: +OK\nC: PASS p\nS: +OK\n"
	stat    = "C: STAT\nS: +OK 3 30\n"
	uids    = stat + "C: UIDL\nS: +OK\nS: 1 a\nS: 2 b\nS: 3 c\nS: .\n" + sizes
	noUIDL  = stat + "C: UIDL\nS: -ERR what\n" + sizes
	sizes   = "C: LIST\nS: +OK\nS: 1 10\nS: 2 10\nS: 3 10\nS: .\n"
	goodbye = "C: QUIT\nS: +OK\n"
)

// answer is a command with its message.
func answer(command, id, body string) string {
	return fmt.Sprintf("C: %s\nS: +OK\nS: Received: %s\nS: \n%sS: .\n", command, id, body)
}

func retr(n int) string { return answer(fmt.Sprint("RETR ", n), fmt.Sprint("m", n), "S: text\n") }
func top(n int) string  { return answer(fmt.Sprintf("TOP %d 0", n), fmt.Sprint("m", n), "") }

// stalls is RETR of a message that never ends.
func stalls(n int) string {
	return fmt.Sprintf("C: RETR %d\nS: +OK\nS: Received: m%d\nS: \nS: text\n", n, n)
}

// runs are dialogues with a server, one a connection, and what the runs of a worker make of them. Nothing
// takes the messages: they stay in TRANSIT.
var runs = []struct {
	name      string
	dialogues []string
	runs      int
	held      int // in TRANSIT afterwards
}{
	{
		name: "quirk18/without UIDL, names come from TOP and no body is read twice", runs: 2, held: 3,
		dialogues: []string{
			enter + noUIDL + top(1) + top(2) + top(3) + retr(1) + retr(2) + retr(3) + goodbye,
			enter + noUIDL + top(1) + top(2) + top(3) + goodbye,
		},
	},
	{
		name: "quirk18/without TOP, names come from RETR", runs: 2, held: 3,
		dialogues: []string{
			noTOP + noUIDL + retr(1) + retr(2) + retr(3) + retr(1) + retr(2) + retr(3) + goodbye,
			noTOP + noUIDL + retr(1) + retr(2) + retr(3) + goodbye,
		},
	},
	{
		name: "quirk20/a message that breaks the session comes last in the next run", runs: 2, held: 2,
		dialogues: []string{
			enter + uids + retr(1) + stalls(2),
			enter + uids + retr(3) + stalls(2),
		},
	},
	{
		name: "quirk20/a message that breaks the session while it is named keeps no other", runs: 1, held: 2,
		dialogues: []string{
			noTOP + noUIDL + retr(1) + stalls(2),
			noTOP + noUIDL + retr(1) + retr(3) + retr(1) + retr(3) + goodbye,
		},
	},
	{
		name: "quirk26/internal data is passed over for good", runs: 2, held: 2,
		dialogues: []string{
			enter + uids + "C: RETR 1\nS: +OK\nS: Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nS: X-IMAP: 1\nS: \nS: .\n" + retr(2) + retr(3) + goodbye,
			enter + uids + goodbye,
		},
	},
	{
		name: "what is in flight under other unique-ids is waited for", runs: 3, held: 3,
		dialogues: []string{
			enter + uids + retr(1) + retr(2) + retr(3) + goodbye,
			enter + strings.NewReplacer(" a\n", " x\n", " b\n", " y\n", " c\n", " z\n").Replace(uids), // and no RETR
			enter + uids + goodbye,
		},
	},
	{
		name: "quirk01/what was read and not accepted is not dropped", runs: 1, held: 3,
		dialogues: []string{eats + uids + retr(1) + retr(2) + retr(3)}, // and no QUIT
	},
	{
		name: "quirk01/what was read for a name is not dropped", runs: 2, held: 3,
		dialogues: []string{
			eats + noUIDL + retr(1) + retr(2) + retr(3) + retr(1) + retr(2) + retr(3),
			eats + noUIDL + retr(1) + retr(2) + retr(3),
		},
	},
}

func TestPOP3Servers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i, c := range runs {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := testenv.NewScript(t, strings.Join(c.dialogues, "NEXT\n"))
			a := h.account(t, fmt.Sprint("a", i), s.Port)
			for n := range c.runs {
				h.run(t, a, fmt.Sprintf("a%d-%d", i, n))
			}
			held, err := h.Transit.Held(t.Context(), a.UID)
			if err != nil || len(held) != c.held {
				t.Errorf("%d messages are in transit, want %d: %v", len(held), c.held, err)
			}
		})
	}
}

// house is a worker in this process, on a real NATS and Redis.
type house struct{ worker.Deps }

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx, nats, redis := context.Background(), testenv.NewNATS(t), testenv.NewRedis(t)
	h := &house{worker.Deps{Due: due.New(redis.Client), Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}}
	var err error
	must := func(what string) {
		t.Helper()
		if err != nil {
			t.Fatal(what, ": ", err)
		}
	}
	h.Vault, err = vault.OpenOrCreate(filepath.Join(t.TempDir(), "vault.json"))
	must("vault")
	h.Directory, err = directory.Open(ctx, nats.JS, directory.Config{})
	must("directory")
	h.Queue, err = queue.Open(ctx, nats.Conn, nats.JS, queue.Config{})
	must("queue")
	h.Transit, err = transit.Open(ctx, nats.Conn, nats.JS, transit.Config{})
	must("transit")
	h.Keyer = ledger.NewKeyer(h.Vault.KeySecret())
	h.Ledger = ledger.New(redis.Client, ledger.Config{KeyID: h.Keyer.ID()})
	guard := remote.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	w, err := worker.New(ctx, h.Deps, worker.Config{
		Name: "w", Egress: guard, Patience: time.Second,
		Session: remote.Limits{Command: 20 * time.Second, Idle: 3 * time.Second},
	})
	must("worker")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) account(t *testing.T, name string, port int) account.Account {
	t.Helper()
	a := account.Account{
		UID: directory.NewUID(), Domain: "example.com", Name: name, Active: true, Protocol: account.POP3, TLS: account.Disable,
		Host: fmt.Sprintf("127.0.0.1:%d", port), Username: "u", ForwardTo: name + "@example.com",
	}.WithDefaults()
	var err error
	if a.SealedPassword, err = h.Vault.Seal("p", a.SealContext()); err != nil {
		t.Fatal(err)
	}
	if a, err = h.Directory.CreateAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	slot, err := ledger.SlotOfAccount(a)
	if err == nil {
		err = h.Ledger.Enroll(t.Context(), slot, a.UID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run publishes a job and waits for the end of its run.
func (h *house) run(t *testing.T, a account.Account, id string) {
	t.Helper()
	progress, stop, err := h.Queue.FollowProgress(t.Context(), a.UID)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for { // the job before may still be on its way out of the queue
		if err = h.Queue.Publish(t.Context(), queue.Job{
			ID: id, AccountUID: a.UID, Domain: a.Domain, Name: a.Name, Revision: a.Revision, Trigger: queue.Scheduled, DueAt: time.Now(),
		}); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	end := time.After(time.Minute)
	for {
		select {
		case p := <-progress:
			if p.GetJobId() == id && p.GetPhase() == mailferryv1.Phase_PHASE_DONE {
				return
			}
		case <-end:
			t.Fatalf("run %s does not end", id)
		}
	}
}
