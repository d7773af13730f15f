package account_test

import (
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestParseOctets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "500000": 500_000, "64kB": 64_000, " 10 mb ": 10e6, "2GB": 2e9, "1TB": 1e12, "9007199254740992": 1 << 53} {
		if got, err := account.ParseOctets(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5GB", "5KiB", "9008TB", "9007199254740993", "B", "10 MBkB"} {
		if got, err := account.ParseOctets(bad); err == nil {
			t.Errorf("%q is taken as %d", bad, got)
		}
	}
}
