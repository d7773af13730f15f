package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestSlowNATS puts NATS half a second away, each way: claims are kept meanwhile, and each message arrives once.
// (Fault 16.)
func TestSlowNATS(t *testing.T) {
	t.Parallel()
	h, s, seeds, a := atADistance(t, 8)
	far := newDistance(t, h.nats.URL, 500*time.Millisecond)
	finish := h.watchDeletions(a.Username, s, len(seeds))
	flags := []string{"--nats-url", far.url(), "--lease", "30s"}
	h.startWith("worker", flags)
	h.startWith("delivery", flags)
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 5*time.Minute, "everything is delivered and deleted", func() bool { return h.done(a, s, len(seeds), account.Delete) })
	finish()
	checkCopies(t, s, a, seeds, 0)
}

// TestOneWayPartition holds back what a worker says to NATS, or what it hears, for longer than every lease, in
// the middle of its run; another worker is there. The lock refuses a second run while the first goes on, and
// each message arrives once. (Fault 16.)
func TestOneWayPartition(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"mute", "deaf"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h, s, seeds, a := atADistance(t, 40)
			d := newDistance(t, h.nats.URL, 0)
			finish := h.watchDeletions(a.Username, s, len(seeds))
			h.startWith("worker", []string{"--nats-url", d.url(), "--batch", "4"})
			h.start("delivery")
			h.trigger(a, "first", queue.Scheduled)
			testenv.Eventually(t, 60*time.Second, "the run is in its middle", func() bool { return len(s.copies(a.ForwardTo)) > 2 })
			held := &d.there
			if way == "deaf" {
				held = &d.back
			}
			held.Store(true)
			h.start("worker")
			<-time.After(3 * short) // longer than every lease
			held.Store(false)
			h.settle(a, s, len(seeds), account.Delete)
			finish()
			checkCopies(t, s, a, seeds, 0)
		})
	}
}

// atADistance is a house with a mailbox that an account collects and deletes.
func atADistance(t *testing.T, messages int) (*house, *sink, []testenv.Seed, account.Account) {
	t.Helper()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := fmt.Sprintf("far%x", time.Now().UnixNano())
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: messages})
	for _, m := range seeds {
		remote.Append(user, m.Raw)
	}
	return h, s, seeds, h.account("far", user, account.POP3, account.Delete)
}

// distance stands between processes and NATS: what is said arrives later, or not before it is let through.
type distance struct {
	to          string
	delay       time.Duration
	listener    net.Listener
	there, back atomic.Bool // held: what is said to NATS, what NATS says
	wg          sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newDistance(t *testing.T, url string, delay time.Duration) *distance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &distance{to: strings.TrimPrefix(url, "nats://"), delay: delay, listener: l}
	d.wg.Go(d.serve)
	t.Cleanup(func() {
		_ = l.Close()
		d.there.Store(false)
		d.back.Store(false)
		d.cut()
		d.wg.Wait()
	})
	return d
}

func (d *distance) url() string { return "nats://" + d.listener.Addr().String() }

func (d *distance) serve() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", d.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		d.mu.Lock()
		d.conns = append(d.conns, client, server)
		d.mu.Unlock()
		d.wg.Go(func() { d.carry(server, client, &d.there) })
		d.wg.Go(func() { d.carry(client, server, &d.back) })
	}
}

// cut ends all connections.
func (d *distance) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
}

type chunk struct {
	due  time.Time
	data []byte
}

// carry brings what is said from one side to the other: in order, each piece after the delay.
func (d *distance) carry(to, from net.Conn, held *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	way := make(chan chunk, 1<<16)
	d.wg.Go(func() {
		defer close(way)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			way <- chunk{time.Now().Add(d.delay), buf[:n]}
		}
	})
	for c := range way {
		<-time.After(time.Until(c.due))
		for held.Load() {
			<-time.After(10 * time.Millisecond)
		}
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close()
		}
	}
}
