package notice

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// TestDecide plays the runs of an account, one after the other, and writes down what is told after which.
func TestDecide(t *testing.T) {
	t.Parallel()
	type run struct {
		kind    fault.Kind
		after   time.Duration // since the run before
		skipped int64
		edit    bool // the account was edited before it: its failures begin anew
	}
	times := func(n int, r run) []run {
		var out []run
		for range n {
			out = append(out, r)
		}
		return out
	}
	join := func(parts ...[]run) (out []run) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	m := time.Minute
	well := []run{{kind: fault.None, after: m}}
	tests := map[string]struct {
		runs []run
		want string // number of the run, and what is told after it
	}{
		"never fails":                   {times(9, well[0]), ""},
		"a slip":                        {join(times(2, run{kind: fault.Auth, after: m}), well), ""},
		"a wrong password":              {join(times(9, run{kind: fault.Auth, after: m}), well, well), "3 failing, 10 recovered"},
		"fails again":                   {join(times(3, run{kind: fault.Auth, after: m}), well, times(3, run{kind: fault.Auth, after: m}), well), "3 failing, 4 recovered, 7 failing, 8 recovered"},
		"edited, and still wrong":       {join(times(4, run{kind: fault.Auth, after: m}), []run{{kind: fault.Auth, after: m, edit: true}}, times(5, run{kind: fault.Auth, after: m})), "3 failing"},
		"edited, and right":             {join(times(3, run{kind: fault.Auth, after: m}), []run{{kind: fault.None, after: m, edit: true}}), "3 failing, 4 recovered"},
		"a server that is down":         {join(times(9, run{kind: fault.Refused, after: m}), well), "6 failing, 10 recovered"},
		"fails seldom, for long":        {join(times(4, run{kind: fault.Timeout, after: 70 * m}), well), "3 failing, 5 recovered"},
		"one failure after a long time": {[]run{{kind: fault.Timeout, after: 24 * time.Hour}}, ""},
		"throttled does not count":      {times(30, run{kind: fault.Throttled, after: 30 * m}), ""},
		"in use does not recover":       {join(times(3, run{kind: fault.Auth, after: m}), times(3, run{kind: fault.InUse, after: m}), well), "3 failing, 7 recovered"},
		"consent":                       {join(times(3, run{kind: fault.ConsentNeeded, after: m}), well), "1 consent-needed, 4 recovered"},
		"the remote is full":            {join(times(3, run{kind: fault.RemoteQuota, after: m}), well), "1 over-quota, 4 recovered"},
		"the destination is full":       {join(times(3, run{kind: fault.DestinationQuota, after: m}), well), "1 over-quota, 4 recovered"},
		"worse by turns": {join(times(6, run{kind: fault.Network, after: m}), []run{{kind: fault.RemoteQuota, after: m}, {kind: fault.TLS, after: m}, {kind: fault.Network, after: m},
			{kind: fault.ConsentNeeded, after: m}, {kind: fault.TLS, after: m}, {kind: fault.RemoteQuota, after: m}}, well), "6 failing, 7 over-quota, 8 failing, 10 consent-needed, 13 recovered"},
		"too large": {[]run{{skipped: 2, after: m}, {skipped: 1, after: m}, {after: m}, {skipped: 3, after: 25 * time.Hour}}, "1 oversize-skipped, 4 oversize-skipped"},
		"too large and failing": {join([]run{{skipped: 2, after: m}}, times(3, run{kind: fault.Auth, after: m}), []run{{skipped: 1, after: m}}, []run{{skipped: 1, after: 24 * time.Hour}}),
			"1 oversize-skipped, 4 failing, 5 recovered, 6 oversize-skipped"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told Told
			var got []string
			ids := map[string]bool{}
			now, failures, since := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC), 0, time.Time{}
			for i, r := range tt.runs {
				now = now.Add(r.after)
				if r.edit {
					failures, since = 0, time.Time{}
				}
				switch {
				case r.kind == fault.None:
					failures, since = 0, time.Time{}
				case r.kind.Verdict().Counts:
					if failures++; since.IsZero() {
						since = now
					}
				}
				in := Run{ID: fmt.Sprint("run-", i), Account: "uid", At: now, Kind: r.kind, Failures: failures, Since: since, Skipped: r.skipped}
				next, events := Decide(told, in, Rules{})
				again, same := Decide(told, in, Rules{}) // whoever died before he noted it says the same
				if again != next || len(events) != len(same) {
					t.Fatalf("run %d: %+v and %+v", i+1, next, again)
				}
				for j, e := range events {
					got = append(got, fmt.Sprint(i+1, " ", e.Type))
					if same[j] != e || ids[e.ID] || !strings.HasPrefix(e.ID, "ntc_") || e.Since.IsZero() {
						t.Errorf("run %d: event %+v, decided again %+v, known %v", i+1, e, same[j], ids[e.ID])
					}
					ids[e.ID] = true
				}
				told = ParseTold(next.String())
				if told.String() != next.String() {
					t.Fatalf("%q is kept as %q", next.String(), told.String())
				}
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("told\n%s, want\n%s", s, tt.want)
			}
		})
	}
}

func TestParseTold(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "failing", "failing|x|1|2", "failing|1|x|2", "failing|1|1|x", "a|1|2|3|4"} {
		if got := ParseTold(s); got != (Told{}) {
			t.Errorf("%q is %+v", s, got)
		}
	}
}
