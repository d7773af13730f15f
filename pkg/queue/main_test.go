package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testAckWait is for tests in which a claim lapses; soon bounds what takes a moment, on a machine that is busy.
const (
	testAckWait = 3 * time.Second
	soon        = 25 * time.Second
)

func limited(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func newQueue(t testing.TB, ackWait time.Duration) (*Queue, *testenv.NATS) {
	t.Helper()
	n := testenv.NewNATS(t)
	q, err := Open(limited(t, soon), n.Conn, n.JS, Config{AckWait: ackWait})
	if err != nil {
		t.Fatal(err)
	}
	return q, n
}

func claims(t testing.TB, q *Queue, slots, reserved int) *Claims {
	t.Helper()
	c, err := q.Claims(limited(t, soon), ClaimConfig{Slots: slots, Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func job(uid string, tr Trigger) Job {
	return Job{
		ID: "j-" + uid + "-" + string(tr), AccountUID: uid, Domain: "example.com", Name: "n-" + uid, Revision: 7,
		Trigger: tr, DueAt: time.UnixMilli(1_700_000_000_000).UTC(),
	}
}

func jobs(n int, tr Trigger) []Job {
	out := make([]Job, n)
	for i := range out {
		out[i] = job(fmt.Sprintf("u%05d", i), tr)
	}
	return out
}

func publish(t testing.TB, q *Queue, js ...Job) {
	t.Helper()
	for i, err := range q.PublishAll(limited(t, soon), js) {
		if err != nil {
			t.Fatalf("publish %s: %v", js[i].ID, err)
		}
	}
}

func next(t testing.TB, c *Claims, within time.Duration) *Claim {
	t.Helper()
	claim, err := c.Next(limited(t, within))
	if err != nil {
		t.Fatalf("no claim within %v: %v", within, err)
	}
	return claim
}

// none fails the test if there is a claim within d.
func none(t testing.TB, c *Claims, d time.Duration) {
	t.Helper()
	if claim, err := c.Next(limited(t, d)); err == nil {
		t.Fatalf("claimed %s, delivery %d", claim.ID, claim.Delivered)
	}
}

func ack(t testing.TB, c *Claim) {
	t.Helper()
	if err := c.Ack(limited(t, soon)); err != nil {
		t.Fatalf("ack %s: %v", c.ID, err)
	}
}

func pending(t testing.TB, q *Queue, want int) {
	t.Helper()
	testenv.Eventually(t, soon, fmt.Sprintf("%d jobs are held", want), func() bool {
		n, err := q.Pending(limited(t, soon))
		return err == nil && n == want
	})
}

// secondConn is the queue of another process.
func secondConn(t testing.TB, n *testenv.NATS, ackWait time.Duration) *Queue {
	t.Helper()
	nc, err := nats.Connect(n.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	q, err := Open(limited(t, soon), nc, n.JS, Config{AckWait: ackWait})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// wipe restarts the server with an emptied store.
func wipe(t testing.TB, n *testenv.NATS) {
	t.Helper()
	n.Stop()
	if err := os.RemoveAll(filepath.Join(n.StoreDir(), "jetstream")); err != nil {
		t.Fatal(err)
	}
	n.Start()
}
