package maildir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/local/maildir"
)

func TestDestination(t *testing.T) {
	localtest.Run(t, func(t testing.TB) localtest.Instance {
		root := t.TempDir()
		m, err := maildir.New(maildir.Config{Path: root + "/%u/Maildir"})
		if err != nil {
			t.Fatal(err)
		}
		return localtest.Instance{
			Destination: m, Domain: "example.com", Refused: "../../etc@example.com",
			Carry: func(b []byte) []byte { return b },
			Mail: func(t testing.TB, to string) [][]byte {
				return contents(t, filepath.Join(root, to, "Maildir"))
			},
		}
	})
}

// contents returns the messages in new/ and cur/ and fails if something is left in tmp/.
func contents(t testing.TB, dir string) [][]byte {
	t.Helper()
	var out [][]byte
	for _, sub := range []string{"new", "cur"} {
		names, _ := filepath.Glob(filepath.Join(dir, sub, "*"))
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b)
		}
	}
	return out
}
