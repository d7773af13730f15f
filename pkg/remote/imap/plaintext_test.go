package imap_test

import (
	"context"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestPlaintextIsAskedFor ends the session before a credential where nobody may sign in without TLS.
func TestPlaintextIsAskedFor(t *testing.T) {
	t.Parallel()
	s := testenv.NewScript(t, "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\nC: H1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN\nS: H1 OK done\n")
	target := remote.Target{Host: "localhost", Port: s.Port, TLS: account.Detect, Username: "mrose", Password: canary}
	target.Plaintext = func(context.Context) error { return fault.Errorf(fault.TLS, "sign in", "it did before") }
	_, err := imap.Dial(t.Context(), dialer(nil), target)
	if fault.KindOf(err) != fault.TLS {
		t.Errorf("%v", err)
	}
	testenv.Eventually(t, 10*time.Second, "nothing else was sent", func() bool { return s.Finished() == 1 })
}
