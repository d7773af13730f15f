package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/testenv/issuer"
)

// consents is a house with three workers whose accounts sign in with tokens of a provider, at one Dovecot that
// takes them by XOAUTH2 and at one that takes them by OAUTHBEARER.
type consents struct {
	*house
	op      *issuer.Issuer
	s       *sink
	cli     *client
	remotes map[string]*testenv.Dovecot // by mechanism
}

func newConsents(t *testing.T) *consents {
	t.Helper()
	acquire(t)
	addr := freeAddr(t)
	c := &consents{op: issuer.New(t, "http://"+addr+"/oauth/callback"), s: newSink(t), remotes: map[string]*testenv.Dovecot{}}
	for _, m := range []string{"xoauth2", "oauthbearer"} {
		c.remotes[m] = testenv.NewDovecot(t, testenv.DovecotTokens(c.op.IntrospectionURL, m))
	}
	c.house = newHouse(t, nil)
	c.destination(c.s.destination())
	providers, authorities := filepath.Join(c.dir, "providers.yaml"), filepath.Join(c.dir, "ca.pem")
	var ca []byte
	for _, d := range c.remotes {
		pem, err := os.ReadFile(d.CAPath)
		if err != nil {
			t.Fatal(err)
		}
		ca = append(ca, pem...)
	}
	own := fmt.Sprintf("providers:\n- {name: own, client-id: %s, client-secret: %s, issuer: %q, scopes: [openid, email, offline_access]}\n",
		issuer.ClientID, issuer.ClientSecret, c.op.URL)
	for file, content := range map[string][]byte{providers: []byte(own), authorities: ca} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--oauth-file", providers, "--oauth-public-url", "http://" + addr, "--oauth-egress-allow", "127.0.0.0/8,::1/128"}
	for range 3 {
		c.startWith("worker", append([]string{"--remote-ca", authorities}, flags...))
	}
	c.start("delivery")
	c.start("planner") // it keeps the states of accounts
	c.cli = c.controlAt(addr, flags...)
	return c
}

// owned adds an account of an owner with one message, who signs in with a token.
func (c *consents) owned(mechanism string, p account.Protocol) account.Account {
	c.t.Helper()
	d, name := c.remotes[mechanism], mechanism+"-"+string(p)
	c.letter(mechanism, name)
	port := d.POP3Port
	if p == account.IMAP {
		port = d.IMAPPort
	}
	return c.add(account.Account{Name: name, Protocol: p, Host: fmt.Sprintf("%s:%d", d.Host, port), After: account.Delete}, "unused",
		func(a *account.Account) { a.Auth, a.OAuthProvider = account.OAuth2, "own" })
}

// letter puts one message into the mailbox.
func (c *consents) letter(mechanism, user string) {
	c.remotes[mechanism].Append(user, fmt.Appendf(nil, "Message-ID: <%d@test>\r\nSubject: letter\r\n\r\ntext\r\n", time.Now().UnixNano()))
}

// consent runs 'account consent' while the owner does what it says: follows the link or enters the code.
func (c *consents) consent(a account.Account, flags ...string) {
	c.t.Helper()
	cmd := exec.Command(binary, append([]string{"account", "consent", a.Ref()}, flags...)...)
	cmd.Env = c.cli.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch value = strings.TrimSpace(value); {
		case what == "enter":
			c.op.Enter(c.t, value, a.Username)
		case what == "open" && len(flags) == 0:
			resp, err := http.Get(c.op.Browse(c.t, value, a.Username).String())
			if err != nil {
				c.t.Fatal(err)
			}
			page, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(page), "Thank you.") {
				c.t.Fatalf("the owner comes back: %s %s", resp.Status, page)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(strings.Join(said, "\n"), "consent is given") {
		c.t.Fatalf("account consent %v: %v\n%s", flags, err, strings.Join(said, "\n"))
	}
}

// lapse ends the cached access token, as time does.
func (c *consents) lapse(a account.Account) {
	c.t.Helper()
	if n, err := c.redis.Client.Del(c.t.Context(), "ferry:oauth:{"+a.UID+"}:token").Result(); err != nil || n != 1 {
		c.t.Fatal("no token of ", a.Ref(), " is kept: ", err)
	}
}

// needed says that a fetch of the account ends with consent-needed, and that its state says so.
func (c *consents) needed(a account.Account) {
	c.t.Helper()
	testenv.Eventually(c.t, time.Minute, "the state of "+a.Name+" is consent-needed", func() bool { // once the planner knows it
		if out, err := c.cli.run("fetch", a.Ref()); err == nil || !strings.Contains(out, "[consent-needed]") || !strings.Contains(out, "account consent") {
			c.t.Fatalf("fetch of %s without consent: %v\n%s", a.Name, err, out)
		}
		return strings.Contains(c.cli.ok("account", "show", a.Ref()), "consent-needed")
	})
}

// ran returns the workers and mechanisms of the account's last runs.
func (c *consents) ran(a account.Account, last int) (workers, mechanisms map[string]bool) {
	c.t.Helper()
	workers, mechanisms = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(c.cli.ok("runs", a.Ref(), "--json", "-n", strconv.Itoa(last))) {
		var r struct{ Worker, Mechanism string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			c.t.Fatal(err)
		}
		workers[r.Worker] = true
		if r.Mechanism != "" {
			mechanisms[r.Mechanism] = true
		}
	}
	return workers, mechanisms
}

// TestOAuth2 collects with tokens by XOAUTH2 and OAUTHBEARER: one new one for all three workers when it has ended,
// none after the consent was revoked, and again after a new one.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	c := newConsents(t)
	for mechanism := range c.remotes {
		for _, p := range both {
			a := c.owned(mechanism, p)
			c.needed(a)
			c.consent(a)
			c.arrives(a, 1)
			c.oneRefresh(mechanism, a)
			if p == account.POP3 {
				c.revokedAndGivenAgain(mechanism, a)
			} else {
				c.revokedAndGivenAgain(mechanism, a, "--device")
			}
		}
	}
}

// arrives waits until n messages of the account are at its destination.
func (c *consents) arrives(a account.Account, n int) {
	c.t.Helper()
	testenv.Eventually(c.t, time.Minute, fmt.Sprintf("message %d of %s arrives", n, a.Name), func() bool {
		return len(c.s.all(a.ForwardTo)) == n && c.idle(a)
	})
}

// oneRefresh has each of the three workers fetch with the token that one of them was given, and once more with the
// next: that needs the refresh token which came with the first.
func (c *consents) oneRefresh(mechanism string, a account.Account) {
	c.t.Helper()
	before, got := c.op.Refreshes(), len(c.s.all(a.ForwardTo))
	c.lapse(a)
	runs := 0
	for workers := 0; workers < 3; {
		c.letter(mechanism, a.Username)
		c.cli.ok("fetch", a.Ref())
		runs++
		c.arrives(a, got+runs)
		by, mechanisms := c.ran(a, runs)
		if len(mechanisms) != 1 || !mechanisms[strings.ToUpper(mechanism)] {
			c.t.Fatalf("%s signs in by %v", a.Name, mechanisms)
		}
		if workers = len(by); runs == 50 {
			c.t.Fatalf("50 runs by %v", by)
		}
	}
	if n := c.op.Refreshes() - before; n != 1 {
		c.t.Errorf("%s: %d refreshes in %d runs of three workers, want 1", a.Name, n, runs)
	}
	c.lapse(a)
	c.cli.ok("fetch", a.Ref())
	if n := c.op.Refreshes() - before; n != 2 {
		c.t.Errorf("%s: %d refreshes for two tokens", a.Name, n)
	}
}

// revokedAndGivenAgain ends the consent at the provider: the token that is kept is refused once, the provider is
// asked once, and nothing is fetched until the owner gives it again.
func (c *consents) revokedAndGivenAgain(mechanism string, a account.Account, flags ...string) {
	c.t.Helper()
	before, got := c.op.Refreshes(), len(c.s.all(a.ForwardTo))
	c.op.Revoke(c.t, a.Username)
	if out, err := c.cli.run("fetch", a.Ref()); err == nil || !strings.Contains(out, "[auth]") {
		c.t.Errorf("fetch with a revoked token: %v\n%s", err, out)
	}
	c.needed(a)
	c.needed(a)
	if n := c.op.Refreshes() - before; n != 1 {
		c.t.Errorf("%s: the provider was asked %d times, want 1", a.Name, n)
	}
	c.letter(mechanism, a.Username)
	c.consent(a, flags...)
	c.arrives(a, got+1)
}
