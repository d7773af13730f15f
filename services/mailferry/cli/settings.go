package cli

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// SettingsCmd shows and sets what holds for all accounts.
type SettingsCmd struct {
	Show SettingsShowCmd `cmd:"" default:"1" help:"Show the settings."`
	Set  SettingsSetCmd  `cmd:"" help:"Change settings: NAME=VALUE…"`
}

// SettingsShowCmd shows the settings.
type SettingsShowCmd struct {
	Client `embed:""`
}

// Run prints the settings.
func (c *SettingsShowCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	res, err := to.fleet.GetSettings(ctx, &mailferryv1.GetSettingsRequest{})
	if err != nil {
		return err
	}
	return c.print(env, res.GetSettings())
}

func (c *Client) print(env *Env, s *mailferryv1.Settings) error {
	if c.JSON {
		return printJSON(env.Stdout, s)
	}
	dest, locking := s.GetDestination(), onOff(s.GetPop3Locking())
	if dest == "" {
		dest = "(none: domains need their own)"
	}
	properties(env, "interval", interval(s.GetInterval()), "min_interval", interval(s.GetMinInterval()), "schedule", strings.Join(s.GetSchedule().GetEntries(), "; "), "time_zone", s.GetSchedule().GetTimeZone(), "pop3_locking", locking, "destination", dest,
		"require_tls", onOff(s.GetRequireTls()), "remote_deletion", onOff(s.GetRemoteDeletion()), "egress_ports", cmp.Or(s.GetEgressPorts(), "(all that workers let pass)"), "budgets", s.GetBudgets(),
		"max_runs", number(s.GetMaxRuns()), "max_jobs_per_minute", number(s.GetMaxJobsPerMinute()), "max_accounts", number(s.GetMaxAccounts()),
		"max_bytes_per_day", bytesOf(s.GetMaxOctetsPerDay()),
		"destination_username", s.GetDestinationUsername(), "mailbox_destination", s.GetMailboxDestination(),
		"mailbox_destination_username", s.GetMailboxDestinationUsername(), "postmaster", s.GetPostmaster(), "webhook_url", s.GetWebhookUrl(), "notify_admin", s.GetNotifyAdmin())
	return nil
}

// SettingsSetCmd changes settings.
type SettingsSetCmd struct {
	Client `embed:""`

	Assign []string `arg:"" optional:"" name:"name=value" help:"interval=DURATION, min_interval=DURATION, schedule=ENTRIES, time_zone=ZONE, pop3_locking=on|off, destination=DEST, destination_username=NAME, require_tls=on|off, remote_deletion=on|off, egress_ports=PORTS, budgets=LIST, max_runs=N, max_jobs_per_minute=N, max_accounts=N, max_bytes_per_day=SIZE, mailbox_destination=DEST, mailbox_destination_username=NAME, postmaster=ADDRESS, webhook_url=URL, webhook_secret_file=FILE, notify_admin=ADDRESS."`

	DestinationLogin `embed:""`
}

// Help explains the settings.
func (*SettingsSetCmd) Help() string {
	return `  interval      how often accounts without an interval of their own are fetched
  min_interval  no account is run by its schedule more often, one that asks for that is raised to it; 0: none
  schedule      by the calendar, in place of interval: 'every 5m; every 1m mon-fri 08:00-18:00'; empty: interval
                (mailferry schedule explain --help)
  time_zone     of schedules that name none, as Europe/Berlin; UTC if empty
  pop3_locking  on: one session per remote mailbox in the whole fleet; off: one per account
  destination   where mail of domains without a destination of their own is handed over
  destination_username  user name that destination is signed in to with; its password comes from
                --destination-password-file or --destination-password-stdin, and is dropped with the user name
                when the destination changes; empty: nobody signs in
  mailbox_destination  where mail for mailbox paths (--forward-to alice@example.com/Imported) is handed over
  mailbox_destination_username  the same for mailbox_destination
  postmaster    who gets what every recipient refused for good; empty: it is kept for 'mailferry dead list'
  require_tls   on: nobody signs in at a remote server without TLS
  remote_deletion  off: nothing is deleted or moved at any remote server, from the next batch on
  egress_ports  ports that accounts may point to, for instance 110,143,993,995, or with ! what they may not:
                !25,!8000-8999; workers deny some by themselves (--egress-deny-ports)
  budgets       what the fleet may do at remote hosts: NAME=SESSIONS/LOGINS[/SIZE] between commas, the sessions at a time, the
                logins a minute and what is fetched in a day (UTC) of a host, a provider ('mailferry providers list') or *
                for each other one, as google=200/3000/2TB,*=50/600; 0: no bound; where nothing is said 200/6000
  max_runs, max_jobs_per_minute, max_accounts, max_bytes_per_day
                what each domain may do that says nothing of its own ('mailferry domain edit --help'); 0: not bounded
  webhook_url   notices of all accounts are posted there, signed with the secret in the first line of webhook_secret_file
  notify_admin  who gets a mail for each of them

Examples:
  mailferry settings set interval=5m
  mailferry settings set destination=lmtp:127.0.0.1:24 pop3_locking=on`
}

// Run changes the settings that are named.
func (c *SettingsSetCmd) Run(ctx context.Context, env *Env) error {
	req := &mailferryv1.PutSettingsRequest{}
	var cal Calendar
	for _, a := range c.Assign {
		if assignCalendar(&cal, a) {
			continue
		}
		if err := assign(req, a); err != nil {
			return err
		}
	}
	if len(c.Assign) == 0 && !c.DestinationLogin.given() {
		return usage("nothing to change is named; see 'mailferry settings set --help'")
	}
	if err := c.DestinationLogin.read(env, &req.DestinationPassword, &req.MailboxDestinationPassword); err != nil {
		return err
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	if cal.named() {
		got, err := to.fleet.GetSettings(ctx, &mailferryv1.GetSettingsRequest{})
		if err != nil {
			return err
		}
		text := account.ScheduleFromProto(got.GetSettings().GetSchedule())
		cal.apply(&text)
		req.Schedule = &mailferryv1.Schedule{Entries: text.Entries, TimeZone: text.Zone}
	}
	res, err := to.fleet.PutSettings(ctx, req)
	if err != nil {
		return err
	}
	return c.print(env, res.GetSettings())
}

// assignCalendar takes the parts of the global schedule, whose entries are between semicolons.
func assignCalendar(c *Calendar, s string) bool {
	switch name, value, _ := strings.Cut(s, "="); name {
	case "schedule":
		c.Schedule = nil
		for e := range strings.SplitSeq(value, ";") {
			c.Schedule = append(c.Schedule, strings.TrimSpace(e))
		}
		return true
	case "time_zone":
		c.TimeZone = &value
		return true
	}
	return false
}

func assign(req *mailferryv1.PutSettingsRequest, s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return usage("%q is not NAME=VALUE, for instance interval=5m", s)
	}
	switch name {
	case "interval":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return usage("interval: %q is not a duration like 5m or 1h30m", value)
		}
		req.Interval = durationpb.New(d)
	case "min_interval":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return usage("min_interval: %q is not a duration like 5m, or 0 for none", value)
		}
		req.MinInterval = durationpb.New(d)
	case "pop3_locking":
		return assignBool(&req.Pop3Locking, name, value)
	case "require_tls":
		return assignBool(&req.RequireTls, name, value)
	case "remote_deletion":
		return assignBool(&req.RemoteDeletion, name, value)
	case "destination":
		req.Destination = &value
	case "egress_ports":
		req.EgressPorts = &value
	case "budgets":
		req.Budgets = &value
	case "max_runs":
		return assignNumber(&req.MaxRuns, name, value)
	case "max_jobs_per_minute":
		return assignNumber(&req.MaxJobsPerMinute, name, value)
	case "max_accounts":
		return assignNumber(&req.MaxAccounts, name, value)
	case "max_bytes_per_day":
		n, err := account.ParseOctets(value)
		req.MaxOctetsPerDay = &n
		if err != nil {
			return usage("%s: %v, or 0 for none", name, err)
		}
	case "mailbox_destination":
		req.MailboxDestination = &value
	case "destination_username":
		req.DestinationUsername = &value
	case "mailbox_destination_username":
		req.MailboxDestinationUsername = &value
	case "postmaster":
		req.Postmaster = &value
	case "webhook_url":
		req.WebhookUrl = &value
	case "webhook_secret_file":
		secret, err := secretIn(value)
		req.WebhookSecret = &secret
		return err
	case "notify_admin":
		req.NotifyAdmin = &value
	default:
		return usage("there is no setting %q: there are interval, min_interval, schedule, time_zone, pop3_locking, destination, destination_username, require_tls, remote_deletion, egress_ports, budgets, max_runs, max_jobs_per_minute, max_accounts, max_bytes_per_day, mailbox_destination, mailbox_destination_username, postmaster, webhook_url, webhook_secret_file and notify_admin", name)
	}
	return nil
}

func assignBool(field **bool, name, value string) error {
	on, known := map[string]bool{"on": true, "true": true, "1": true, "yes": true, "off": false, "false": false, "0": false, "no": false}[strings.ToLower(value)]
	if !known {
		return usage("%s: %q is neither on nor off", name, value)
	}
	*field = &on
	return nil
}

func assignNumber(field **int32, name, value string) error {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return usage("%s: %q is not a number, or 0 for none", name, value)
	}
	t := int32(n)
	*field = &t
	return nil
}

// number is "" for 0.
func number(n int32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}

// bytesOf is "" for 0.
func bytesOf(n int64) string {
	if n == 0 {
		return ""
	}
	return size(n)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
