package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

func TestAJobNobodyKeepsIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 4, 0)
	start := time.Now()
	publish(t, q, job("a", Scheduled))
	dead := next(t, c, soon)
	again := next(t, c, soon)
	if again.ID != dead.ID || again.Delivered != 2 {
		t.Fatalf("got %s, delivery %d", again.ID, again.Delivered)
	}
	if d := time.Since(start); d < testAckWait*9/10 {
		t.Fatalf("it came again after %v", d)
	}

	// Nothing of the dead worker touches the job any more.
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		again.Keep(limited(t, time.Minute))
	}()
	for _, settle := range []func() error{
		func() error { return dead.Nak(context.Background(), 0) },
		func() error { return dead.Ack(context.Background()) },
	} {
		if err := settle(); err == nil {
			t.Fatal("a claim that has lapsed was settled")
		}
	}
	pending(t, q, 1)
	none(t, c, testAckWait/2)
	ack(t, again)
	<-kept
	pending(t, q, 0)
}

func TestAStaleSettlementIsToldAndNotSent(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 4, 0)
	for name, settle := range map[string]func(*Claim) error{
		"ack":  func(c *Claim) error { return c.Ack(context.Background()) },
		"nak":  func(c *Claim) error { return c.Nak(context.Background(), time.Hour) },
		"term": func(c *Claim) error { return c.Term(context.Background(), "poison") },
	} {
		publish(t, q, job(name, Manual))
		dead := next(t, c, soon)
		again := next(t, c, soon)
		if err := settle(dead); !errors.Is(err, ErrStale) || fault.KindOf(err) != fault.Canceled {
			t.Fatalf("%s: %v", name, err)
		}
		pending(t, q, 1)
		ack(t, again)
		pending(t, q, 0)
	}
}

func TestKeepKeeps(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 4, 0)
	publish(t, q, job("a", Scheduled))
	claim := next(t, c, soon)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		claim.Keep(limited(t, time.Minute))
	}()
	none(t, c, 5*testAckWait/2)
	ack(t, claim)
	<-kept
	pending(t, q, 0)
	claim.Keep(context.Background()) // returns: it is settled
	if err := claim.Ack(context.Background()); !errors.Is(err, ErrSettled) {
		t.Fatalf("a second ack: %v", err)
	}
}

// A word that the job is being worked on, after the job was handed back, would undo the delay.
func TestSettlingWaitsForKeep(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 30*time.Second)
	c := claims(t, q, 4, 0)
	publish(t, q, job("a", Scheduled))
	claim := next(t, c, soon)
	claim.keeping.Add(1) // a Keep that is sending
	done := make(chan error, 1)
	go func() { done <- claim.Ack(limited(t, soon)) }()
	<-claim.stop
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	claim.keeping.Done()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAnAckOfALostStreamHitsNoJobOfTheNewOne(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, 30*time.Second)
	c := claims(t, q, 4, 0)
	publish(t, q, job("old", Scheduled))
	old := next(t, c, soon)
	if err := n.JS.DeleteStream(limited(t, soon), jobsStream); err != nil {
		t.Fatal(err)
	}
	publish(t, q, job("new", Scheduled))
	fresh := next(t, c, soon)
	if fresh.AccountUID != "new" {
		t.Fatalf("got %s", fresh.ID)
	}
	_ = old.Ack(limited(t, soon))
	pending(t, q, 1)
	ack(t, fresh)
	pending(t, q, 0)
}

func TestKeepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 4, 0)
	publish(t, q, job("a", Scheduled))
	claim := next(t, c, soon)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	claim.Keep(ctx)
	ack(t, next(t, c, soon))
}

func TestNakIsDeliveredAfterItsDelay(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 30*time.Second) // none of this is a claim that lapsed
	c := claims(t, q, 1, 0)
	publish(t, q, job("a", Scheduled))
	claim := next(t, c, soon)
	start := time.Now()
	if err := claim.Nak(limited(t, soon), 700*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	again := next(t, c, soon)
	if d := time.Since(start); d < 600*time.Millisecond {
		t.Fatalf("it came again after %v", d)
	}
	if again.Delivered != 2 {
		t.Fatalf("delivery %d", again.Delivered)
	}
	if err := q.Publish(limited(t, soon), job("a", Scheduled)); !errors.Is(err, ErrCoalesced) {
		t.Fatalf("a job handed back does not hold its place: %v", err)
	}
	if err := again.Nak(limited(t, soon), 0); err != nil {
		t.Fatal(err)
	}
	ack(t, next(t, c, soon))
}

func TestTermRemovesForGood(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	c := claims(t, q, 1, 0)
	publish(t, q, job("a", Scheduled))
	if err := next(t, c, soon).Term(limited(t, soon), "poison\r\n: \x00"); err != nil {
		t.Fatal(err)
	}
	pending(t, q, 0)
	none(t, c, testAckWait+500*time.Millisecond)
}

func TestSettlingIsBoundedAndFreesTheSlot(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	c := claims(t, q, 1, 0)
	publish(t, q, job("a", Scheduled), job("b", Scheduled))
	claim := next(t, c, soon)
	n.Stop()
	start := time.Now()
	if err := claim.Ack(context.Background()); err == nil {
		t.Fatal("an ack was confirmed by a server that is down")
	}
	if d := time.Since(start); d > soon {
		t.Fatalf("it took %v", d)
	}
	n.Start()
	ack(t, next(t, c, soon))
	ack(t, next(t, c, soon))
}

func TestPoisonIsHandedOutAsSuch(t *testing.T) {
	t.Parallel()
	q, n := newQueue(t, testAckWait)
	c := claims(t, q, 1, 0)
	if _, err := n.JS.Publish(limited(t, soon), subjectOf(Push, "abc"), []byte("no protobuf \xff")); err != nil {
		t.Fatal(err)
	}
	claim := next(t, c, soon)
	if claim.Err == nil || claim.AccountUID != "abc" || claim.Trigger != Push || claim.ID != "" {
		t.Fatalf("got %+v, %v", claim.Job, claim.Err)
	}
	if err := claim.Term(limited(t, soon), "poison"); err != nil {
		t.Fatal(err)
	}
	pending(t, q, 0)
}
