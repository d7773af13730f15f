package directory

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limited(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newDirectory(t testing.TB) (*Directory, *testenv.NATS) {
	t.Helper()
	n := testenv.NewNATS(t)
	d, err := Open(limited(t, 30*time.Second), n.JS, Config{Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	return d, n
}

func acc(domain, name string) account.Account {
	return account.Account{
		Domain: domain, Name: name, Active: true, Protocol: account.POP3, Host: "pop.example.net", Username: "alice",
		SealedPassword: []byte("sealed"), CredentialVersion: 1, TLS: account.Detect, ForwardTo: "alice@example.com",
		Interval: 5 * time.Minute, After: account.Leave, OnIndexLoss: account.Recollect,
	}
}

func create(t testing.TB, d *Directory, domain, name string) account.Account {
	t.Helper()
	a, err := d.CreateAccount(limited(t, 30*time.Second), acc(domain, name))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func remove(t testing.TB, d *Directory, a account.Account) {
	t.Helper()
	if err := d.DeleteAccount(limited(t, 30*time.Second), a.Domain, a.Name, a.Revision); err != nil {
		t.Fatal(err)
	}
}

// wipe restarts the server with an emptied store.
func wipe(t testing.TB, n *testenv.NATS) {
	t.Helper()
	n.Stop()
	if err := os.RemoveAll(filepath.Join(n.StoreDir(), "jetstream")); err != nil {
		t.Fatal(err)
	}
	n.Start()
}
