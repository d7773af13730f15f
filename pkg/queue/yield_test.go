package queue

import (
	"context"
	"testing"
	"time"
)

func TestYieldIsAnsweredWhenTheMailboxIsGivenUp(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	asked := make(chan string, 2)
	given, err := q.OnYield("u1", func(by string) { asked <- by })
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- q.Yield(limited(t, soon), "u1", "u2") }()
	if by := <-asked; by != "u2" {
		t.Errorf("asked by %q", by)
	}
	if err := q.TellChanged("u1"); err != nil {
		t.Fatal(err)
	}
	if by := <-asked; by != "" {
		t.Errorf("asked by %q", by)
	}
	select {
	case err := <-answered:
		t.Fatal("answered before the mailbox was given up: ", err)
	default:
	}
	given()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestYieldWithoutAWatcher(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, testAckWait)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Yield(ctx, "nobody", "u2"); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	if err := q.Yield(t.Context(), "no.uid", ""); err == nil {
		t.Error("not a uid")
	}
	if _, err := q.OnYield("*", nil); err == nil {
		t.Error("not a uid")
	}
}
