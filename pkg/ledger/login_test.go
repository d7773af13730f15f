package ledger

import (
	"context"
	"testing"
	"time"
)

// TestFailedLoginsAreBounded lets a domain fail five times in any hour at a remote mailbox, however it is
// written, and no other domain suffers from it.
func TestFailedLoginsAreBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHouse(t, Config{})
	blocked := func(domain, host, user string) bool {
		t.Helper()
		until, err := h.LoginBlocked(ctx, domain, host, user)
		h.ok(err)
		return !until.IsZero()
	}
	for i, host := range []string{"mail.example.net", "MAIL.example.net", "mail.example.net.", "mail.example.net", "mail.example.net"} {
		if blocked("a.example", "mail.example.net", "bob") {
			t.Fatalf("blocked after %d failures", i)
		}
		_, err := h.LoginFailed(ctx, "a.example", host, "Bob")
		h.ok(err)
		h.pass(10 * time.Minute)
	}
	if !blocked("a.example", "mail.example.net", "BOB") {
		t.Error("not blocked after five failures")
	}
	if blocked("b.example", "mail.example.net", "bob") || blocked("a.example", "mail.example.net", "eve") {
		t.Error("somebody else is blocked")
	}
	h.pass(10*time.Minute + time.Second) // the first is an hour old
	if blocked("a.example", "mail.example.net", "bob") {
		t.Error("blocked for ever")
	}
	_, err := h.LoginFailed(ctx, "a.example", "mail.example.net", "bob")
	h.ok(err)
	if !blocked("a.example", "mail.example.net", "bob") {
		t.Error("the window does not slide")
	}
}

// TestTestsAreBounded lets a domain test thirty times in any ten minutes, and no other domain suffers from it.
func TestTestsAreBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHouse(t, Config{})
	for i := range 30 {
		if until, err := h.TestBlocked(ctx, "a.example"); err != nil || !until.IsZero() {
			t.Fatalf("test %d: %v %v", i, until, err)
		}
	}
	for domain, want := range map[string]bool{"A.example": true, "b.example": false} {
		until, err := h.TestBlocked(ctx, domain)
		if h.ok(err); !until.IsZero() != want {
			t.Errorf("%s: blocked until %v, want %v", domain, until, want)
		}
	}
	h.pass(10*time.Minute + time.Second)
	if until, err := h.TestBlocked(ctx, "a.example"); err != nil || !until.IsZero() {
		t.Errorf("blocked for ever: %v %v", until, err)
	}
}
