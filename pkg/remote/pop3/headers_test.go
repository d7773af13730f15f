package pop3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// signedIn is a dialogue up to a session with the capabilities, or without CAPA.
func signedIn(capa ...string) string {
	answer := "S: -ERR\n"
	if len(capa) > 0 {
		answer = "S: +OK\nS: " + strings.Join(capa, "\nS: ") + "\nS: .\n"
	}
	return "S: +OK\nC: CAPA\n" + answer + "C: USER mrose\nS: +OK\nC: PASS " + canary + "\nS: +OK\n"
}

// signIn signs in to a dialogue.
func signIn(t *testing.T, dialogue string, limits remote.Limits) remote.Session {
	t.Helper()
	s := testenv.NewScript(t, dialogue)
	d := dialer(s.CA.Pool)
	d.Limits = limits
	session, err := pop3.Dial(t.Context(), d, remote.Target{
		Host: "localhost", Port: s.Port, TLS: account.Disable, Username: "mrose", Password: canary,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Abort)
	return session
}

// headers reads the headers of n messages and says what came.
func headers(ctx context.Context, s remote.Session, n int) string {
	var b strings.Builder
	items := make([]remote.Item, n)
	for i := range items {
		items[i].Number = i + 1
	}
	err := s.(remote.HeaderReader).Headers(ctx, items, func(f remote.Fetched) error {
		if f.Err != nil {
			fmt.Fprintf(&b, "%d %s; ", f.Item.Number, fault.KindOf(f.Err))
			return nil
		}
		switch _, err := remote.HeaderDigest(f.Body); {
		case errors.Is(err, remote.ErrAnonymous):
			fmt.Fprintf(&b, "%d anonymous; ", f.Item.Number)
		case err != nil:
			fmt.Fprintf(&b, "%d %s; ", f.Item.Number, fault.KindOf(err))
		default:
			fmt.Fprintf(&b, "%d named; ", f.Item.Number)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintf(&b, "ends: %s", fault.KindOf(err))
	}
	return b.String()
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	const good = "S: +OK\nS: Received: x\nS: Subject: y\nS: \nS: .\n"
	for _, tt := range []struct{ name, dialogue, want string }{
		{"offered", signedIn("TOP") + "C: TOP 1 0\n" + good + "C: TOP 2 0\n" + good, "1 named; 2 named; "},
		{"pipelined", signedIn("TOP", "PIPELINING") + "C: TOP 1 0\nC: TOP 2 0\n" + good + good, "1 named; 2 named; "},
		{"of one message refused", signedIn("TOP") + "C: TOP 1 0\nS: -ERR gone\nC: TOP 2 0\n" + good, "1 unavailable; 2 named; "},
		{"quirk22/not in CAPA", signedIn("UIDL"), "1 protocol; 2 protocol; "},
		{"quirk22/no CAPA and known", signedIn() + "C: TOP 1 0\n" + good + "C: TOP 2 0\n" + good, "1 named; 2 named; "},
		{"quirk22/no CAPA and unknown", signedIn() + "C: TOP 1 0\nS: -ERR unknown command\n", "1 unavailable; 2 protocol; "},
		{"quirk22/OK twice (FTGate)", signedIn("TOP") + "C: TOP 1 0\nS: +OK\n" + good + "C: TOP 2 0\n" + good, "1 anonymous; 2 named; "},
		{"quirk22/cut within the header (Maillennium)", signedIn("TOP") + "C: TOP 1 0\nS: +OK\nS: Received: x\nS: Subj\nS: .\nC: TOP 2 0\n" + good, "1 anonymous; 2 named; "},
		{"quirk22/the whole message", signedIn("TOP") + "C: TOP 1 0\nS: +OK\nS: Received: x\nS: \nS: body\nS* 20000 \"body\\r\\n\"\nS: .\nC: TOP 2 0\n" + good, "1 named; 2 named; "},
		{"quirk24/a rate reached", signedIn("TOP") + "C: TOP 1 0\nS: -ERR too many requests\n", "ends: throttled"},
		{"cut", signedIn("TOP") + "C: TOP 1 0\nS: +OK\nS+ \"Received: x\\r\\nSub\"\nCLOSE\n", "1 network; ends: network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := signIn(t, tt.dialogue, remote.Limits{Command: 10 * time.Second, Idle: 10 * time.Second})
			if got := headers(t.Context(), s, 2); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A message has one name, read by TOP or, where that is refused, by RETR.
func TestNameByTOPAndByRETR(t *testing.T) {
	t.Parallel()
	s := signIn(t, signedIn("TOP")+"C: TOP 1 0\nS: +OK\nS: Received: x\nS: Subject: y\nS: \nS: .\n"+
		"C: RETR 1\nS: +OK\nS: Return-Path: <z>\nS: Received: x\nS: Subject:\nS:  y\nS: Status: RO\nS: \nS: ..body\nS: .\n",
		remote.Limits{Command: 10 * time.Second, Idle: 10 * time.Second})
	items := []remote.Item{{Number: 1}}
	var names [][]byte
	name := func(digest func(io.Reader) ([]byte, error)) func(remote.Fetched) error {
		return func(f remote.Fetched) error {
			sum, err := digest(f.Body)
			names = append(names, sum)
			return err
		}
	}
	err := s.(remote.HeaderReader).Headers(t.Context(), items, name(remote.HeaderDigest))
	err = errors.Join(err, s.Fetch(t.Context(), items, name(remote.MessageDigest)))
	if err != nil || len(names) != 2 || string(names[0]) != string(names[1]) {
		t.Errorf("names %x: %v", names, err)
	}
}
