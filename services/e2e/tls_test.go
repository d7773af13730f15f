package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestOnceTLSAlwaysTLS takes TLS away from a server that had it: no password is sent there any more, by
// whichever worker, until an administrator says so. Policies forbid it from the beginning.
func TestOnceTLSAlwaysTLS(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	first := h.start("worker")
	h.start("delivery")
	cli := h.control()
	for _, p := range []account.Protocol{account.POP3, account.IMAP} {
		a := h.account("seen-"+string(p), "seen", p, account.Leave)
		cli.ok("fetch", a.Ref())
		if out := cli.ok("account", "show", a.Ref()); !strings.Contains(out, "TLS 1.3, since") {
			t.Errorf("the TLS version is not shown:\n%s", out)
		}
	}
	remote.Stop()
	remote.OfferTLS(false)
	remote.Start()
	first.kill() // what it knew is gone with it
	h.start("worker")
	for _, p := range []account.Protocol{account.POP3, account.IMAP} {
		logins := remote.Sessions("").Total
		name := "example.com/seen-" + string(p)
		out, err := cli.run("fetch", name)
		if err == nil || !strings.Contains(out, "[tls]") || !strings.Contains(out, "--forget-tls") {
			t.Errorf("a server that lost its TLS: %v\n%s", err, out)
		}
		if log := remote.Log(); remote.Sessions("").Total != logins || strings.Contains(log, "auth failed") {
			t.Errorf("somebody signed in without TLS:\n%s", log)
		}
		cli.ok("account", "edit", name, "--forget-tls")
		cli.ok("fetch", name)

		cli.ok("settings", "set", "require_tls=on")
		testenv.Eventually(t, 20*time.Second, "the fleet requires TLS", func() bool {
			out, err := cli.run("fetch", name)
			return err != nil && strings.Contains(out, "[policy]") && strings.Contains(out, "require_tls")
		})
		cli.ok("settings", "set", "require_tls=off")
		testenv.Eventually(t, 20*time.Second, "it does not any more", func() bool {
			_, err := cli.run("fetch", name)
			return err == nil
		})
	}
	cli.ok("domain", "add", "example.com", "--require-tls")
	testenv.Eventually(t, 20*time.Second, "the domain requires TLS", func() bool {
		out, err := cli.run("fetch", "example.com/seen-pop3")
		return err != nil && strings.Contains(out, "[policy]") && strings.Contains(out, "require-tls")
	})
	for _, args := range []string{"--tls disable", "--tls-allow-invalid"} {
		out, err := cli.run(append([]string{"account", "edit", "example.com/seen-pop3"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(out, "[policy]") {
			t.Errorf("%s was saved: %v\n%s", args, err, out)
		}
	}
}

// TestPinnedCertificate collects from a server whose authority nobody knows, by the key of its certificate,
// by its authority, and by no check where the domain permits that.
func TestPinnedCertificate(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote, stranger := testenv.NewDovecot(t), testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	h.start("worker")
	h.start("delivery")
	cli := h.control()
	a := h.account("stranger", "stranger", account.POP3, account.Leave, func(a *account.Account) { a.Host, a.TLS = port(stranger.POP3SPort), account.Direct })
	fails := func(kind string) {
		t.Helper()
		if out, err := cli.run("fetch", a.Ref()); err == nil || !strings.Contains(out, "["+kind+"]") {
			t.Errorf("want [%s]: %v\n%s", kind, err, out)
		}
	}
	edit := func(flags ...string) { t.Helper(); cli.ok(append([]string{"account", "edit", a.Ref()}, flags...)...) }
	fails("tls")
	edit("--tls-pin", strings.Repeat("ab", 32))
	out, err := cli.run("fetch", a.Ref())
	_, rest, ok := strings.Cut(out, "its SHA-256 is ")
	if err == nil || !ok || len(rest) < 64 {
		t.Fatalf("a wrong pin: %v\n%s", err, out)
	}
	edit("--tls-pin", rest[:64])
	cli.ok("fetch", a.Ref())
	edit("--tls-pin", "", "--tls-ca", stranger.CAPath)
	cli.ok("fetch", a.Ref())
	edit("--tls-ca", "")
	fails("tls")
	cli.ok("domain", "add", "example.com", "--allow-invalid-tls")
	testenv.Eventually(t, 20*time.Second, "the domain permits any certificate", func() bool {
		edit("--tls-allow-invalid")
		_, err := cli.run("fetch", a.Ref())
		return err == nil
	})
	cli.ok("domain", "edit", "example.com", "--no-allow-invalid-tls")
	testenv.Eventually(t, 20*time.Second, "it does not any more", func() bool {
		_, err := cli.run("fetch", a.Ref())
		return err != nil
	})
}
