package directory

import (
	"slices"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
)

func scanAll(t testing.TB, d *Directory, each func(n int, a account.Account)) []string {
	t.Helper()
	var got []string
	for a, err := range d.Scan(limited(t, 60*time.Second)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Ref())
		if each != nil {
			each(len(got), a)
		}
	}
	slices.Sort(got)
	return got
}

func TestAScanYieldsWhatIsThere(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	if got := scanAll(t, d, nil); len(got) != 0 {
		t.Fatalf("of nothing: %v", got)
	}
	fill(t, d, "m.example", 2*scanned+3)
	gone := create(t, d, "m.example", "removed")
	remove(t, d, gone)
	got := scanAll(t, d, nil)
	if len(got) != 2*scanned+3 || slices.Contains(got, gone.Ref()) {
		t.Fatalf("%d accounts", len(got))
	}
	remove(t, d, create(t, d, "m.example", "last")) // the last record is a tombstone
	if again := scanAll(t, d, nil); !slices.Equal(got, again) {
		t.Fatalf("%d accounts, then %d", len(got), len(again))
	}
}

// What is changed while it goes on is not passed over: the record that was there is gone, the new one comes last.
func TestAScanDoesNotMissWhatIsChanged(t *testing.T) {
	t.Parallel()
	d, _ := newDirectory(t)
	fill(t, d, "m.example", 2*scanned+3)
	last := create(t, d, "m.example", "last")
	got := scanAll(t, d, func(n int, _ account.Account) {
		if n != 1 {
			return
		}
		last.Username = "bob"
		if _, err := d.UpdateAccount(limited(t, 30*time.Second), last); err != nil {
			t.Error(err)
		}
	})
	if len(got) != 2*scanned+4 || !slices.Contains(got, last.Ref()) {
		t.Fatalf("%d accounts", len(got))
	}
}

// A consumer that vanished, and messages that were lost on the way, cost time only.
func TestAScanGoesOn(t *testing.T) {
	t.Parallel()
	d, n := newDirectory(t)
	fill(t, d, "m.example", 3*scanned)
	got := scanAll(t, d, func(i int, _ account.Account) {
		switch i {
		case 1:
			for _, name := range consumers(t, d) {
				if err := d.js.DeleteConsumer(limited(t, 30*time.Second), d.accounts.stream, name); err != nil {
					t.Error(err)
				}
			}
		case scanned + 1:
			for _, name := range consumers(t, d) { // takes what is the scan's
				m, err := n.Conn.Request("$JS.API.CONSUMER.MSG.NEXT."+d.accounts.stream+"."+name, nil, 30*time.Second)
				if err != nil || len(m.Data) == 0 {
					t.Errorf("%v, %v", m, err)
				}
			}
		}
	})
	if len(slices.Compact(slices.Clone(got))) != 3*scanned {
		t.Fatalf("%d accounts", len(got))
	}
}

func consumers(t testing.TB, d *Directory) []string {
	s, err := d.js.Stream(limited(t, 30*time.Second), d.accounts.stream)
	if err != nil {
		t.Error(err)
		return nil
	}
	var names []string
	for name := range s.ConsumerNames(limited(t, 30*time.Second)).Name() {
		names = append(names, name)
	}
	return names
}

func BenchmarkScan(b *testing.B) {
	d, _ := newDirectory(b)
	const n = 20_000
	fill(b, d, "example.com", n)
	for b.Loop() {
		if got := len(scanAll(b, d, nil)); got != n {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "accounts/s")
}
