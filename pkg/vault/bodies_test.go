package vault_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/vault"
)

func bodies(t testing.TB, files ...string) []*vault.Bodies {
	t.Helper()
	var all []*vault.Bodies
	for _, f := range files {
		v, err := vault.OpenOrCreate(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := v.Bodies()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func content(n int) []byte {
	b := make([]byte, n)
	for r := rand.New(rand.NewPCG(1, uint64(n))); len(b) > 0 && n > 0; n-- {
		b[n-1] = byte(r.Uint32())
	}
	return b
}

var sizes = []int{0, 1, 16_300, 16_328, 16_329, 16_368, 32_696, 32_697, 65_536, 300_000}

func TestBodyOpensWithItsKeyAndContextAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bodies(t, filepath.Join(dir, "k"), filepath.Join(dir, "k"), filepath.Join(dir, "other"))
	for _, n := range sizes {
		sealed := b[0].Seal(append(make([]byte, vault.NonceRoom), content(n)...), "a/1")
		if got, err := b[1].Open(sealed, b[0].Key(), "a/1"); err != nil || !bytes.Equal(got, content(n)) {
			t.Fatalf("%d octets: another process reads %d, %v", n, len(got), err)
		}
		if n > 16 && bytes.Contains(sealed, content(n)[:16]) {
			t.Errorf("%d octets: they are readable", n)
		}
		for why, open := range map[string]func() ([]byte, error){
			"context":  func() ([]byte, error) { return b[1].Open(sealed, b[0].Key(), "a/2") },
			"key file": func() ([]byte, error) { return b[2].Open(sealed, b[0].Key(), "a/1") },
			"key":      func() ([]byte, error) { return b[1].Open(sealed, b[1].Key(), "a/1") },
			"no key":   func() ([]byte, error) { return b[1].Open(sealed, nil, "a/1") },
			"short":    func() ([]byte, error) { return b[1].Open(sealed[:len(sealed)-1], b[0].Key(), "a/1") },
			"shorter":  func() ([]byte, error) { return b[1].Open(sealed[:3], b[0].Key(), "a/1") },
		} {
			if got, err := open(); fault.KindOf(err) != fault.Internal || got != nil {
				t.Errorf("%d octets opened in spite of another %s: %v", n, why, err)
			}
		}
	}
}

func TestStreamOpensWithItsKeyAndContextAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bodies(t, filepath.Join(dir, "k"), filepath.Join(dir, "k"), filepath.Join(dir, "other"))
	for _, n := range sizes {
		r, err := b[0].SealStream(iotest.HalfReader(bytes.NewReader(content(n))), "a/1")
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := io.ReadAll(r)
		if err != nil || int64(len(sealed)) != vault.StreamSize(int64(n)) {
			t.Fatalf("%d octets: sealed %d, StreamSize says %d, %v", n, len(sealed), vault.StreamSize(int64(n)), err)
		}
		open := func(by *vault.Bodies, in []byte, key []byte, context string) ([]byte, error) {
			r, err := by.OpenStream(iotest.OneByteReader(bytes.NewReader(in)), key, context)
			if err != nil {
				return nil, err
			}
			return io.ReadAll(r)
		}
		if got, err := open(b[1], sealed, b[0].Key(), "a/1"); err != nil || !bytes.Equal(got, content(n)) {
			t.Fatalf("%d octets: another process reads %d, %v", n, len(got), err)
		}
		for why, err := range map[string]error{
			"context":  second(open(b[1], sealed, b[0].Key(), "a/2")),
			"key file": second(open(b[2], sealed, b[0].Key(), "a/1")),
			"end":      second(open(b[1], sealed[:len(sealed)-1], b[0].Key(), "a/1")),
			"head":     second(open(b[1], sealed[:9], b[0].Key(), "a/1")),
		} {
			if fault.KindOf(err) != fault.Internal {
				t.Errorf("%d octets opened in spite of another %s: %v", n, why, err)
			}
		}
	}
}

func second(_ []byte, err error) error { return err }

func TestErrorsOfTheSourceAreThoseOfTheStream(t *testing.T) {
	t.Parallel()
	b := bodies(t, filepath.Join(t.TempDir(), "k"))[0]
	lost := errors.New("connection lost")
	for _, n := range sizes {
		r, err := b.SealStream(io.MultiReader(bytes.NewReader(content(n)), iotest.ErrReader(lost)), "c")
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(r)
		if !errors.Is(err, lost) {
			t.Errorf("%d octets sealed: %v", n, err)
		}
		plain, err := b.OpenStream(io.MultiReader(bytes.NewReader(part), iotest.ErrReader(lost)), b.Key(), "c")
		if err == nil {
			_, err = io.ReadAll(plain)
		}
		if !errors.Is(err, lost) {
			t.Errorf("%d octets opened: %v", n, err)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	s := bodies(b, filepath.Join(b.TempDir(), "k"))[0]
	for name, n := range map[string]int{"2k": 2 << 10, "500k": 500 << 10} {
		b.Run(name, func(b *testing.B) {
			key := s.Key()
			buf := make([]byte, vault.NonceRoom+n, vault.NonceRoom+n+vault.TagRoom)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				if _, err := s.Open(s.Seal(buf, "c"), key, "c"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
