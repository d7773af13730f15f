package queue

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
)

func report(uid string, i int) *Report {
	return &Report{RunId: fmt.Sprint("r", i), AccountUid: uid, Domain: "example.com", Name: "n", Listed: int64(i)}
}

func TestReportsAreTheLastOnesNewestFirst(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	ctx := limited(t, soon)
	if got, err := q.Reports(ctx, "a", 5); err != nil || len(got) != 0 {
		t.Fatalf("of an account without runs: %v, %v", got, err)
	}
	for i := range maxReports + 5 {
		for _, uid := range []string{"a", "b"} {
			if err := q.PutReport(ctx, report(uid, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := n.JS.Publish(ctx, runSubject("a"), []byte("\xff")); err != nil { // passed over
		t.Fatal(err)
	}
	got, err := q.Reports(ctx, "a", 3)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d reports, %v", len(got), err)
	}
	for i, r := range got {
		if want := fmt.Sprint("r", maxReports+4-i); r.GetRunId() != want || r.GetAccountUid() != "a" {
			t.Fatalf("report %d is %s, want %s", i, r.GetRunId(), want)
		}
	}
	if got, err = q.Reports(ctx, "b", 0); err != nil || len(got) != maxReports {
		t.Fatalf("%d reports, %v", len(got), err)
	}
	if err := q.PutReport(ctx, report("b", maxReports+4)); err != nil { // an attempt whose answer was lost
		t.Fatal(err)
	}
	if got, err = q.Reports(ctx, "b", 2); err != nil || got[0].GetRunId() == got[1].GetRunId() {
		t.Fatalf("a copy is shown: %v, %v", got, err)
	}
	if err := q.EraseAccount(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if got, err = q.Reports(ctx, "b", 0); err != nil || len(got) != 0 {
		t.Fatalf("after erase: %v, %v", got, err)
	}
	if got, err = q.Reports(ctx, "a", 0); err != nil || len(got) == 0 {
		t.Fatalf("erase took those of another account: %v", err)
	}
}

func TestReportsOutliveTheLossOfTheStream(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	ctx := limited(t, 30*time.Second)
	if err := n.JS.DeleteStream(ctx, runsStream); err != nil {
		t.Fatal(err)
	}
	if got, err := q.Reports(ctx, "a", 1); err != nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	if err := n.JS.DeleteStream(ctx, runsStream); err != nil {
		t.Fatal(err)
	}
	if err := q.EraseAccount(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := q.PutReport(ctx, report("a", 1)); err != nil {
		t.Fatal(err)
	}
	if got, err := q.Reports(ctx, "a", 1); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	for _, uid := range []string{"", "a.b", "*", ">"} {
		if _, err := q.Reports(ctx, uid, 1); err == nil {
			t.Fatalf("%q was taken as a uid", uid)
		}
		if q.EraseAccount(ctx, uid) == nil || q.PutReport(ctx, report(uid, 1)) == nil || q.SendProgress(&Progress{AccountUid: uid}) == nil {
			t.Fatalf("%q was taken as a uid", uid)
		}
	}
}

func TestProgressReachesItsFollowers(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	ctx := limited(t, soon)
	one, stopOne, err := q.FollowProgress(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer stopOne()
	all, stopAll, err := q.FollowProgress(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	sender := secondConn(t, n, q.cfg.AckWait)
	for _, uid := range []string{"b", "a"} { // sent after FollowProgress has returned: seen
		if err := sender.SendProgress(&Progress{AccountUid: uid, New: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if p := <-one; p.GetAccountUid() != "a" || p.GetNew() != 3 {
		t.Fatalf("got %v", p)
	}
	if p := <-all; p.GetAccountUid() != "b" {
		t.Fatalf("got %v", p)
	}
	stopAll()
	stopAll() // legal
	for range all {
	}
	if _, _, err := q.FollowProgress(ctx, "a.>"); err == nil {
		t.Fatal("a wildcard was taken as a uid")
	}
}

func TestWhatIsSentAfterFollowingBeganIsSeen(t *testing.T) {
	t.Parallel()
	sender, n := newQueue(t, testAckWait)
	q := farQueue(t, n)
	for i := range 5 {
		uid := fmt.Sprint("u", i)
		ch, stop, err := q.FollowProgress(limited(t, soon), uid)
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.SendProgress(&Progress{AccountUid: uid}); err != nil {
			t.Fatal(err)
		}
		if err := sender.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ch:
		case <-time.After(soon):
			t.Fatalf("follower %d missed it", i)
		}
		stop()
	}
}

// far dials connections on which what is written takes its time.
type far struct{}

func (far) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	return farConn{c}, err
}

type farConn struct{ net.Conn }

func (c farConn) Write(p []byte) (int, error) {
	<-time.After(30 * time.Millisecond) // the way to the server
	return c.Conn.Write(p)
}

// farQueue is the queue of a process that is far from the server.
func farQueue(t *testing.T, n *testenv.NATS) *Queue {
	t.Helper()
	nc, err := nats.Connect(n.URL, nats.SetCustomDialer(far{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	q, err := Open(limited(t, soon), nc, n.JS, Config{AckWait: testAckWait})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestASlowFollowerMissesTheOldest(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	ch, stop, err := q.FollowProgress(limited(t, soon), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	const sent = 3 * followBuffer
	for i := range sent {
		if err := q.SendProgress(&Progress{AccountUid: "a", New: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	var last int64
	testenv.Eventually(t, soon, "the newest progress", func() bool {
		for {
			select {
			case p := <-ch:
				if seen++; p.GetNew() < last {
					t.Fatalf("%d after %d", p.GetNew(), last)
				}
				last = p.GetNew()
			default:
				return last == sent-1
			}
		}
	})
	t.Logf("%d of %d seen", seen, sent)
}
