package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/schedule"
	"github.com/mailferry/mailferry/services/mailferry/cli"
	"github.com/mailferry/mailferry/services/mailferry/simulate"
)

type simulateCmd struct {
	Accounts    int           `default:"100000" placeholder:"N" help:"Accounts there are."`
	Domains     int           `default:"10000" placeholder:"N" help:"Domains they are of, of which a few are large and most are small."`
	Providers   string        `placeholder:"FILE" help:"YAML file that says where the accounts are; --sample prints the one that is used else."`
	Workers     int           `default:"10" placeholder:"N" help:"Workers there are."`
	Slots       int           `default:"58" placeholder:"N" help:"Slots of each for scheduled jobs: --slots of a worker without those reserved for manual ones."`
	PlannerRate int           `default:"5000" placeholder:"N" help:"Jobs that all planners together emit in a second at most."`
	Interval    time.Duration `default:"5m" placeholder:"DURATION" help:"How often each account is run."`
	Schedule    []string      `placeholder:"ENTRY" sep:"none" help:"Run all accounts by the calendar instead, as \"adaptive 1m..1h\"; may be repeated ('mailferry schedule explain --help')."`
	TimeZone    string        `placeholder:"ZONE" help:"Time zone of --schedule, as Europe/Berlin."`
	Duration    time.Duration `default:"24h" placeholder:"DURATION" help:"How long is simulated, from midnight UTC."`
	Seed        uint64        `default:"1" placeholder:"N" help:"The same seed gives the same outcome; another one, another fleet of the same kind."`
	Out         string        `default:"." placeholder:"DIR" type:"path" help:"Folder for simulate.csv and simulate.png."`
	Sample      bool          `help:"Print the file of providers that is used without --providers, and do nothing else."`
}

// Help says what is and what is not simulated.
func (*simulateCmd) Help() string {
	return `Plays a fleet on a virtual clock, with no servers and no sockets, to see what it needs before it is built: how late accounts
are run, how many jobs wait, and how many sessions each provider sees. Schedules and their spread, planners, the budgets of
remote hosts, the shares of domains, and back-off are decided by the code that decides in production. How long sessions take,
how many find mail or break, and when a provider is out, the file of providers says. Delivery, manual triggers and the deaths of
processes are not simulated, and a job takes no time on its way to a worker: lag begins with the planners' tick, 250 ms.

It writes simulate.csv, a row for each minute, and simulate.png into --out, and a summary to standard output. A million
sessions take 2 to 6 seconds of one processor: a day of a million accounts at every five minutes some 18 minutes, and an hour of
ten million, which need a gigabyte of memory, some 13.

Examples:
  mailferry simulate --accounts 100000 --duration 2h
  mailferry simulate --sample > providers.yaml
  mailferry simulate --accounts 1000000 --workers 80 --providers providers.yaml --out /tmp
  mailferry simulate --accounts 100000 --schedule 'adaptive 1m..1h' --workers 4`
}

// Run simulates.
func (c *simulateCmd) Run(ctx context.Context, env *cli.Env) error {
	if c.Sample {
		_, err := io.WriteString(env.Stdout, simulate.Sample())
		return err
	}
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil { // before the minutes it takes
		return fault.New(fault.Policy, "simulate", err)
	}
	began, told := time.Now(), time.Now()
	r, err := simulate.Run(ctx, cfg, func(m simulate.Minute) {
		if now := time.Now(); now.Sub(told) >= 5*time.Second {
			told = now
			_, _ = fmt.Fprintf(env.Stderr, "%d of %d minutes in %s\n", int(m.At.Minutes()), int(cfg.Duration.Minutes()), now.Sub(began).Round(time.Second))
		}
	})
	if err != nil {
		return err
	}
	if err := c.write("simulate.csv", r.WriteCSV); err != nil {
		return err
	}
	if err := c.write("simulate.png", r.WritePNG); err != nil {
		return err
	}
	return r.WriteSummary(env.Stdout)
}

func (c *simulateCmd) config() (simulate.Config, error) {
	text := []byte(simulate.Sample())
	if c.Providers != "" {
		f, err := os.Open(c.Providers)
		if err != nil {
			return simulate.Config{}, fault.New(fault.Policy, "providers", err)
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, maxConfig)); err != nil {
			return simulate.Config{}, fault.New(fault.Policy, "providers", err)
		}
	}
	providers, err := simulate.ReadProviders(text)
	return simulate.Config{
		Accounts: c.Accounts, Domains: c.Domains, Providers: providers, Workers: c.Workers, Slots: c.Slots, Rate: c.PlannerRate,
		Interval: c.Interval, Schedule: schedule.Text{Entries: c.Schedule, Zone: c.TimeZone}, Duration: c.Duration, Seed: c.Seed,
	}, err
}

// write writes a file of the result, whole or not at all.
func (c *simulateCmd) write(name string, content func(io.Writer) error) error {
	var b bytes.Buffer
	if err := content(&b); err != nil {
		return fault.New(fault.Internal, name, err)
	}
	path := filepath.Join(c.Out, name)
	if err := os.WriteFile(path+".tmp", b.Bytes(), 0o644); err != nil {
		return fault.New(fault.Policy, name, err)
	}
	return os.Rename(path+".tmp", path)
}
