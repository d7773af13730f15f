package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// tally is what the files of a destination say, against the manifest of what was seeded.
type tally struct {
	seeded, once, missing, doubled, altered, foreign int
}

func (t tally) good() bool { return t.once == t.seeded && t.doubled+t.altered+t.missing+t.foreign == 0 }

// count compares each destination with the seeds: not with mailferry's own report.
func (s *stage) count(boxes []*box) error {
	fmt.Printf("\n   %-26s %-16s %7s %14s %8s %8s %8s\n", "account", "destination", "seeded", "delivered once", "missing", "doubled", "altered")
	bad := false
	for _, b := range boxes {
		t, err := tallyOf(b.destination, b.seeds)
		if err != nil {
			return err
		}
		fmt.Printf("   %-26s %-16s %7d %14d %8d %8d %8d\n", b.account, b.how, t.seeded, t.once, t.missing, t.doubled, t.altered)
		bad = bad || !t.good()
	}
	if bad {
		return errors.New("not every message was delivered exactly once and unchanged")
	}
	return nil
}

var seedID = regexp.MustCompile(`(?m)^X-Seed-Id: (\S+)\r?$`)

// tallyOf reads every message of a Maildir. A message is unchanged if it is the seed with nothing but
// header lines in front of it; LMTP servers keep lines with LF, so line ends are compared as one.
func tallyOf(maildir string, seeds []testenv.Seed) (tally, error) {
	want := map[string][]byte{}
	for _, m := range seeds {
		want[m.ID] = unix(m.Raw)
	}
	t := tally{seeded: len(seeds)}
	seen := map[string]int{}
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(maildir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		for _, e := range entries {
			raw, err := os.ReadFile(filepath.Join(maildir, sub, e.Name()))
			if err != nil {
				return t, err
			}
			id := ""
			if m := seedID.FindSubmatch(raw[:min(len(raw), 64<<10)]); m != nil {
				id = string(m[1])
			}
			original, ok := want[id]
			if !ok {
				t.foreign++
				continue
			}
			seen[id]++
			if !bytes.HasSuffix(unix(raw), original) {
				t.altered++
			}
		}
	}
	for id := range want {
		switch seen[id] {
		case 0:
			t.missing++
		case 1:
			t.once++
		default:
			t.doubled++
		}
	}
	return t, nil
}

func unix(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
