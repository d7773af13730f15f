package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestOctetsOfADay has a limit of a domain, or of a host, that is reached in the middle of a run: the run ends at a message and what
// it has is delivered, other accounts are not run, all are due after midnight, and what is left comes when the limit lets it.
func TestOctetsOfADay(t *testing.T) {
	t.Parallel()
	if time.Until(midnight()) < 5*time.Minute {
		t.Skip("the day ends")
	}
	for _, proto := range both {
		t.Run(string(proto), func(t *testing.T) {
			t.Parallel()
			acquire(t)
			p := &policies{house: newHouse(t, testenv.NewDovecot(t)), s: newSink(t)}
			domain, what := directory.Domain{Name: "example.com", Caps: directory.Caps{OctetsPerDay: 35_000}}, "domain example.com"
			free := []string{"domain", "edit", domain.Name, "--max-bytes-per-day=-1"}
			_, err := p.book.UpdateSettings(t.Context(), func(s *directory.Settings) error {
				s.Destination, s.Interval = p.s.destination(), 24*time.Hour
				if proto == account.IMAP {
					domain.Caps.OctetsPerDay, what = 0, p.remote.Host
					s.Budgets = account.Budgets(p.remote.Host + "=0/0/35kB")
					free = []string{"settings", "set", "budgets="}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.book.PutDomain(t.Context(), domain); err != nil {
				t.Fatal(err)
			}
			p.startWith("worker", []string{"--batch", "2"})
			p.start("delivery")
			p.start("planner")
			p.cli = p.control()
			p.octetsOfADay(proto, what, free)
		})
	}
}

func midnight() time.Time { return time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) }

func (p *policies) octetsOfADay(proto account.Protocol, what string, free []string) {
	t := p.t
	const n = 8
	var accounts []account.Account
	for _, name := range []string{"first", "second"} {
		p.fill(name, n, 10_000)
		accounts = append(accounts, p.account(name, name, proto, account.Delete))
	}
	p.planned(accounts)
	for i, most := range []int{4, 0} { // the fourth message passes the limit
		a := accounts[i]
		out, err := p.cli.run("fetch", a.Ref())
		if err == nil || !strings.Contains(out, what+": all that may be fetched in a day (35000 octets) is fetched") {
			t.Fatalf("%s: %v, %s", a.Ref(), err, out)
		}
		testenv.Eventually(t, 30*time.Second, "what was fetched is delivered", func() bool { return p.got(a) == most })
		if left := strings.Fields(p.left(a.Username)); len(left) != n-most {
			t.Errorf("%s: %d are left at the server, want %d", a.Ref(), len(left), n-most)
		}
		e, at, err := p.due.Get(t.Context(), a.UID)
		if err != nil || e.Kind != fault.Throttled || e.Failures != 0 || e.NotBefore.Before(midnight()) || at.Before(midnight()) {
			t.Errorf("%s: %+v, due at %v, %v", a.Ref(), e.State, at, err)
		}
	}
	if out := p.cli.ok("account", "show", accounts[1].Ref()); !strings.Contains(out, "all that may be fetched in a day") {
		t.Error(out)
	}
	p.cli.ok(free...)
	first := accounts[0]
	testenv.Eventually(t, 30*time.Second, "the limit is gone, and the rest comes", func() bool {
		_, err := p.cli.run("fetch", first.Ref())
		return err == nil && p.got(first) == n && p.left(first.Username) == ""
	})
	if e, _, err := p.due.Get(t.Context(), first.UID); err != nil || !e.NotBefore.IsZero() {
		t.Errorf("%+v, %v", e.State, err)
	}
}
