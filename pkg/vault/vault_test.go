package vault_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/vault"
)

func TestSealedIsBoundToItsContext(t *testing.T) {
	t.Parallel()
	v, err := vault.OpenOrCreate(filepath.Join(t.TempDir(), "vault.json"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("hunter2", "account:1")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "hunter2") {
		t.Error("sealed value shows the password")
	}
	if got, err := v.Unseal(sealed, "account:1"); err != nil || got != "hunter2" {
		t.Errorf("Unseal = %q, %v", got, err)
	}
	if _, err := v.Unseal(sealed, "account:2"); fault.KindOf(err) != fault.Internal {
		t.Errorf("opened for another account: %v", err)
	}
}

func TestKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vault.json")
	var wg sync.WaitGroup
	vaults := make([]*vault.Vault, 8)
	for i := range vaults {
		wg.Go(func() { vaults[i], _ = vault.OpenOrCreate(path) })
	}
	wg.Wait()
	sealed, err := vaults[0].Seal("x", "c")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vaults {
		if got, err := v.Unseal(sealed, "c"); err != nil || got != "x" {
			t.Errorf("vault %d: %q, %v", i, got, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestWrongKeyFileIsATypedRefusal(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "{}", `{"keyset":{},"installation_key":"QUJD"}`} {
		if _, err := vault.Parse([]byte(content)); fault.KindOf(err) != fault.Internal {
			t.Errorf("Parse(%q) = %v", content, err)
		}
	}
	a, _ := vault.OpenOrCreate(filepath.Join(t.TempDir(), "a"))
	b, _ := vault.OpenOrCreate(filepath.Join(t.TempDir(), "b"))
	sealed, _ := a.Seal("secret-canary", "c")
	if got, err := b.Unseal(sealed, "c"); err == nil || got != "" {
		t.Errorf("another vault opened it: %q, %v", got, err)
	}
}
