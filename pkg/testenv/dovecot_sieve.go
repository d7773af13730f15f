package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// DovecotSieve runs a script over what is delivered by LMTP, before any of the user's own (RFC 5228). It needs the
// package dovecot-sieve.
func DovecotSieve(t testing.TB, script string) DovecotOption {
	t.Helper()
	path := filepath.Join(TempDir(t), "before.sieve")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil { // for the compiled script
		t.Fatal(err)
	}
	return DovecotExtra("protocol lmtp {\n  mail_plugins = $mail_plugins sieve\n}\nplugin {\n  sieve_before = " + path +
		"\n}\nlda_mailbox_autocreate = yes")
}
