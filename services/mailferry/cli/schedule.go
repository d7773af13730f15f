package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// scheduleHelp shows entries of a schedule.
const scheduleHelp = `An entry of a schedule is one of
  every 5m                        every five minutes
  every 1h mon-fri 08:00-18:00    on these days, between these times; 22:00-06:00 ends on the next day
  adaptive 1m..1h                 every minute while there is mail, and twice as long after each run that found none, to an hour
  at 06:30 day 1,15               once, on these days of the month
  cron 30 6 * * 1-5               the five fields of a crontab
  off                             never by itself; 'off every 5m' keeps an entry without its effect
Starts of an interval are spread over it, those of a time of day over its minute. A time of day that a day does not have,
since clocks go forward, is the first instant after the gap; one that it has twice counts once, the first time.`

// Calendar is a schedule in place of an interval.
type Calendar struct {
	Schedule []string `placeholder:"ENTRY" sep:"none" group:"policy" help:"Run by the calendar: \"every 1h mon-fri 08:00-18:00\", \"adaptive 1m..1h\", \"at 06:30\", \"cron 30 6 * * 1-5\", \"off\"; may be repeated ('mailferry schedule explain --help'). Empty: the schedule that holds otherwise."`
	TimeZone *string  `placeholder:"ZONE" group:"policy" help:"Time zone of schedules, as Europe/Berlin. Empty: the one that holds otherwise."`
}

func (c *Calendar) named() bool { return len(c.Schedule) > 0 || c.TimeZone != nil }

// apply writes what was named into a schedule.
func (c *Calendar) apply(t *schedule.Text) {
	if len(c.Schedule) > 0 {
		t.Entries = slices.DeleteFunc(slices.Clone(c.Schedule), func(s string) bool { return s == "" })
	}
	change(&t.Zone, c.TimeZone)
}

// applyTo writes it into an account: a schedule takes the place of an interval.
func (c *Calendar) applyTo(a *account.Account) {
	c.apply(&a.Schedule)
	if len(c.Schedule) > 0 && len(a.Schedule.Entries) > 0 {
		a.Interval = 0
	}
}

// calendarOf says what a schedule is, "" for none.
func calendarOf(s *mailferryv1.Schedule) string {
	text := strings.Join(s.GetEntries(), "; ")
	if z := s.GetTimeZone(); z != "" {
		text = strings.TrimSpace(text + " (" + z + ")")
	}
	return text
}

// ScheduleCmd asks about schedules.
type ScheduleCmd struct {
	Explain ScheduleExplainCmd `cmd:"" help:"Show when an account is run next, and by which rule."`
}

// ScheduleExplainCmd shows the next starts of an account.
type ScheduleExplainCmd struct {
	Client `embed:""`

	Ref   Ref `arg:"" name:"domain/name" help:"The account."`
	Count int `default:"10" help:"How many starts."`
}

// Help explains schedules.
func (*ScheduleExplainCmd) Help() string {
	return scheduleHelp + `

Example:
  mailferry account edit example.com/isp --schedule 'every 15m mon-fri 07:00-19:00' --schedule 'every 2h' --time-zone Europe/Berlin
  mailferry schedule explain example.com/isp`
}

// Run prints the starts.
func (c *ScheduleExplainCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.accounts.ExplainSchedule(ctx, &mailferryv1.ExplainScheduleRequest{Ref: c.Ref.proto(), Count: int32(min(c.Count, 1<<20))})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, res)
	}
	loc, err := time.LoadLocation(res.GetTimeZone())
	if err != nil {
		loc = time.UTC
	}
	whose := map[string]string{"account": "its own schedule", "domain": "the schedule of its domain", "settings": "the global schedule"}[res.GetSource()]
	_, _ = fmt.Fprintf(env.Stdout, "account %s goes by %s, in %s\n", c.Ref, whose, loc)
	if least := interval(res.GetMinInterval()); least != "" {
		_, _ = fmt.Fprintf(env.Stdout, "no more often than every %s, by a rule of its %s\n", least, map[bool]string{true: "domain", false: "installation"}[res.GetMinIntervalOf() == "domain"])
	}
	if now := interval(res.GetAdaptiveInterval()); now != "" {
		_, _ = fmt.Fprintf(env.Stdout, "now every %s: %s\n", now, quiet(res.GetQuietRuns()))
	}
	if until := instant(res.GetBoostedUntil()); until != "" {
		_, _ = fmt.Fprintf(env.Stdout, "boosted until %s: its owner waits for a message\n", until)
	}
	if why := res.GetHeldBack(); why != "" {
		_, _ = fmt.Fprintf(env.Stdout, "held back: %s\n", oneLine(why))
	}
	if len(res.GetStarts()) == 0 {
		_, _ = fmt.Fprintln(env.Stdout, "it is never run by itself; 'mailferry fetch' runs it now")
		return nil
	}
	t := newTable(env, table.Row{"start", "rule", "note"})
	for _, s := range res.GetStarts() {
		t.AppendRow(table.Row{s.GetAt().AsTime().In(loc).Format("Mon " + time.RFC3339), s.GetRule(), oneLine(s.GetNote())})
	}
	t.Render()
	return nil
}

// quiet says by what an adaptive schedule goes.
func quiet(runs int32) string {
	if runs == 0 {
		return "the last scheduled run found mail, or none has ended since the account was edited"
	}
	return fmt.Sprintf("the last %s found nothing", count(int64(runs), "scheduled run"))
}
