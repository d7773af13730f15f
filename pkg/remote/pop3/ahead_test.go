package pop3_test

import (
	"io"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// TestStreamAsksAhead: what more returns is asked for before the answers to what was asked before have come. An item
// without a number is told of and asked for nowhere.
func TestStreamAsksAhead(t *testing.T) {
	t.Parallel()
	s := signIn(t, signedIn("PIPELINING")+"C: RETR 1\nC: RETR 2\nC: RETR 3\nS: +OK\nS: one\nS: .\nS: +OK\nS: two\nS: .\nS: +OK\nS: three\nS: .\n",
		remote.Limits{})
	batches := [][]remote.Item{{{Number: 2}, {}}, {{Number: 3}}}
	more := func() (next []remote.Item) {
		if len(batches) > 0 {
			next, batches = batches[0], batches[1:]
		}
		return next
	}
	var got []string
	err := s.Stream(t.Context(), []remote.Item{{Number: 1}}, more, func(f remote.Fetched) error {
		if f.Err != nil {
			got = append(got, fault.KindOf(f.Err).String())
			return nil
		}
		b, err := io.ReadAll(f.Body)
		got = append(got, strings.TrimSpace(string(b)))
		return err
	})
	if want := "internal one two three"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
