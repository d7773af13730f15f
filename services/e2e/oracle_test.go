package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestNoPasswordOracle tries one password after the other, in both protocols: after five refusals nothing is
// sent any more, not even the right one; an account whose password is good goes on.
func TestNoPasswordOracle(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	good := h.account("good", "victim", account.POP3, account.Leave)
	cli.ok("fetch", good.Ref())
	refs := []string{h.account("guess-pop3", "victim", account.POP3, account.Leave).Ref(), h.account("guess-imap", "Victim", account.IMAP, account.Leave).Ref()}
	secret := filepath.Join(t.TempDir(), "guess")
	try := func(ref, password string) (string, error) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		cli.ok("account", "edit", ref, "--password-file", secret)
		return cli.run("fetch", ref)
	}
	for i := range 5 {
		if out, err := try(refs[i%2], fmt.Sprint("guess-", i)); err == nil || !strings.Contains(out, "[auth]") {
			t.Fatalf("guess %d: %v\n%s", i, err, out)
		}
	}
	logins := remote.Sessions("").Total
	for _, ref := range refs {
		if out, err := try(ref, remote.Password); err == nil || !strings.Contains(out, "[throttled]") || !strings.Contains(out, "not tried before") {
			t.Errorf("the sixth guess of %s: %v\n%s", ref, err, out)
		}
	}
	if n := remote.Sessions("").Total; n != logins {
		t.Errorf("%d sign-ins after the bound", n-logins)
	}
	cli.ok("fetch", good.Ref())
}
