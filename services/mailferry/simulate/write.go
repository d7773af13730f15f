package simulate

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// WriteCSV writes a row for each minute. Columns of a provider end with its name.
func (r *Result) WriteCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	header := []string{
		"minute", "due", "emitted", "coalesced", "overdue", "started", "no_place", "no_share", "failed", "mail",
		"lag_p50_ms", "lag_p99_ms", "lag_max_ms", "queue", "sessions",
	}
	for _, what := range []string{"sessions_", "in_line_"} {
		for _, p := range r.Providers {
			header = append(header, what+p.Name)
		}
	}
	_ = w.Write(header) // Error says it
	for _, m := range r.Minutes {
		var row []string
		for _, n := range []int{
			int(m.At / time.Minute), m.Due, m.Emitted, m.Coalesced, m.Overdue, m.Started, m.Refused, m.HeldBack, m.Failed, m.Mail,
			int(m.P50.Milliseconds()), int(m.P99.Milliseconds()), int(m.Max.Milliseconds()), m.Queue, m.Running,
		} {
			row = append(row, strconv.Itoa(n))
		}
		for _, of := range [][]int{m.Sessions, m.InLine} {
			for _, n := range of {
				row = append(row, strconv.Itoa(n))
			}
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}

// WriteSummary writes what came of it for people.
func (r *Result) WriteSummary(out io.Writer) error {
	t, c, n := r.Total, r.Config, r.Needs()
	seconds := c.Duration.Seconds()
	lines := []string{
		fmt.Sprintf("%s accounts of %s domains for %s: %d workers of %d slots, planners at up to %s jobs a second", grouped(c.Accounts), grouped(c.Domains), brief(c.Duration), c.Workers, c.Slots, grouped(c.Rate)),
		"",
		fmt.Sprintf("sessions   %s, %s a second; %s failed, %s found mail", grouped(t.Started), grouped(int(float64(t.Started)/seconds)), grouped(t.Failed), grouped(t.Mail)),
		fmt.Sprintf("lag        p50 %s, p99 %s, max %s, from when a turn was due to the dial", lag(t.P50), lag(t.P99), lag(t.Max)),
		fmt.Sprintf("missed     %s turns; the most of one account in a row: %d", grouped(t.Missed), t.MissedInARow),
		fmt.Sprintf("waiting    %s accounts at the end, the longest for %s", grouped(t.Unserved), lag(t.Oldest)),
		fmt.Sprintf("put off    %s times no place at the remote host, %s times no share of the slots", grouped(t.Refused), grouped(t.HeldBack)),
		fmt.Sprintf("at most    %s sessions at a time, %s jobs in the queue", grouped(t.Running), grouped(t.Queue)),
		"",
		fmt.Sprintf("%-12s %10s %22s %24s %9s %9s %9s", "provider", "accounts", "sessions of allowed", "logins/min of allowed", "lag p50", "lag p99", "failed"),
	}
	for _, p := range r.Providers {
		lines = append(lines, fmt.Sprintf("%-12s %10s %22s %24s %9s %9s %9s", p.Name, grouped(p.Accounts), used(p.Sessions, p.SessionsAllowed), used(p.Logins, p.LoginsAllowed),
			lag(p.P50), lag(p.P99), grouped(p.Failed)))
	}
	lines = append(lines, "",
		"what the busiest minute takes, at the costs that docs/capacity.md measured:",
		fmt.Sprintf("planners   %d, one of them spare: %.2f of a processor in all", n.Planners, n.PlannerProcessors),
		fmt.Sprintf("workers    %d of %d slots: %s sessions at a time, and a fifth to spare", n.Workers, c.Slots, grouped(n.Slots)),
		fmt.Sprintf("processors %.1f for polls, with what they cost in Redis and NATS, without delivery", n.PollProcessors),
		fmt.Sprintf("Redis      %s MB for planning, beside the UID indexes", grouped(n.RedisBytes>>20)),
	)
	for _, l := range lines {
		if _, err := fmt.Fprintln(out, l); err != nil {
			return err
		}
	}
	return nil
}

// used is how much of what is allowed was used.
func used(n, of int) string {
	if of == 0 {
		return grouped(n)
	}
	return fmt.Sprintf("%s of %s (%d%%)", grouped(n), grouped(of), 100*n/of)
}

// grouped writes a number with a comma before each three digits.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// lag writes a wait as short as is of use.
func lag(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// brief writes a duration of whole minutes.
func brief(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + " d"
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/time.Minute)) + " min"
}
