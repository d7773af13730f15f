package maildir_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/local/maildir"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m, err := maildir.New(maildir.Config{Path: root + "/%u/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	localtest.Identity(t, localtest.Instance{
		Destination: m, Domain: "example.com", Carry: bytes.Clone,
		Mail: func(t testing.TB, to string) [][]byte { return contents(t, filepath.Join(root, to, "Maildir")) },
	}, 1000)
}
