package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// DovecotSieve runs scripts over what is delivered by LMTP, one after the other (RFC 5228). It needs the package
// dovecot-sieve.
func DovecotSieve(t testing.TB, scripts ...string) DovecotOption {
	t.Helper()
	dir := TempDir(t)
	if err := os.Chmod(dir, 0o777); err != nil { // for the compiled scripts
		t.Fatal(err)
	}
	var before strings.Builder
	for i, script := range scripts {
		path := filepath.Join(dir, fmt.Sprintf("%d.sieve", i+1))
		if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
		name := "sieve_before"
		if i > 0 {
			name += fmt.Sprint(i + 1)
		}
		fmt.Fprintf(&before, "  %s = %s\n", name, path)
	}
	return DovecotExtra("protocol lmtp {\n  mail_plugins = $mail_plugins sieve\n}\nplugin {\n" + before.String() +
		"}\nlda_mailbox_autocreate = yes")
}
