package simulate

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/due"
)

// TestQuantiles compares with a sorted list.
func TestQuantiles(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, most := range []uint32{1, 100, 5000, 10_000_000, 1<<32 - 1} {
		var l, half, rest lags
		all := make([]uint32, 1+r.IntN(3000))
		for i := range all {
			all[i] = r.Uint32N(most)
			if i%2 == 0 {
				half.add(all[i])
			} else {
				rest.add(all[i])
			}
		}
		l.merge(&half)
		l.merge(&rest)
		slices.Sort(all)
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
			want := ms(all[max(0, int(q*float64(len(all))+0.9999999)-1)])
			if got := l.quantile(q); got < want || got > want+want/60 {
				t.Errorf("%v of %d below %d: %v, want %v", q, len(all), most, got, want)
			}
		}
	}
	var none lags
	if none.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
}

// TestEndsComeInOrder pops what was pushed, sorted.
func TestEndsComeInOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 3))
	var h ends
	var want, got []end
	for i := range 3000 {
		e := end{at: r.Uint32N(500), account: uint32(i)}
		h.push(e)
		want = append(want, e)
	}
	for len(h) > 0 {
		got = append(got, h.pop())
	}
	slices.SortFunc(want, func(a, b end) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.account, b.account)) })
	if !slices.Equal(got, want) {
		t.Error("out of order")
	}
}

// TestRing compares with a slice.
func TestRing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 4))
	var q ring
	var twin []uint32
	for i := range 20_000 {
		if len(twin) == 0 || r.IntN(2) == 0 {
			q.push(uint32(i))
			twin = append(twin, uint32(i))
		} else if got := q.pop(); got != twin[0] {
			t.Fatalf("%d, want %d", got, twin[0])
		} else {
			twin = twin[1:]
		}
		if q.size != len(twin) {
			t.Fatalf("%d in it, want %d", q.size, len(twin))
		}
	}
}

// TestWheel moves accounts about, and holds it against the plain definition: due is who has a time that has come, and who came
// due first is taken first.
func TestWheel(t *testing.T) {
	t.Parallel()
	const tick, until = 250, 100_000
	r := rand.New(rand.NewPCG(1, 5))
	w := newWheel(make([]acct, 300), tick, until)
	for i := range w.accts {
		w.accts[i].shard = uint8(r.IntN(3))
	}
	for w.done*tick < until {
		for range r.IntN(40) {
			i := uint32(r.IntN(len(w.accts)))
			w.set(i, []uint32{0, 1 + r.Uint32N(2*until), w.done*tick + r.Uint32N(2000), w.done * tick}[r.IntN(4)])
		}
		w.turn()
		now, dueNow := w.done*tick, 0
		for i := range w.accts {
			if at := w.accts[i].at; at != 0 && at <= now {
				dueNow++
			}
		}
		if w.left != dueNow {
			t.Fatalf("%d are due at %d, want %d", w.left, now, dueNow)
		}
		for range r.IntN(4) {
			shard := r.IntN(due.Shards) % 3
			i, ok := w.take(shard)
			if !ok {
				break
			}
			if a := w.accts[i]; int(a.shard) != shard || a.at == 0 || a.at > now {
				t.Fatalf("taken: %+v at %d", a, now)
			}
			w.set(i, now+1+r.Uint32N(5000))
		}
	}
}

func TestProvidersSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "EOF",
		"providers: []":                     "want 1 to 32",
		"providers: [{name: a, shares: 1}]": "shares",
		"providers: [{name: A, share: 1, session: {p50: 1s}}]":                                          "want a name",
		"providers: [{name: a, session: {p50: 1s}}]":                                                    "want a share",
		"providers: [{name: a, share: .nan, session: {p50: 1s}}]":                                       "want a share",
		"providers: [{name: a, share: 1}]":                                                              "want a session",
		"providers: [{name: a, share: 1, session: {p50: 2s, p95: 1s}}]":                                 "want a session",
		"providers: [{name: a, share: 1, session: {p50: 2s}, mail_percent: 101}]":                       "mail_percent",
		"providers: [{name: a, share: 1, session: {p50: 2s}, sessions: -1}]":                            "sessions",
		"providers: [{name: a, share: 1, session: {p50: 2s}, outages: [{from: 2h, to: 1h}]}]":           "outages",
		"providers: [{name: a, share: 1, session: {p50: 2s}, hosts: 70000}]":                            "hosts",
		"providers: [{name: a, share: 1, session: {p50: 2s}}, {name: a, share: 1, session: {p50: 2s}}]": "twice",
	} {
		if _, err := ReadProviders([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	got, err := ReadProviders([]byte("providers: [{name: a, share: 1, session: {p50: 2s}, outages: [{from: 0s, to: 1h}]}]"))
	if err != nil || got[0].Hosts != 1 || *got[0].Sessions != 200 || *got[0].LoginsPerMinute != 6000 || got[0].Session.P95 != 2*time.Second || got[0].Outages[0].Fault != outageRefused {
		t.Errorf("%+v %v", got, err)
	}
}

// TestLengthsAreAsSaid looks at the median and the 95th of the table.
func TestLengthsAreAsSaid(t *testing.T) {
	t.Parallel()
	p := Provider{Session: Lengths{400 * time.Millisecond, 1500 * time.Millisecond}}
	l := p.table()
	if got := l[lengths/2]; got < 398 || got > 402 {
		t.Errorf("p50 %d", got)
	}
	if got := l[lengths*95/100]; got < 1480 || got > 1520 {
		t.Errorf("p95 %d", got)
	}
}
