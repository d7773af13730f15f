// Command mailferry collects mail of remote POP3 and IMAP accounts and hands it to local mailboxes. It
// is the only program of the project: the first argument is a role of the fleet (planner, worker,
// delivery, control), "up" for all of them in one process, or a client's command.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules go by time zones, also where the system knows none

	"github.com/alecthomas/kong"

	"github.com/mailferry/mailferry/pkg/daemon"
	"github.com/mailferry/mailferry/services/mailferry/cli"
)

// version is set at link time (-X main.version=…) for a release.
var version string

// commands is the whole command line.
type commands struct {
	Config kong.ConfigFlag `name:"config" placeholder:"FILE" help:"YAML file with any of the flags, also $$MAILFERRY_CONFIG; a flag or its variable wins over it."`

	Up      upCmd      `cmd:"" group:"one" help:"Everything in one process with its data in one folder; the place to start."`
	Version versionCmd `cmd:"" group:"one" help:"Print what this binary was built from."`
	Vault   vaultCmd   `cmd:"" group:"roles" help:"The keys that seal passwords."`

	Simulate simulateCmd `cmd:"" group:"one" help:"Play a fleet on a virtual clock, and see what it needs before it is built."`

	cli.Commands `embed:""`

	Planner  plannerCmd  `cmd:"" group:"roles" help:"Decide when accounts are run."`
	Worker   workerCmd   `cmd:"" group:"roles" help:"Collect mail of remote servers."`
	Delivery deliveryCmd `cmd:"" group:"roles" help:"Hand mail over to local mailboxes."`
	Control  controlCmd  `cmd:"" group:"roles" help:"Serve the API that the client's commands talk to."`
}

type versionCmd struct{}

// Run prints the build.
func (versionCmd) Run(t *terminal) error {
	_, err := fmt.Fprintln(t.out, daemon.BuildOf(version))
	return err
}

func main() { os.Exit(run(os.Args[1:], newTerminal(os.Stdout, os.Stderr), cli.OSEnv())) }

// run returns the exit status: 0, 1 after an error, 2 after a command line that cannot be understood.
func run(args []string, t *terminal, env *cli.Env) int {
	// For the client's commands; roles take the signals themselves.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c commands
	parser, err := newParser(grammar(&c, args), t, cli.Bind(ctx, env))
	if err != nil {
		return cli.Fail(env, &cli.UsageError{Reason: err.Error()})
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		return cli.Fail(env, &cli.UsageError{Reason: err.Error() + " (see --help)"})
	}
	err = chosen.Run()
	var l logged
	if errors.As(err, &l) {
		return cli.ExitFailed
	}
	return cli.Fail(env, err)
}

// grammar is the command line: all of it, or the client's command alone that args begin with, for which most of the
// time would go into those that it is not. A configuration file is read by the names of all.
func grammar(c *commands, args []string) any {
	file := func(arg string) bool { return strings.HasPrefix(arg, "--config") }
	if len(args) == 0 || os.Getenv("MAILFERRY_CONFIG") != "" || slices.ContainsFunc(args, file) {
		return c
	}
	command, ok := reflect.TypeFor[cli.Commands]().FieldByNameFunc(func(name string) bool { return strings.ToLower(name) == args[0] })
	if !ok {
		return c
	}
	config, _ := reflect.TypeFor[commands]().FieldByName("Config")
	return reflect.New(reflect.StructOf([]reflect.StructField{config, command})).Interface()
}

func newParser(c any, t *terminal, client kong.Option) (*kong.Kong, error) {
	configuration, err := configured(os.Getenv("MAILFERRY_CONFIG"))
	if err != nil {
		return nil, err
	}
	return kong.New(c, kong.Name("mailferry"),
		kong.Description("Collects mail of remote POP3 and IMAP accounts and hands it to local mailboxes."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "one", Title: "One host"},
			{Key: "client", Title: "Accounts and runs"},
			{Key: "roles", Title: "Roles of a fleet"},
			{Key: "control", Title: "API"},
			{Key: "planner", Title: "Planner"},
			{Key: "worker", Title: "Worker"},
			{Key: "delivery", Title: "Delivery"},
			{Key: "backends", Title: "NATS, Redis and keys"},
			{Key: "oauth", Title: "OAuth 2.0"},
			{Key: "process", Title: "Process"},
			{Key: "connection", Title: "Connection"},
			{Key: "password", Title: "Password"},
			{Key: "policy", Title: "What is collected, and what then"},
			{Key: "certificate", Title: "Certificate of the server"},
		}),
		kong.Writers(t.out, t.err), kong.Bind(t), configuration, client)
}

// logged is an error that the log already shows.
type logged struct{ error }

func (l logged) Unwrap() error { return l.error }
