package directory_test

import (
	"testing"

	"github.com/mailferry/mailferry/pkg/directory"
)

func TestCaps(t *testing.T) {
	t.Parallel()
	fleet := directory.Caps{Runs: 5, JobsPerMinute: 60, OctetsPerDay: 5e9}
	got := directory.Caps{Runs: 2, JobsPerMinute: -1, Accounts: -1, OctetsPerDay: -1}.Or(fleet)
	if want := (directory.Caps{Runs: 2}); got != want {
		t.Errorf("%+v", got)
	}
	if got := (directory.Caps{}).Or(fleet); got != fleet {
		t.Errorf("%+v", got)
	}
	for _, c := range []directory.Caps{{Runs: -2}, {JobsPerMinute: 1_000_001}, {Accounts: -2}, {OctetsPerDay: -2}, {OctetsPerDay: 1 << 53}} {
		if c.Validate(-1) == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	if (directory.Caps{Runs: -1}).Validate(0) == nil || (directory.Domain{Caps: directory.Caps{Runs: -1}}).ValidateCaps() != nil ||
		(directory.Domain{Weight: -1}).ValidateCaps() == nil {
		t.Error("-1 is for domains, and not a weight")
	}
}
