package imap_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestStreamAsksAhead: what more returns is asked for before the answers to what was asked before have come.
func TestStreamAsksAhead(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, listed+"C? T3 UID FETCH 5 (UID \nC? T4 UID FETCH 6 (UID \n"+five+"S: T3 OK done\n"+
		"C? T5 UID FETCH 9 (UID \n"+six+"S: T4 OK done\n"+nine+"S: T5 OK done\n")
	s := session(t, brief(dialer(nil)), local(script.Port))
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := l.Items[1:]
	more := func() []remote.Item {
		next := left[:min(1, len(left))]
		left = left[len(next):]
		return next
	}
	var got []string
	err = s.Stream(t.Context(), l.Items[:1], more, func(f remote.Fetched) error {
		got = append(got, outcome(f))
		return nil
	})
	if want := "abc def ghi"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	wholly(t, script)
}
