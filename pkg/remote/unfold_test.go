package remote

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What is done in place is what package bytes does: digests are kept for years.
func TestUnfoldAndLower(t *testing.T) {
	t.Parallel()
	pieces := []string{" ", "\t", "\r", "\n", "\v", "\f", "a", "B", "Z", ":", "\x00", "\x7f", "\u0085", "\u00a0", "ä", "Ä", "İ", "\u2003", "\x80", "\xc2"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var s []byte
		for range r.IntN(12) {
			s = append(s, pieces[r.IntN(len(pieces))]...)
		}
		if got, want := unfold(bytes.Clone(s)), bytes.Join(bytes.Fields(s), []byte(" ")); !bytes.Equal(got, want) {
			t.Fatalf("unfold(%q) = %q, want %q", s, got, want)
		}
		if got, want := lower(bytes.Clone(s)), bytes.ToLower(s); !bytes.Equal(got, want) {
			t.Fatalf("lower(%q) = %q, want %q", s, got, want)
		}
	}
}
